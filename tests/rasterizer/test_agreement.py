"""Every fast backend against the reference in double precision: images, derivatives, extras."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rasterizer.constants import ALPHA_MIN, T_MIN
from tests.rasterizer.scenes import (
    Scene,
    backward,
    gradients,
    make_scene,
    relative_error,
    require_backend,
)

IMAGE_TOLERANCE = 5e-6
GRADIENT_TOLERANCE = 2e-5
INPUTS = ("means", "quats", "scales", "opacities", "sh")


@pytest.fixture(params=["cpu"])
def backend(request: pytest.FixtureRequest) -> str:
    return require_backend(request.param)


def near_threshold(scene: Scene, meta: dict[str, Tensor]) -> Tensor:
    """Pixels [h, w] of the first camera where rounding may decide whether a splat counts at all."""
    visible = (meta["radii"][0] > 0).all(dim=1).nonzero()[:, 0]
    order = visible[meta["depths"][0, visible].argsort()]
    y, x = torch.meshgrid(torch.arange(scene.height) + 0.5, torch.arange(scene.width) + 0.5, indexing="ij")
    transmittance, near = torch.ones_like(x).double(), torch.zeros_like(x, dtype=torch.bool)
    for row in order:
        delta_x, delta_y = x - meta["means2d"][0, row, 0], y - meta["means2d"][0, row, 1]
        xx, xy, yy = meta["conics"][0, row]
        sigma = 0.5 * (xx * delta_x**2 + yy * delta_y**2) + xy * delta_x * delta_y
        alpha = (meta["opacities"][0, row] * torch.exp(-sigma)).clamp(max=0.99)
        near |= (alpha / ALPHA_MIN - 1).abs() < 1e-4
        alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0)
        transmittance = transmittance * (1 - alpha)
        near |= (transmittance / T_MIN - 1).abs() < 1e-3
    return near


def drawn(scene: Scene, backend: str, options: dict[str, object]) -> dict[str, Tensor]:
    scene = scene.tracked(*INPUTS, "viewmats")
    colors, alphas, meta = scene.render(backend, packed=False, absgrad=True, weights=True, median_depth=True, **options)
    meta["means2d"].retain_grad()
    unsure = near_threshold(scene.to(torch.float64), {name: meta[name].detach() for name in meta_names(meta)})
    # The pixels in doubt count for neither image nor derivative.
    sure = (~unsure)[None, ..., None]
    backward(colors * sure, alphas * sure)
    result = {"colors": colors * sure, "alphas": alphas * sure, "sure": sure.float()}
    result |= {f"gradient of {name}": value for name, value in gradients(scene, *INPUTS).items()}
    result |= {"gradient of means2d": meta["means2d"].grad, "absgrad": meta["means2d"].absgrad}
    result |= {"radii": meta["radii"], "median_depth": meta["median_depth"] * sure, "viewmats": scene.viewmats.grad}
    return {name: value.detach() for name, value in result.items()}


def meta_names(meta: dict[str, object]) -> list[str]:
    return [name for name, value in meta.items() if isinstance(value, Tensor)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [{}, {"rasterize_mode": "antialiased", "render_mode": "RGB+ED", "backgrounds": [[0.3, 0.6, 0.9]]}],
    ids=["classic", "antialiased with depth"],
)
def test_fast_backends_equal_the_reference_in_double_precision(
    backend: str, seed: int, options: dict[str, object]
) -> None:
    scene = make_scene(seed, num=400, width=72, height=52)
    results = {}
    for name, precision in ((backend, torch.float32), ("reference", torch.float64)):
        given = {
            key: torch.tensor(value, dtype=precision) if isinstance(value, list) else value
            for key, value in options.items()
        }
        results[name] = drawn(scene.to(precision), name, given)
    found, truth = results[backend], results["reference"]
    assert float(truth["sure"].mean()) > 0.95
    assert torch.equal(found["sure"], truth["sure"].float()), "the exclusion of pixels must not depend on rounding"
    assert int((found["radii"] - truth["radii"]).abs().max()) <= 1
    depth_scale = truth["colors"].abs().max().clamp_min(1)
    assert float((found["colors"] - truth["colors"]).abs().max()) <= IMAGE_TOLERANCE * depth_scale
    assert float((found["alphas"] - truth["alphas"]).abs().max()) <= IMAGE_TOLERANCE
    for name in (*(f"gradient of {field}" for field in INPUTS), "gradient of means2d", "absgrad"):
        assert relative_error(found[name], truth[name]) <= GRADIENT_TOLERANCE, name
    half = (truth["alphas"] - 0.5).abs() > 1e-4
    unlike = ((found["median_depth"] - truth["median_depth"]).abs() > 1e-4) & half
    assert int(unlike.sum()) <= 2, "the median may jump where a transmittance is 0.5 by chance"


@pytest.mark.parametrize("seed", range(2))
def test_derivatives_by_the_camera_agree(backend: str, seed: int) -> None:
    scene = make_scene(seed + 10, num=200, cameras=2, width=40, height=30)
    results = {}
    for name, precision in ((backend, torch.float32), ("reference", torch.float64)):
        moved = scene.to(precision).tracked("viewmats")
        colors, alphas, _ = moved.render(name, render_mode="RGB+D")
        # A smooth function without cancellation: sums of squares weigh threshold flips lightly.
        (colors.square().mean() + alphas.square().mean()).backward()
        results[name] = moved.viewmats.grad
    assert relative_error(results[backend], results["reference"]) <= 1e-3
    assert float(results["reference"][:, :3].abs().min()) > 0
    assert not results[backend][:, 3].any()


def test_weights_agree(backend: str) -> None:
    scene = make_scene(20, num=200, cameras=2)
    found = scene.render(backend, weights=True)[2]
    truth = scene.to(torch.float64).render("reference", weights=True)[2]
    for name in ("weight_sum", "weight_max"):
        assert float((found[name] - truth[name]).abs().max()) < 5e-3, name  # one pixel of ALPHA_MIN
        assert relative_error(found[name], truth[name]) < 1e-4, name


def test_results_are_the_same_bits_again(backend: str) -> None:
    runs = []
    for _ in range(2):
        scene = make_scene(21, num=300, cameras=2).tracked()
        colors, alphas, _ = scene.render(backend)
        backward(colors, alphas)
        runs.append([colors, alphas, *gradients(scene).values()])
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def test_sizes_that_no_tile_divides_agree(backend: str) -> None:
    for width, height in ((1, 1), (17, 1), (1, 33), (16, 16), (31, 50)):
        scene = make_scene(22, num=80, width=40, height=40)
        scene = replace(scene, width=width, height=height)
        found, truth = scene.render(backend)[0], scene.to(torch.float64).render("reference")[0]
        assert found.shape == truth.shape
        assert float((found - truth).abs().max()) < 5e-3
        assert float((found - truth).abs().median()) < 1e-6
