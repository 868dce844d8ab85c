"""Times the rasterizer: every instruction set and thread count against the plain torch reference."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from clouds import Cloud, count_intersections, make_cloud
from machine import usable_cores
from timing import Bar, Timed, measure_rounds, ratio
from torch import Tensor

from rasterizer import rasterization
from rasterizer.backends.cpu.library import load_library
from rasterizer.backends.cpu.ops import CpuOps
from rasterizer.types import Projected

ISAS = ("baseline", "v3", "v4")
TILE_PIXELS = 256
SMALL, LARGE = 50_000, 500_000

MIN_SPEEDUP = 100.0
MAX_REFERENCE_S = 12.0
MIN_THREAD_SCALING = 1.7
MIN_PAIRS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class Setting:
    """How the CPU backend is told to work."""

    isa: str
    threads: int

    def __str__(self) -> str:
        return f"cpu {self.isa} {self.threads} thread{'s' if self.threads > 1 else ''}"

    def apply(self) -> None:
        load_library().set_isa(self.isa)
        torch.set_num_threads(self.threads)


def available_isas() -> list[str]:
    """Instruction sets of this machine, lowest first."""
    return [isa for isa in ISAS if load_library().has_isa(isa)]


def thread_counts() -> list[int]:
    """One, two, and all there are."""
    return sorted({count for count in (1, 2, usable_cores()) if count <= usable_cores()})


def measure_small(rounds: int) -> dict[str, Any]:
    """50k Gaussians: all settings of the CPU backend beside the reference."""
    cloud = make_cloud(SMALL)
    settings = [Setting(isa, threads) for isa in available_isas() for threads in thread_counts()]
    things = {str(setting): time_rendering(cloud, "cpu", setting.apply) for setting in settings}
    pair = min(2, usable_cores())
    references = {f"reference {pair} threads": pair, "reference 1 thread": 1}
    for name, threads in references.items():
        things[name] = time_rendering(cloud, "reference", partial(torch.set_num_threads, threads))
    times = measure_rounds(things, rounds, slow=frozenset(references))
    best = available_isas()[-1]
    fastest, reference = times[str(Setting(best, pair))], times[f"reference {pair} threads"]
    single = times[str(Setting(best, 1))]
    scaling = ratio(single["total_ms"], fastest["total_ms"]) if pair > 1 else None
    bars = [
        Bar(name="speedup_over_reference", value=ratio(reference["total_ms"], fastest["total_ms"]), bar=MIN_SPEEDUP),
        Bar(
            name="speedup_over_reference_one_thread_cpu_time",
            value=ratio(times["reference 1 thread"]["cpu_ms"], single["cpu_ms"]),
            bar=MIN_SPEEDUP,
        ),
        Bar(name="reference_s", value=reference["total_ms"] / 1e3, bar=MAX_REFERENCE_S, at_least=False),
        Bar(name="two_threads_over_one", value=scaling, bar=MIN_THREAD_SCALING, missing="only one core"),
    ]
    return {**describe_cloud(cloud), "times": times, "bars": [bar.to_record() for bar in bars]}


def measure_large(rounds: int) -> dict[str, Any]:
    """500k Gaussians on the best instruction set."""
    cloud = make_cloud(LARGE)
    best = available_isas()[-1]
    settings = [Setting(best, threads) for threads in thread_counts()]
    times = measure_rounds({str(each): time_rendering(cloud, "cpu", each.apply) for each in settings}, rounds)
    return {**describe_cloud(cloud), "times": times, "bars": []}


def measure_pairs(rounds: int) -> dict[str, Any]:
    """Nominal pairs of Gaussian and pixel per processor second in the blend alone, sorting and binning included."""
    cloud = make_cloud(SMALL)
    described = describe_cloud(cloud)
    pairs = described["intersections"] * TILE_PIXELS
    things = {isa: time_blending(cloud, Setting(isa, 1)) for isa in available_isas()}
    times = measure_rounds(things, rounds)
    rates = {
        isa: {f"{part}_pairs_per_s": round(1e3 * pairs / times[isa][f"{part}_ms"]) for part in ("forward", "backward")}
        for isa in times
    }
    bars = [
        Bar(
            name=f"v3_{part}_pairs_per_s_per_thread",
            value=rates["v3"][f"{part}_pairs_per_s"] if "v3" in rates else None,
            bar=MIN_PAIRS_PER_S,
            missing="this processor has no AVX2",
        )
        for part in ("forward", "backward")
    ]
    return {**described, "times": times, "rates": rates, "bars": [bar.to_record() for bar in bars]}


def describe_cloud(cloud: Cloud) -> dict[str, Any]:
    """What was rendered, counted without any backend's help beyond the projection."""
    _, _, meta = render(cloud, [tensor.detach() for tensor in cloud.tensors], "cpu")
    radii = meta["radii"][0].amax(-1)
    return {
        "cloud": cloud.source,
        "num_gaussians": len(cloud.means),
        "width": cloud.width,
        "height": cloud.height,
        "visible": int((radii > 0).sum()),
        "median_radius_px": float(radii[radii > 0].float().median()),
        "intersections": count_intersections(meta),
    }


