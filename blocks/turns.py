"""Owns training all blocks in turns with one shared decoder (after Fan et al. 2025, Momentum-GS, made exact).

Each step takes one view of one block per lane. What only the block knows steps at once; the gradients of the decoder
are summed in the order of the lanes and step together, with the one optimiser state there is. Between rounds the
blocks' quality is compared, weights are set, and the run is kept on disk.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace

from blocks.anchor_block import Seat
from blocks.block_training import STAGE
from blocks.team import Team, own_lanes
from blocks.turn_job import TurnsJob
from blocks.turn_plan import RoundPlan, count_rounds, count_steps, expect_totals, plan_round, share_round
from blocks.turn_seats import Seats
from blocks.waiting import SNAPSHOTS, STATES, BlockState, Snapshot, load_snapshot, save_snapshot
from blocks.weighting import block_weights
from scene3d.errors import Diverged
from scene3d.events import Quiet, Reporter
from scene3d.training.first_field import make_shared_decoder
from scene3d.training.memory import release_memory
from scene3d.training.preparation import choose_device
from scene3d.training.run_folder import RunFolder

logger = logging.getLogger(__name__)


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
    finished = all(job.is_finished(index) for index in range(len(job.plan.blocks)))
    # Asked together: a process that came later and saw the last block finished would leave the others waiting.
    if all(each["finished"] for each in team.gather({"finished": finished})):
        return {}
    turns = _Turns(job, team, reporter or Quiet())
    try:
        return turns.run()
    finally:
        turns.seats.close()


def forget_turns(run: RunFolder) -> None:
    """Delete what only an interrupted run needs."""
    shutil.rmtree(run.turns, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """What is fixed at the boundary before a round."""

    plan: RoundPlan
    weights: Mapping[int, float]
    totals: Mapping[int, int]
    """Iterations that each block will have had at the end, which its schedules go by."""

    def prepare(self, seat: Seat) -> None:
        """Tells a block that begins its turn."""
        seat.trainer.block_weight = self.weights[seat.index]
        seat.trainer.settings = replace(seat.trainer.settings, iterations=self.totals[seat.index])


class _Turns:
    """The state of one process of the team: at the boundaries of rounds all but the seats is the same in each."""

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
        self._rounds = job.run.turns / SNAPSHOTS
        self.seats = Seats(job, decoder, job.run.turns / STATES, reporter)
        self._round = 0
        self._num_turns = 0

    def run(self) -> dict[int, str]:
        """See `train_in_turns`."""
        release_memory()
        self._resume()
        states = self.seats.states
        rounds, total = count_rounds(self._iterations, self._settings), self._iterations * len(states)
        self._reporter.start(STAGE, total, step=self._count_done())
        while self._round < rounds and self._alive():
            self._do_round(is_last=self._round == rounds - 1)
        self._finish()
        failures = {index: state.failure for index, state in states.items() if state.failure is not None}
        if len(failures) == len(states):
            raise Diverged(f"no block could be trained: {next(iter(failures.values()))}", where=self._job.run.root)
        self._reporter.finish(STAGE, block=f"{len(self._alive())} of {len(states)}")
        return failures

    def _resume(self) -> None:
        snapshot = load_snapshot(self._rounds, self._job.identity)
        if snapshot is None:
            return
        indices = {block.block_id: index for index, block in enumerate(self._job.plan.blocks)}
        self.seats.states.update({indices[block_id]: state for block_id, state in snapshot.blocks.items()})
        self._round, self._num_turns = snapshot.round, snapshot.turns
        self._decoder.restore(snapshot.shared)
        rounds = count_rounds(self._iterations, self._settings)
        if self._team.rank == 0:
            self._reporter.note(f"resuming after round {snapshot.round:,} of {rounds:,}")

    def _alive(self) -> list[int]:
        return [index for index, state in sorted(self.seats.states.items()) if state.failure is None]

    def _count_done(self) -> int:
        return sum(state.iteration for state in self.seats.states.values())

    def _do_round(self, *, is_last: bool) -> None:
        if is_last and self._settings.frozen_last_round:
            self._decoder.freeze()
        now, done = self._plan_round(), self._count_done()
        self.seats.begin_round(now.plan)
        num_lanes, size = self._job.num_lanes, self._decoder.num_parameters
        for step in range(now.plan.num_steps):
            gradients = {}
            for lane in own_lanes(self._team, num_lanes):
                turn = self.seats.change(now.plan, lane, step, now.prepare)
                gradient = None if turn is None else self.seats.advance(lane)
                if gradient is not None:
                    gradients[lane] = gradient
            if not self._decoder.is_frozen:
                self._decoder.step(self._team.sum_lanes(gradients, num_lanes, size).to(self._device))
            self._report(now.plan, step, done)
        self.seats.end_round(now.plan.number)
        self._decoder.end_round()
        self._close_round(now.plan)

    def _plan_round(self) -> _Round:
        alive, states = self._alive(), self.seats.states
        weights = dict.fromkeys(alive, 1.0)
        if self._settings.weighting:
            known = {index: quality for index in alive if (quality := states[index].quality) is not None}
            weights = block_weights(known, alive, self._settings.sigma)
        done = {index: states[index].iteration for index in alive}
        lengths = share_round(self._round, weights, self._iterations, self._settings)
        totals = expect_totals(self._round, done, weights, self._iterations, self._settings)
        loads = [block.load for block in self._job.plan.blocks]
        order = sorted(alive, key=lambda index: (done[index] - totals[index], -loads[index], index))
        plan = plan_round(self._round, lengths, order, self._job.num_lanes)
        logger.debug("round %d: weights %s, turns %s", self._round, weights, lengths)
        return _Round(plan=plan, weights=weights, totals=totals)

    def _close_round(self, plan: RoundPlan) -> None:
        """Everybody learns how the blocks of all others stand, and the first process keeps the run."""
        states = self.seats.states
        own = {turn.block for lane in own_lanes(self._team, self._job.num_lanes) for turn in plan.lanes[lane]}
        for record in self._team.gather({str(index): states[index].to_record() for index in sorted(own)}):
            states.update({int(index): BlockState.from_record(state) for index, state in record.items()})
        self._round += 1
        self._num_turns += sum(len(turns) for turns in plan.lanes)
        if self._team.rank > 0:
            return
        snapshot = Snapshot(
            round=self._round,
            turns=self._num_turns,
            blocks={self._job.block_id(index): state for index, state in states.items()},
            shared=self._decoder.capture(),
        )
        save_snapshot(self._rounds, snapshot, self._job.identity)
        self.seats.forget_rounds()

    def _finish(self) -> None:
        """Each process keeps its part of the finished blocks; nobody leaves before all are kept."""
        self.seats.leave_all()
        for index in self._alive()[self._team.rank :: self._team.size]:
            if not self._job.is_finished(index):
                self.seats.finish(index)
        self._team.gather({})

    def _report(self, plan: RoundPlan, step: int, done: int) -> None:
        turns = [turn for lane in range(len(plan.lanes)) if (turn := plan.find_turn(lane, step)) is not None]
        begun = sum(turn.start <= step for lane in plan.lanes for turn in lane)
        seat = self.seats.find(self._team.rank)
        self._reporter.advance(
            STAGE,
            done + plan.count_done(step + 1),
            round=f"{plan.number + 1} of {count_rounds(self._iterations, self._settings)}",
            turn=f"{begun} of {sum(len(lane) for lane in plan.lanes)}",
            block="+".join(self._job.block_id(turn.block) for turn in turns),
            **({} if seat is None else {"gaussians": seat.trainer.field.num_gaussians}),
        )
