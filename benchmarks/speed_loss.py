"""Times the fused L1 + SSIM loss against the conv2d form."""

import time
from typing import Any

import torch
from machine import usable_cores
from timing import Bar, Timed, measure_rounds, ratio

from rasterizer import l1_ssim
from rasterizer.backends.cpu.library import load_library
from scene3d.seeding import make_generator

WIDTH, HEIGHT = 800, 600
MIN_SPEEDUP = 8.0


def measure_loss(rounds: int) -> dict[str, Any]:
    """Value and gradient at 800x600, both backends on one and on two threads."""
    pair = min(2, usable_cores())
    things = {
        f"{backend} {threads} thread{'s' if threads > 1 else ''}": time_loss(backend, threads)
        for backend in ("cpu", "reference")
        for threads in sorted({1, pair})
    }
    times = measure_rounds(things, rounds)
    many = f"{pair} threads" if pair > 1 else "1 thread"
    speedup = ratio(times[f"reference {many}"]["total_ms"], times[f"cpu {many}"]["total_ms"])
    speedup_cpu = ratio(times["reference 1 thread"]["cpu_ms"], times["cpu 1 thread"]["cpu_ms"])
    bars = [
        Bar(name="fused_over_conv2d", value=speedup, bar=MIN_SPEEDUP),
        Bar(name="fused_over_conv2d_one_thread_cpu_time", value=speedup_cpu, bar=MIN_SPEEDUP),
    ]
    record = {"isa": load_library().isa, "width": WIDTH, "height": HEIGHT, "times": times}
    return {**record, "bars": [bar.to_record() for bar in bars]}


def time_loss(backend: str, threads: int) -> Timed:
    """Value and gradient of one pair of images."""
    generator = make_generator(0, "loss benchmark")
    target = torch.rand(HEIGHT, WIDTH, 3, generator=generator)
    noise = 0.05 * torch.randn(HEIGHT, WIDTH, 3, generator=generator)
    rendered = (target + noise).clamp(0, 1).requires_grad_()

    def run() -> dict[str, float]:
        torch.set_num_threads(threads)
        rendered.grad = None
        start_s = time.perf_counter()
        loss = l1_ssim(rendered, target, backend=backend)
        forward_s = time.perf_counter()
        loss.backward()  # type: ignore[no-untyped-call]
        end_s = time.perf_counter()
        return {"forward": forward_s - start_s, "backward": end_s - forward_s, "total": end_s - start_s}

    return run
