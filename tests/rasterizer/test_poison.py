"""One bad Gaussian among good ones: it vanishes or stays harmless, and the others never know."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.rasterizer.scenes import (
    BACKENDS,
    GAUSSIAN_FIELDS,
    Scene,
    backward,
    gradients,
    make_scene,
    require_backend,
)

VICTIM = 30
KEEP = torch.arange(60) != VICTIM
MODES: list[dict[str, Any]] = [
    {"packed": False, "rasterize_mode": "classic"},
    {"packed": True, "rasterize_mode": "antialiased", "render_mode": "RGB+ED"},
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return require_backend(request.param)


def poisoned(field: str, value: float | Tensor, *, whole_row: bool = False) -> Scene:
    scene = make_scene(40, cameras=2)
    values = getattr(scene, field).clone()
    row = values[VICTIM].view(-1)
    if whole_row:
        row.copy_(torch.as_tensor(value).expand_as(row))
    else:
        row[row.numel() // 2] = value
    return replace(scene, **{field: values}).tracked()


def render(scene: Scene, backend: str, mode: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    colors, alphas, meta = scene.render(backend, absgrad=True, weights=True, median_depth=True, **mode)
    backward(colors, alphas)
    return colors.detach(), alphas.detach(), meta


def assert_vanished(scene: Scene, backend: str, mode: dict[str, Any]) -> None:
    """The scene draws and differentiates exactly as if the victim were not in it."""
    clean = make_scene(40, cameras=2).rows(KEEP).tracked()
    truth_colors, truth_alphas, truth_meta = render(clean, backend, mode)
    colors, alphas, meta = render(scene, backend, mode)
    torch.testing.assert_close(colors, truth_colors, rtol=0, atol=1e-6)
    torch.testing.assert_close(alphas, truth_alphas, rtol=0, atol=1e-6)
    for name, gradient in gradients(scene).items():
        assert not gradient[VICTIM].any(), f"{name} of the victim"
        torch.testing.assert_close(gradient[KEEP], gradients(clean)[name], rtol=1e-4, atol=1e-5)
    assert not meta["weight_sum"][:, VICTIM].any()
    torch.testing.assert_close(meta["weight_sum"][:, KEEP], truth_meta["weight_sum"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(meta["median_depth"], truth_meta["median_depth"])
    if mode["packed"]:
        assert VICTIM not in meta["gaussian_ids"]
    else:
        assert not meta["radii"][:, VICTIM].any()
    assert bool(meta["means2d"].absgrad.isfinite().all())


@pytest.mark.parametrize("mode", MODES, ids=["dense", "packed"])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("field", GAUSSIAN_FIELDS)
def test_what_is_not_finite_vanishes(backend: str, field: str, poison: float, mode: dict[str, Any]) -> None:
    assert_vanished(poisoned(field, poison), backend, mode)


@pytest.mark.parametrize("mode", MODES, ids=["dense", "packed"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quats", 0.0),
        ("opacities", 0.0),
        ("opacities", -3.0),
        ("opacities", 1 / 256),
        ("means", torch.tensor([0.0, 0.0, -50.0])),
        ("means", torch.tensor([1e4, 1e4, 3.0])),
        ("means", torch.tensor([0.0, 0.0, 1e20])),
    ],
    ids=["no direction", "no opacity", "negative opacity", "below the threshold", "behind", "beside", "too far"],
)
def test_what_cannot_be_seen_vanishes(backend: str, field: str, value: float | Tensor, mode: dict[str, Any]) -> None:
    assert_vanished(poisoned(field, value, whole_row=True), backend, mode)


@pytest.mark.parametrize("mode", MODES, ids=["dense", "packed"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scales", 1e30),
        ("scales", 1e10),
        ("scales", 1e3),
        ("scales", 1e-30),
        ("scales", 0.0),
        ("scales", -0.1),
        ("scales", torch.tensor([1e4, 1e-9, 1e-9])),
        ("quats", 1e30),
        ("quats", 1e-30),
        ("means", 1e30),
        ("opacities", 2.0),
        ("opacities", 1e30),
        ("sh", 1e20),
        ("sh", -1e30),
    ],
)
def test_what_is_extreme_stays_finite_and_harms_nobody(
    backend: str, field: str, value: float | Tensor, mode: dict[str, Any]
) -> None:
    scene = poisoned(field, value, whole_row=True)
    colors, alphas, meta = render(scene, backend, mode)
    assert bool(colors.isfinite().all())
    assert bool(((alphas >= 0) & (alphas < 1)).all())
    for name, gradient in gradients(scene).items():
        assert bool(gradient[KEEP].isfinite().all()), name
    for name in ("weight_sum", "weight_max", "median_depth", "radii"):
        assert bool(meta[name].isfinite().all()), name


def test_a_gaussian_at_the_cameras_very_place_is_culled(backend: str) -> None:
    scene = make_scene(40, cameras=2)
    means = scene.means.clone()
    means[VICTIM] = torch.linalg.inv(scene.viewmats[0])[:3, 3]
    scene = replace(scene, means=means).camera(0).tracked()
    colors, _, meta = scene.render(backend, packed=False, near_plane=0.0)
    colors.sum().backward()
    assert bool(colors.isfinite().all())
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(scene).values())
    assert not meta["radii"][0, VICTIM].any() or bool(meta["depths"][0, VICTIM] > 0)


def test_gaussians_on_the_near_plane_are_kept(backend: str) -> None:
    scene = make_scene(41, num=1, width=9, height=9)
    scene = replace(
        scene,
        means=torch.tensor([[0.0, 0.0, 0.5]]),
        viewmats=torch.eye(4)[None],
        opacities=torch.ones(1),
        scales=torch.full((1, 3), 0.05),
    )
    for near, seen in ((0.5, True), (0.5000001, False)):
        assert bool(scene.render(backend, packed=False, near_plane=near)[2]["radii"].any()) == seen


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_plain_colours_that_are_not_finite_vanish_in_their_camera_alone(backend: str, poison: float) -> None:
    scene = make_scene(42, cameras=2)
    colors = torch.rand(2, 60, 4, generator=torch.Generator().manual_seed(0))
    colors[1, VICTIM, 2] = poison
    colors.requires_grad_()
    image, _, meta = scene.render(backend, colors=colors, packed=False)
    image.sum().backward()
    assert bool(image.isfinite().all())
    assert bool(colors.grad.isfinite().all())
    assert not colors.grad[1, VICTIM].any()
    assert bool(meta["radii"][0, VICTIM].any())
    assert not meta["radii"][1, VICTIM].any()


def test_many_at_the_same_place_and_depth_are_blended(backend: str) -> None:
    scene = make_scene(43, num=1, width=9, height=9)
    scene = replace(scene, means=torch.tensor([[0.0, 0.0, 3.0]]), opacities=torch.tensor([0.3]))
    many = scene.rows(torch.zeros(500, dtype=torch.long)).tracked()
    colors, alphas, _ = many.render(backend)
    backward(colors, alphas)
    assert 0.999 < alphas.max().item() < 1
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(many).values())
