"""Owns who trains when: rounds, the turns of each lane in a round, and the steps that all lanes share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blocks.turn_settings import TurnSettings
from blocks.weighting import split_budget

SHORTEST_SHARE = 20
"""A turn lasts at most this part of all iterations, so that there are at least so many rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One block at work in one lane for some steps of a round."""

    block: int
    start: int
    """Step of the round at which it begins."""

    steps: int

    @property
    def end(self) -> int:
        """Step of the round at which the lane is free again."""
        return self.start + self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """What every lane does in one round: each block has one turn."""

    number: int
    lanes: tuple[tuple[Turn, ...], ...]

    @property
    def num_steps(self) -> int:
        """Steps of the longest lane; the others fall idle before."""
        return max((turns[-1].end for turns in self.lanes if turns), default=0)

    @property
    def num_iterations(self) -> int:
        """Iterations of all blocks together."""
        return sum(turn.steps for turns in self.lanes for turn in turns)

    def find_turn(self, lane: int, step: int) -> Turn | None:
        """The turn that a lane is at; None where it is idle."""
        return next((turn for turn in self.lanes[lane] if turn.start <= step < turn.end), None)

    def find_next(self, lane: int, turn: Turn) -> Turn | None:
        """The turn of a lane after this one."""
        return next((each for each in self.lanes[lane] if each.start >= turn.end), None)

    def count_done(self, step: int) -> int:
        """Iterations of all blocks together when this many steps are done."""
        return sum(min(max(step - turn.start, 0), turn.steps) for turns in self.lanes for turn in turns)


def count_rounds(iterations: int, settings: TurnSettings) -> int:
    """Rounds of a run in which each block has so many iterations."""
    interval = max(1, min(settings.interval, iterations // SHORTEST_SHARE))
    return math.ceil(iterations / interval)


def turn_length(number: int, iterations: int, settings: TurnSettings) -> int:
    """Mean length of the turns of one round; over all rounds they add up to the iterations."""
    rounds = count_rounds(iterations, settings)
    return iterations * (number + 1) // rounds - iterations * number // rounds


def count_steps(num_blocks: int, num_lanes: int, iterations: int, settings: TurnSettings) -> int:
    """Steps of the decoder in a whole run of blocks that weigh the same, the last round without where it is frozen."""
    free = iterations
    if settings.frozen_last_round:
        free -= turn_length(count_rounds(iterations, settings) - 1, iterations, settings)
    return math.ceil(num_blocks / num_lanes) * free


def plan_round(number: int, lengths: Mapping[int, int], order: Sequence[int], num_lanes: int) -> RoundPlan:
    """Lay the turns of one round: in this order, each to the lane that is free first.

    Args:
        number: Of the round.
        lengths: Steps of each block's turn; a block without any is left out.
        order: The blocks, the one with the most left to do first.
        num_lanes: Blocks at work at the same time.
    """
    lanes: list[list[Turn]] = [[] for _ in range(num_lanes)]
    for block in order:
        if lengths[block] == 0:
            continue
        ends = [turns[-1].end if turns else 0 for turns in lanes]
        lane = ends.index(min(ends))
        lanes[lane].append(Turn(block=block, start=ends[lane], steps=lengths[block]))
    return RoundPlan(number=number, lanes=tuple(tuple(turns) for turns in lanes))


def share_round(number: int, weights: Mapping[int, float], iterations: int, settings: TurnSettings) -> dict[int, int]:
    """Length of each block's turn in a round: in proportion to its weight, on average that of the round.

    Args:
        number: Of the round.
        weights: Of the blocks that take part.
        iterations: Of one block in a run in which all weigh the same.
        settings: Of the turns.
    """
    return split_budget(len(weights) * turn_length(number, iterations, settings), weights)


def expect_totals(
    number: int, done: Mapping[int, int], weights: Mapping[int, float], iterations: int, settings: TurnSettings
) -> dict[int, int]:
    """Iterations that each block will have had at the end if weights stay: what its schedules go by.

    Args:
        number: Of the round that begins.
        done: Iterations of each block before it.
        weights: Of the blocks that take part.
        iterations: Of one block in a run in which all weigh the same.
        settings: Of the turns.
    """
    rounds = count_rounds(iterations, settings)
    left = sum(turn_length(each, iterations, settings) for each in range(number, rounds))
    shares = split_budget(len(weights) * left, weights)
    return {block: done[block] + share for block, share in shares.items()}
