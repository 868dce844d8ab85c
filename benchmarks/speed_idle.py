"""Measures what the CPU backend costs others while it is idle, and what others cost it."""

import statistics
import time
from typing import Any

import torch
from clouds import make_cloud
from machine import usable_cores
from speed_raster import Setting, available_isas, time_rendering
from timing import Bar, ratio, start_busy_process, wait_for_busy_process

NUM_GAUSSIANS = 50_000
IDLE_S = 2.0
MAX_IDLE_CPU_S = 0.02
MAX_SLOWDOWN_OF_OTHERS = 1.15
MAX_SLOWDOWN_BY_OTHERS = 10.0
BUSY_STEPS = 10_000_000
ENDLESS_STEPS = 10**12


def measure_idleness(rounds: int) -> dict[str, Any]:
    """Processor time of sleeping workers, and who slows whom on the same cores.

    Runs first of all, because the neighbour's undisturbed time must be taken before the workers exist.
    """
    alone_s = statistics.median(_neighbour_s() for _ in range(rounds))
    pair = min(2, usable_cores())
    render = time_rendering(make_cloud(NUM_GAUSSIANS), "cpu", Setting(available_isas()[-1], pair).apply)
    render()
    torch.set_num_threads(1)
    beside_s, idle_cpu_s = [], []
    for _ in range(rounds):
        render()
        beside_s.append(_neighbour_s())
        render()
        cpu_s = time.process_time()
        time.sleep(IDLE_S)
        idle_cpu_s.append(time.process_time() - cpu_s)
    quiet_s, crowded_s = _rendering_beside_busy_cores(render, rounds)
    bars = [
        Bar(name="idle_cpu_s_in_2_s", value=round(max(idle_cpu_s), 5), bar=MAX_IDLE_CPU_S, at_least=False),
        Bar(
            name="neighbour_slowdown_while_idle",
            value=ratio(statistics.median(beside_s), alone_s),
            bar=MAX_SLOWDOWN_OF_OTHERS,
            at_least=False,
        ),
        Bar(
            name="rendering_slowdown_on_busy_cores",
            value=ratio(crowded_s, quiet_s),
            bar=MAX_SLOWDOWN_BY_OTHERS,
            at_least=False,
        ),
    ]
    return {
        "neighbour_alone_s": round(alone_s, 3),
        "neighbour_beside_idle_workers_s": [round(seconds, 3) for seconds in beside_s],
        "rendering_on_quiet_cores_ms": round(1e3 * quiet_s, 1),
        "rendering_on_busy_cores_ms": round(1e3 * crowded_s, 1),
        "bars": [bar.to_record() for bar in bars],
    }


def _neighbour_s() -> float:
    return wait_for_busy_process(start_busy_process(BUSY_STEPS))


def _rendering_beside_busy_cores(render: Any, rounds: int) -> tuple[float, float]:
    """Seconds of forward and backward alone, and with a busy process for every core."""
    repeats = 3 * rounds
    quiet_s = statistics.median(render()["total"] for _ in range(repeats))
    neighbours = [start_busy_process(ENDLESS_STEPS) for _ in range(usable_cores())]
    try:
        time.sleep(0.3)  # until they are past their start
        return quiet_s, statistics.median(render()["total"] for _ in range(repeats))
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
