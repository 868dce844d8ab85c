"""Who trains when: every block once per round, in one lane at a time, and all budgets add up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.turn_plan import (
    count_rounds,
    count_steps,
    expect_totals,
    plan_round,
    share_round,
    turn_length,
)
from blocks.turn_settings import TurnSettings
from scene3d.errors import SettingsError

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=9)
SETTINGS = TurnSettings()


@given(LENGTHS, st.integers(1, 5))
def test_each_block_has_one_turn_in_one_lane(lengths: list[int], num_lanes: int) -> None:
    order = list(reversed(range(len(lengths))))
    plan = plan_round(3, dict(enumerate(lengths)), order, num_lanes)
    turns = [turn for lane in plan.lanes for turn in lane]
    assert {turn.block: turn.steps for turn in turns} == {b: n for b, n in enumerate(lengths) if n}
    assert len(turns) == len({turn.block for turn in turns})
    assert plan.num_iterations == sum(lengths)
    for lane, its_turns in enumerate(plan.lanes):
        at = 0
        for turn in its_turns:
            assert turn.start == at
            assert plan.find_turn(lane, turn.start) == plan.find_turn(lane, turn.end - 1) == turn
            at = turn.end
        assert plan.find_turn(lane, at) is None
    # Whoever is free first begins next: no lane waits while another has two turns to go.
    assert plan.num_steps <= sum(lengths) / num_lanes + max(lengths)
    assert plan.count_done(plan.num_steps) == sum(lengths)
    assert plan.count_done(0) == 0


def test_the_first_of_the_order_begins_and_the_next_turn_is_known() -> None:
    plan = plan_round(0, {0: 5, 1: 3, 2: 4}, [2, 0, 1], 2)
    assert [[turn.block for turn in lane] for lane in plan.lanes] == [[2, 1], [0]]
    first = plan.find_turn(0, 0)
    assert first is not None
    following = plan.find_next(0, first)
    assert following is not None
    assert following.block == 1
    assert plan.find_next(0, following) is None


@given(st.integers(1, 100_000), st.integers(1, 2000))
def test_turns_of_all_rounds_add_up_to_the_iterations(iterations: int, interval: int) -> None:
    settings = TurnSettings(interval=interval)
    rounds = count_rounds(iterations, settings)
    lengths = [turn_length(number, iterations, settings) for number in {0, rounds // 2, rounds - 1}]
    assert all(1 <= length <= max(1, min(interval, iterations // 20)) for length in lengths)
    if rounds < 200:
        assert sum(turn_length(number, iterations, settings) for number in range(rounds)) == iterations


@pytest.mark.parametrize(("iterations", "rounds"), [(60_000, 120), (10_000, 20), (400, 20), (20, 20), (1, 1)])
def test_a_turn_lasts_500_iterations_or_a_twentieth_of_the_run(iterations: int, rounds: int) -> None:
    assert count_rounds(iterations, SETTINGS) == rounds


@given(st.lists(st.floats(1.0, 2.0), min_size=1, max_size=6), st.integers(20, 3000))
def test_blocks_that_weigh_more_train_longer_and_the_budget_is_kept(weights: list[float], iterations: int) -> None:
    named = dict(enumerate(weights))
    rounds = count_rounds(iterations, SETTINGS)
    done = dict.fromkeys(named, 0)
    for number in range(rounds):
        totals = expect_totals(number, done, named, iterations, SETTINGS)
        assert sum(totals.values()) == len(weights) * iterations
        lengths = share_round(number, named, iterations, SETTINGS)
        done = {block: done[block] + lengths[block] for block in named}
    assert sum(done.values()) == len(weights) * iterations
    assert totals == done
    heaviest, lightest = max(named, key=named.__getitem__), min(named, key=named.__getitem__)
    assert done[heaviest] >= done[lightest] - rounds


def test_blocks_that_weigh_the_same_all_get_the_iterations() -> None:
    done = dict.fromkeys(range(3), 0)
    assert expect_totals(0, done, dict.fromkeys(done, 1.0), 777, SETTINGS) == dict.fromkeys(done, 777)


@pytest.mark.parametrize(("num_blocks", "num_lanes"), [(1, 1), (4, 1), (4, 2), (5, 2), (3, 3)])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_steps_of_the_decoder_are_known_beforehand(num_blocks: int, num_lanes: int, frozen: bool) -> None:
    settings = TurnSettings(interval=7, frozen_last_round=frozen)
    weights, steps = dict.fromkeys(range(num_blocks), 1.0), 0
    rounds = count_rounds(300, settings)
    for number in range(rounds - int(frozen)):
        lengths = share_round(number, weights, 300, settings)
        steps += plan_round(number, lengths, list(weights), num_lanes).num_steps
    assert count_steps(num_blocks, num_lanes, 300, settings) == steps
    assert steps >= math.ceil(num_blocks / num_lanes) * 270


@pytest.mark.parametrize("changes", [{"accumulate": 0}, {"interval": 0}, {"sigma": 0.0}, {"sigma": float("nan")}])
def test_senseless_settings_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        TurnSettings(**changes)  # type: ignore[arg-type]
