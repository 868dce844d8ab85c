"""Owns training all blocks in turns with one shared decoder (after Fan et al. 2025, Momentum-GS, made exact).

Each step takes one view of one block per lane. What only the block knows steps at once; the gradients of the decoder
are summed in the order of the lanes and step together, with the one optimiser state there is. Between rounds the
blocks' quality is compared, weights are set, and the run is kept on disk.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from jaxtyping import Float
from torch import Tensor

from blocks.anchor_block import BlockOutfit, Seat, finish_block, make_blank_field, make_outfit, open_seat
from blocks.block_folder import BlockFolder, read_block_record
from blocks.block_training import STAGE, BlockJob
from blocks.global_stage import Shared
from blocks.plan import BlockPlan
from blocks.settings import RunSettings
from blocks.team import Team, own_lanes
from blocks.turn_plan import (
    RoundPlan,
    Turn,
    count_rounds,
    count_steps,
    expect_totals,
    plan_round,
    share_round,
)
from blocks.waiting import BlockState, Snapshot, WaitingRoom, load_snapshot, save_snapshot
from blocks.weighting import block_weights
from scene3d.errors import Diverged, InputError, LimitExceeded, Scene3dError
from scene3d.events import Quiet, Reporter
from scene3d.training.first_field import make_shared_decoder
from scene3d.training.hooks import TrainingHooks
from scene3d.training.memory import forget_peak, peak_memory_bytes, release_memory
from scene3d.training.preparation import Prepared, choose_device
from scene3d.training.run import settings_identity
from scene3d.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

BLOCK_FAILURES = (Diverged, LimitExceeded, InputError, MemoryError)
"""What ends one block and not the others."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TurnsJob:
    """Everything that training blocks in turns needs."""

    run: RunFolder
    prepared: Prepared
    plan: BlockPlan
    shared: Shared
    settings: RunSettings
    """With `turns.accumulate` resolved."""

    @property
    def num_lanes(self) -> int:
        """Blocks at work at the same time."""
        return min(self.settings.turns.accumulate or 1, len(self.plan.blocks))

    @property
    def identity(self) -> str:
        """Hash of everything that must be the same for a snapshot to be continued."""
        turns = asdict(self.settings.turns) | {"offload": None, "accumulate": self.num_lanes}
        text = json.dumps([settings_identity(self.settings, self.prepared), self.plan.sha256, turns])
        return hashlib.sha256(text.encode() + self.shared.far.means.numpy().tobytes()).hexdigest()

    def block(self, index: int) -> BlockJob:
        """The job of one block."""
        folder = BlockFolder(self.run.blocks / self.plan.blocks[index].block_id)
        return BlockJob(
            folder=folder,
            prepared=self.prepared,
            plan=self.plan,
            index=index,
            shared=self.shared,
            settings=self.settings,
        )


def train_in_turns(job: TurnsJob, team: Team, *, reporter: Reporter | None = None) -> dict[int, str]:
    """Train all blocks to their end, from the last snapshot on, and keep each in its folder.

    All processes of a team call it; the outcome does not depend on their number.

    Args:
        job: Capture, plan and settings; the same for every process, and so is the folder.
        team: The processes.
        reporter: Hears of the progress; of one process only.

    Returns:
        Why blocks failed, by number.

    Raises:
        Diverged: No block could be trained.
        InputError: The run was begun with other settings.
    """
    finished = all(_is_finished(job, index) for index in range(len(job.plan.blocks)))
    # Asked together: a process that came later and saw the last block finished would leave the others waiting.
    if all(each["finished"] for each in team.gather({"finished": finished})):
        return {}
    turns = _Turns(job, team, reporter or Quiet())
    try:
        return turns.run()
    finally:
        turns.close()


def forget_turns(run: RunFolder) -> None:
    """Delete what only an interrupted run needs."""
    shutil.rmtree(run.root / "turns", ignore_errors=True)


def _is_finished(job: TurnsJob, index: int) -> bool:
    folder = BlockFolder(job.run.blocks / job.plan.blocks[index].block_id)
    return read_block_record(folder, job.plan.sha256) is not None