def time_rendering(cloud: Cloud, backend: str, configure: Callable[[], None]) -> Timed:
    """Forward and backward of one image, through the public function."""
    leaves = [tensor.clone().requires_grad_() for tensor in cloud.tensors]
    gradient = _image_gradient(cloud)

    def run() -> dict[str, float]:
        configure()
        for leaf in leaves:
            leaf.grad = None
        start_s = time.perf_counter()
        image, _, _ = render(cloud, leaves, backend)
        forward_s = time.perf_counter()
        image.backward(gradient)  # type: ignore[no-untyped-call]
        end_s = time.perf_counter()
        return {"forward": forward_s - start_s, "backward": end_s - forward_s, "total": end_s - start_s}

    return run


def time_blending(cloud: Cloud, setting: Setting) -> Timed:
    """Forward and backward of the blend alone, in processor seconds: they are the same on a busy machine."""
    ops = CpuOps()
    projected, shaded = _project(ops, cloud)
    means2d, conics, colors, opacities = leaves = [
        tensor.detach().clone().requires_grad_()
        for tensor in (projected.means2d, projected.conics, shaded, cloud.opacities[None])
    ]
    gradient = _image_gradient(cloud)

    def run() -> dict[str, float]:
        setting.apply()
        for leaf in leaves:
            leaf.grad = None
        start_s = time.process_time()
        blended = ops.blend(
            means2d,
            conics,
            colors,
            opacities,
            projected.depths,
            projected.radii,
            cloud.width,
            cloud.height,
            backgrounds=None,
            absgrad=False,
            weights=False,
            median_depth=False,
            tile_size=16,
        )
        forward_s = time.process_time()
        blended.colors.backward(gradient)  # type: ignore[no-untyped-call]
        return {"forward": forward_s - start_s, "backward": time.process_time() - forward_s}

    return run


def render(cloud: Cloud, tensors: list[Tensor], backend: str) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """The cloud through the public function, as training calls it."""
    means, quats, scales, opacities, sh = tensors
    return rasterization(
        means,
        quats,
        scales,
        opacities,
        sh,
        cloud.viewmat[None],
        cloud.K[None],
        cloud.width,
        cloud.height,
        sh_degree=3,
        packed=False,
        backend=backend,
    )


@torch.no_grad()
def _project(ops: CpuOps, cloud: Cloud) -> tuple[Projected, Tensor]:
    projected = ops.project(
        cloud.means,
        cloud.quats,
        cloud.scales,
        cloud.opacities,
        cloud.viewmat[None],
        cloud.K[None],
        cloud.width,
        cloud.height,
        near_plane=0.01,
        far_plane=1e10,
        eps2d=0.3,
        radius_clip=0.0,
    )
    return projected, ops.shade(3, cloud.means, cloud.sh, cloud.viewmat[None], projected.radii)


def _image_gradient(cloud: Cloud) -> Tensor:
    """A smooth stand-in for a loss's gradient, without zeros."""
    x = torch.linspace(-1, 1, cloud.width)
    y = torch.linspace(-1, 1, cloud.height)[:, None]
    return torch.stack([x + 0 * y, y + 0 * x, x * y], -1)[None] / (cloud.width * cloud.height)
