"""The CPU kernels give the same bits for any number of threads, again and again, from any thread and after a fork."""

import os
import signal
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from rasterizer.backends.cpu.library import Library, load_library
from rasterizer.backends.cpu.ops import CpuOps
from rasterizer.errors import BackendUnavailable
from tests.rasterizer.scenes import Scene, gradients, make_scene, random_like

# Enough for several chunks of every parallel loop, and for more parts than threads in binning.
NUM_GAUSSIANS = 6000


@pytest.fixture(scope="module")
def library() -> Library:
    try:
        return load_library()
    except BackendUnavailable as error:
        pytest.skip(f"no CPU library here: {error}")


@pytest.fixture(params=["baseline", "v3", "v4"])
def isa(request: pytest.FixtureRequest, library: Library) -> Iterator[str]:
    if not library.has_isa(request.param):
        pytest.skip(f"this machine has no instruction set '{request.param}'")
    before = library.isa
    library.set_isa(request.param)
    yield request.param
    library.set_isa(before)


def draw(num_threads: int, seed: int = 0) -> list[Tensor]:
    """Everything the kernels give for one scene and two cameras."""
    torch.set_num_threads(num_threads)
    scene = make_scene(seed, num=NUM_GAUSSIANS, cameras=2, width=140, height=90)
    scene.scales.mul_(0.15)
    scene.opacities.mul_(0.5)
    scene = scene.tracked("means", "quats", "scales", "opacities", "sh", "viewmats")
    background = torch.full((2, 3), 0.25, requires_grad=True)
    colors, alphas, meta = scene.render(
        "cpu", packed=False, absgrad=True, weights=True, median_depth=True, backgrounds=background
    )
    loss = CpuOps().l1_ssim(colors[0], torch.full_like(colors[0], 0.3), 0.2, None)
    (loss + (colors * random_like(colors, 1)).sum() + (alphas * random_like(alphas, 2)).sum()).backward()
    extras = [meta[name] for name in ("weight_sum", "weight_max", "median_depth", "radii", "depths")]
    found = [*gradients(scene).values(), scene.viewmats.grad, background.grad, meta["means2d"].absgrad]
    return [colors.detach(), alphas.detach(), loss.detach(), *extras, *found]


def same_bits(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("num_threads", [2, 5])
def test_any_number_of_threads_gives_the_same_bits(isa: str, num_threads: int) -> None:
    single = draw(1)
    assert float(single[0].abs().sum()) > 0
    assert same_bits(single, draw(num_threads))


def test_every_run_gives_the_same_bits(isa: str) -> None:
    first = draw(3)
    assert all(same_bits(first, draw(3)) for _ in range(2))


def test_callers_on_several_threads_do_not_disturb_each_other(library: Library) -> None:
    truth = [draw(2, seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as callers:
        found = list(callers.map(lambda seed: draw(2, seed), [0, 1, 2, 0]))
    assert all(same_bits(truth[i % 3], result) for i, result in enumerate(found))


def project(scene: Scene) -> bytes:
    """One kernel and nothing of torch's own that has threads."""
    inputs = (scene.means, scene.quats, scene.scales, scene.opacities, scene.viewmats, scene.Ks)
    seen = CpuOps().project(*inputs, 47, 35, near_plane=0.01, far_plane=1e10, eps2d=0.3, radius_clip=0.0)
    return bytes(seen.conics.numpy())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_starts_its_own_workers(library: Library) -> None:
    torch.set_num_threads(2)
    scene = make_scene(1, num=3000)
    truth = project(scene)  # the parent's workers exist before the fork
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons advise against forking with threads
        child = os.fork()
    if child == 0:
        signal.alarm(30)  # a child that waits for workers it does not have must not hang the tests
        os._exit(0 if project(scene) == truth else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_sleep_between_calls(library: Library) -> None:
    before = set(os.listdir("/proc/self/task"))
    draw(3, seed=2)
    workers = set(os.listdir("/proc/self/task")) - before
    for worker in workers:
        with open(f"/proc/self/task/{worker}/stat", encoding="ascii") as file:
            state = file.read().rpartition(")")[2].split()[0]
        assert state == "S", "a worker that spins burns a core that training needs"