class _Turns:
    """The state of one process of the team: every number but the seats is the same in all of them."""

    def __init__(self, job: TurnsJob, team: Team, reporter: Reporter) -> None:
        self._job = job
        self._team = team
        self._reporter = reporter
        self._settings = job.settings.turns
        self._iterations = job.settings.iterations
        self._device = choose_device(job.settings)
        steps = count_steps(len(job.plan.blocks), job.num_lanes, self._iterations, self._settings)
        decoder = make_shared_decoder(job.settings, steps=max(1, steps), device=self._device)
        assert decoder is not None, "turns train anchors"
        self._decoder = decoder
        self._folder = job.run.root / "turns"
        self._room = WaitingRoom(self._folder / "blocks", self._settings.offload)
        self._states = {index: BlockState() for index in range(len(job.plan.blocks))}
        self._round = 0
        self._num_turns = 0
        self._outfits: dict[int, BlockOutfit] = {}
        self._seats: dict[int, Seat] = {}
        """By lane."""

    def run(self) -> dict[int, str]:
        """See `train_in_turns`."""
        self._resume()
        rounds, total = count_rounds(self._iterations, self._settings), self._iterations * len(self._states)
        self._reporter.start(STAGE, total, step=sum(state.iteration for state in self._states.values()))
        while self._round < rounds and self._alive():
            self._do_round(is_last=self._round == rounds - 1)
        self._leave_all()
        self._finish()
        self._reporter.finish(STAGE, block=f"{len(self._alive())} of {len(self._states)}")
        failures = {index: state.failure for index, state in self._states.items() if state.failure is not None}
        if len(failures) == len(self._states):
            raise Diverged(f"no block could be trained: {next(iter(failures.values()))}", where=self._job.run.root)
        return failures

    def close(self) -> None:
        """Ends all threads."""
        self._leave_all()
        self._room.close()

    def _resume(self) -> None:
        snapshot = load_snapshot(self._folder / "rounds", self._job.identity)
        if snapshot is None:
            return
        by_id = {block.block_id: index for index, block in enumerate(self._job.plan.blocks)}
        self._states = {by_id[block_id]: state for block_id, state in snapshot.blocks.items()}
        self._round, self._num_turns = snapshot.round, snapshot.turns
        self._decoder.restore(snapshot.shared)
        self._reporter.note(f"resuming after round {snapshot.round:,}")

    def _alive(self) -> list[int]:
        return [index for index, state in sorted(self._states.items()) if state.failure is None]

    def _do_round(self, *, is_last: bool) -> None:
        plan, weights, totals = self._plan_round()
        if is_last and self._settings.frozen_last_round:
            self._decoder.freeze()
        done = sum(state.iteration for state in self._states.values())
        self._leave_where_others_begin(plan)
        lanes = own_lanes(self._team, self._job.num_lanes)
        for step in range(plan.num_steps):
            gradients = {}
            for lane in lanes:
                turn = self._take_seat(plan, lane, step, weights, totals)
                gradient = None if turn is None else self._advance(lane, turn)
                if gradient is not None:
                    gradients[lane] = gradient
            if not self._decoder.is_frozen:
                size = self._decoder.num_parameters
                self._decoder.step(self._team.sum_lanes(gradients, self._job.num_lanes, size).to(self._device))
            self._report(plan, step, done)
        for lane in list(self._seats):
            self._keep(plan.number, lane)
        self._decoder.end_round()
        self._close_round(plan)

    def _plan_round(self) -> tuple[RoundPlan, dict[int, float], dict[int, int]]:
        """Who trains when in this round, what weighs how much, and how long each block's run will be."""
        alive = self._alive()
        known = {index: self._states[index].quality for index in alive}
        qualities = {index: quality for index, quality in known.items() if quality is not None}
        weights = block_weights(qualities, alive, self._settings.sigma)
        if not self._settings.weighting:
            weights = dict.fromkeys(alive, 1.0)
        done = {index: self._states[index].iteration for index in alive}
        lengths = share_round(self._round, weights, self._iterations, self._settings)
        totals = expect_totals(self._round, done, weights, self._iterations, self._settings)
        loads = [block.load for block in self._job.plan.blocks]
        order = sorted(alive, key=lambda index: (done[index] - totals[index], -loads[index], index))
        return plan_round(self._round, lengths, order, self._job.num_lanes), weights, totals

    def _take_seat(
        self, plan: RoundPlan, lane: int, step: int, weights: Mapping[int, float], totals: Mapping[int, int]
    ) -> Turn | None:
        """Lets the block whose turn it is sit down in a lane; None where there is none, or it has failed."""
        turn = plan.find_turn(lane, step)
        seat = self._seats.get(lane)
        if seat is not None and (turn is None or turn.block != seat.index):
            self._keep(plan.number, lane)
            self._leave(lane)
        if turn is None or self._states[turn.block].failure is not None:
            return None
        if turn.start == step:
            try:
                seat = self._seats.get(lane) or self._sit_down(turn.block)
            except BLOCK_FAILURES as error:
                self._fail(turn.block, error)
                return None
            self._seats[lane] = seat
            seat.trainer.block_weight = weights[turn.block]
            seat.trainer.settings = replace(seat.trainer.settings, iterations=totals[turn.block])
            following = plan.find_next(lane, turn)
            if following is not None:
                self._room.prefetch(self._block_id(following.block), self._states[following.block])
        return turn

    def _sit_down(self, index: int) -> Seat:
        """The block at its place, as it stood up last or as it begins."""
        release_memory()
        forget_peak()
        job, state, block_id = self._job.block(index), self._states[index], self._block_id(index)
        field = None
        if index not in self._outfits:
            self._outfits[index], field = make_outfit(job, self._decoder, self._job.num_lanes, self._reporter)
        outfit = self._outfits[index]
        if field is None or state.sha256 is not None:
            field = make_blank_field(outfit)
        hooks = TrainingHooks(load=lambda: self._room.look(block_id, self._states[index]))
        seat = open_seat(job, outfit, field, hooks=hooks, reporter=self._reporter)
        if state.sha256 is None:
            # What a block that breaks in its first turn goes back to.
            self._states[index] = self._room.put(block_id, seat.trainer.state(), state, self._round)
            self._room.drop(block_id)
        else:
            seat.trainer.restore(self._room.take(block_id, state))
        return seat

    def _advance(self, lane: int, turn: Turn) -> Float[Tensor, "p"] | None:
        """One iteration of the block in a lane; what the decoder is to learn of it, None where it failed."""
        trainer = self._seats[lane].trainer
        try:
            trainer.advance()
            gradient = self._decoder.take_gradient()
            if not bool(gradient.isfinite().all()):
                # One bad gradient would end all blocks; the block's own numbers are looked after by its trainer.
                self._note(turn.block, f"iteration {trainer.iteration}: its gradient of the decoder is not finite")
                return None
        except BLOCK_FAILURES as error:
            self._fail(turn.block, error)
            self._decoder.take_gradient()
            self._leave(lane)
            return None
        return gradient

    def _keep(self, number: int, lane: int) -> None:
        """Measures the block in a lane and keeps its state: its turn is over."""
        seat = self._seats[lane]
        before, block_id = self._states[seat.index], self._block_id(seat.index)
        if before.round > number:
            return
        try:
            if seat.trainer.field.find_nonfinite() is not None:
                raise Diverged("its turn ended with numbers that are not finite", where=block_id)
            quality = before.quality
            if self._settings.weighting:
                measured = seat.measure()
                quality = measured if quality is None else quality.blended(measured)
            state = self._room.put(block_id, seat.trainer.state(), before, number + 1)
            self._states[seat.index] = replace(state, quality=quality, peak_memory_bytes=peak_memory_bytes())
        except BLOCK_FAILURES as error:
            self._fail(seat.index, error)
            self._leave(lane)

    def _leave(self, lane: int) -> None:
        """The block in a lane stands up."""
        seat = self._seats.pop(lane, None)
        if seat is not None:
            seat.close()

    def _leave_all(self) -> None:
        for lane in list(self._seats):
            self._leave(lane)

    def _leave_where_others_begin(self, plan: RoundPlan) -> None:
        """A block that goes on in its lane stays where it is; the others stand up."""
        for lane, seat in list(self._seats.items()):
            turn = plan.find_turn(lane, 0)
            if turn is None or turn.block != seat.index:
                self._leave(lane)
            else:
                self._room.drop(self._block_id(seat.index))

    def _fail(self, index: int, error: Exception) -> None:
        spoken = error if isinstance(error, Scene3dError) else LimitExceeded("there is not enough memory")
        self._states[index] = replace(self._states[index], failure=str(spoken))
        self._note(index, f"failed: {spoken}; the others go on")

    def _note(self, index: int, message: str) -> None:
        self._reporter.note(f"block {self._block_id(index)}: {message}", level="warning")

    def _close_round(self, plan: RoundPlan) -> None:
        """Everybody learns how the blocks of all others stand, and the first process keeps the run."""
        mine = {turn.block for lane in own_lanes(self._team, self._job.num_lanes) for turn in plan.lanes[lane]}
        told = self._team.gather({str(index): self._states[index].to_record() for index in sorted(mine)})
        for record in told:
            self._states |= {int(index): BlockState.from_record(state) for index, state in record.items()}
        self._round += 1
        self._num_turns += sum(len(turns) for turns in plan.lanes)
        if self._team.rank > 0:
            return
        snapshot = Snapshot(
            round=self._round,
            turns=self._num_turns,
            blocks={self._block_id(index): state for index, state in self._states.items()},
            shared=self._decoder.capture(),
        )
        save_snapshot(self._folder / "rounds", snapshot, self._job.identity)
        for index, state in self._states.items():
            self._room.forget_rounds(self._block_id(index), state)

    def _finish(self) -> None:
        """Each process keeps its part of the finished blocks; nobody leaves before all are kept."""
        for index in self._alive()[self._team.rank :: self._team.size]:
            if not _is_finished(self._job, index):
                seat = self._sit_down(index)
                finish_block(self._job.block(index), seat, self._decoder, self._states[index].peak_memory_bytes)
                seat.close()
        self._team.gather({})

    def _report(self, plan: RoundPlan, step: int, done: int) -> None:
        seat = next(iter(self._seats.values()), None)
        turns = [turn for lane in range(len(plan.lanes)) if (turn := plan.find_turn(lane, step)) is not None]
        begun = sum(each.start <= step for lane in plan.lanes for each in lane)
        self._reporter.advance(
            STAGE,
            done + plan.count_done(step + 1),
            round=f"{plan.number + 1} of {count_rounds(self._iterations, self._settings)}",
            turn=f"{begun} of {sum(len(lane) for lane in plan.lanes)}",
            block="+".join(self._block_id(turn.block) for turn in turns),
            gaussians=seat.trainer.field.num_gaussians if seat is not None else None,
        )

    def _block_id(self, index: int) -> str:
        return self._job.plan.blocks[index].block_id
