"""Owns the seats of one process: blocks sit down for their turn, work, are measured and kept, and stand up again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from blocks.anchor_block import BlockOutfit, Seat, finish_block, make_blank_field, make_outfit, open_seat
from blocks.turn_job import TurnsJob
from blocks.turn_plan import RoundPlan, Turn
from blocks.waiting import BlockState, WaitingRoom
from scene3d.errors import Diverged, InputError, LimitExceeded, Scene3dError
from scene3d.events import Reporter
from scene3d.training.hooks import TrainingHooks
from scene3d.training.memory import forget_peak, peak_memory_bytes
from scene3d.training.shared_decoder import SharedDecoder

BLOCK_FAILURES = (Diverged, LimitExceeded, InputError, MemoryError)
"""What ends one block and not the others."""


class Seats:
    """One seat per lane of this process, and where every block stands.

    A block that fails stands up for good, and `states` says why; nothing else is raised for it.

    Args:
        job: The run.
        decoder: That all blocks share.
        folder: Of the blocks' states.
        reporter: Hears warnings.
    """

    def __init__(self, job: TurnsJob, decoder: SharedDecoder, folder: Path, reporter: Reporter) -> None:
        self.states = {index: BlockState() for index in range(len(job.plan.blocks))}
        """Of this process's blocks as they are now, of the others as they were told at the end of the last round."""

        self._job = job
        self._decoder = decoder
        self._reporter = reporter
        self._room = WaitingRoom(folder, job.settings.turns.offload)
        self._outfits: dict[int, BlockOutfit] = {}
        self._seats: dict[int, Seat] = {}

    def find(self, lane: int) -> Seat | None:
        """Who sits in a lane."""
        return self._seats.get(lane)

    def begin_round(self, plan: RoundPlan) -> None:
        """A block that goes on in its lane stays where it is; the others stand up."""
        for lane, seat in list(self._seats.items()):
            turn = plan.find_turn(lane, 0)
            if turn is None or turn.block != seat.index:
                self.leave(lane)
            else:
                self._room.drop(self._job.block_id(seat.index))

    def change(self, plan: RoundPlan, lane: int, step: int, prepare: Callable[[Seat], None]) -> Turn | None:
        """Who had the turn before this step is kept and stands up, whose turn it is sits down.

        Args:
            plan: Of the round.
            lane: Of this process.
            step: Of the round.
            prepare: Tells a block that begins its turn what it needs to know.

        Returns:
            The turn; None where nobody has it, or the block has failed.
        """
        turn = plan.find_turn(lane, step)
        seat = self._seats.get(lane)
        if seat is not None and (turn is None or turn.block != seat.index):
            self.keep(lane, plan.number)
            self.leave(lane)
        if turn is None or self.states[turn.block].failure is not None:
            return None
        if turn.start == step:
            try:
                seat = self._seats.get(lane) or self._sit_down(turn.block, plan.number)
            except BLOCK_FAILURES as error:
                self._fail(turn.block, error)
                return None
            prepare(seat)
            self._seats[lane] = seat
            following = plan.find_next(lane, turn)
            if following is not None:
                self._room.prefetch(self._job.block_id(following.block), self.states[following.block])
        return turn

    def advance(self, lane: int) -> Float[Tensor, "p"] | None:
        """One iteration of the block in a lane.

        Returns:
            The gradient of the decoder; None where there is nothing to be learned from it.
        """
        seat = self._seats[lane]
        try:
            seat.trainer.advance()
        except BLOCK_FAILURES as error:
            self._fail(seat.index, error)
            self._decoder.take_gradient()
            self.leave(lane)
            return None
        gradient = self._decoder.take_gradient()
        if not bool(gradient.isfinite().all()):
            # It would end all blocks; after the block's own numbers its trainer looks.
            self._note(seat.index, f"iteration {seat.trainer.iteration}: its gradient of the decoder is not finite")
            return None
        return gradient

    def keep(self, lane: int, number: int) -> None:
        """Measures the block in a lane and keeps its state: its turn in a round is over."""
        seat = self._seats[lane]
        before, block_id = self.states[seat.index], self._job.block_id(seat.index)
        try:
            if seat.trainer.field.find_nonfinite() is not None:
                raise Diverged("its turn ended with numbers that are not finite", where=block_id)
            quality = before.quality
            if self._job.settings.turns.weighting:
                measured = seat.measure()
                quality = measured if quality is None else quality.blended(measured)
            state = self._room.put(block_id, seat.trainer.state(), before, number + 1)
            self.states[seat.index] = replace(state, quality=quality, peak_memory_bytes=peak_memory_bytes())
        except BLOCK_FAILURES as error:
            self._fail(seat.index, error)
            self.leave(lane)

    def end_round(self, number: int) -> None:
        """Keeps those who still sit."""
        for lane in list(self._seats):
            self.keep(lane, number)

    def leave(self, lane: int) -> None:
        """The block in a lane stands up."""
        seat = self._seats.pop(lane, None)
        if seat is not None:
            seat.close()

    def leave_all(self) -> None:
        """All blocks stand up."""
        for lane in list(self._seats):
            self.leave(lane)

    def forget_rounds(self) -> None:
        """Delete the states that no snapshot names any more."""
        for index, state in self.states.items():
            self._room.forget_rounds(self._job.block_id(index), state)

    def finish(self, index: int) -> None:
        """Keep a block in its folder as it stood up last."""
        seat = self._sit_down(index, self.states[index].round)
        try:
            finish_block(self._job.block(index), seat, self._decoder, self.states[index].peak_memory_bytes)
        finally:
            seat.close()

    def close(self) -> None:
        """Ends all threads."""
        self.leave_all()
        self._room.close()

    def _sit_down(self, index: int, number: int) -> Seat:
        """A block as it stood up last, or as it begins."""
        forget_peak()
        job, state, block_id = self._job.block(index), self.states[index], self._job.block_id(index)
        field = None
        if index not in self._outfits:
            self._outfits[index], field = make_outfit(job, self._decoder, self._job.num_lanes, self._reporter)
        outfit = self._outfits[index]
        if field is None or state.sha256 is not None:
            field = make_blank_field(outfit)
        hooks = TrainingHooks(load=lambda: self._room.look(block_id, self.states[index]))
        seat = open_seat(job, outfit, field, hooks=hooks, reporter=self._reporter)
        try:
            if state.sha256 is None:
                # What a block that breaks in its first turn goes back to.
                self.states[index] = self._room.put(block_id, seat.trainer.state(), state, number)
                self._room.drop(block_id)
            else:
                seat.trainer.restore(self._room.take(block_id, state))
        except BLOCK_FAILURES:
            seat.close()
            raise
        return seat

    def _fail(self, index: int, error: Exception) -> None:
        spoken = error if isinstance(error, Scene3dError) else LimitExceeded("there is not enough memory")
        self.states[index] = replace(self.states[index], failure=str(spoken))
        self._note(index, f"failed: {spoken}; the others go on")

    def _note(self, index: int, message: str) -> None:
        self._reporter.note(f"block {self._job.block_id(index)}: {message}", level="warning")
