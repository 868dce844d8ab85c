"""The adapter to gsplat, against a stand-in that takes exactly gsplat's arguments and draws by the reference."""

import inspect
from dataclasses import replace
from types import ModuleType
from typing import Any

import gsplat
import pytest
import torch
from torch import Tensor

from rasterizer import RasterizerError, Unsupported, rasterization
from rasterizer.backends.gsplat import GsplatBackend
from rasterizer.backends.reference.ssim import l1_ssim
from rasterizer.request import RenderRequest
from tests.rasterizer.scenes import GAUSSIAN_FIELDS, Scene, backward, gradients, make_scene, random_like


class StandIn(ModuleType):
    """Takes what gsplat takes, keeps what it was given, and draws by our reference."""

    def __init__(self) -> None:
        super().__init__("gsplat")
        self.calls: list[dict[str, Any]] = []

    def rasterization(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        bound = inspect.signature(gsplat.rasterization).bind(*args, **kwargs)
        self.calls.append(dict(bound.arguments))
        colors, alphas, meta = rasterization(**bound.arguments, backend="reference")
        del meta["backend"]
        return colors, alphas, meta


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
def adapter(stand_in: StandIn) -> GsplatBackend:
    return GsplatBackend(stand_in, device_type="cpu")


def request_of(scene: Scene, **options: Any) -> RenderRequest:
    tensors = {name: tensor for name, tensor in scene.tensors() if name != "sh"}
    options = {"colors": scene.sh, "sh_degree": 3} | options
    return RenderRequest(**tensors, **options, width=scene.width, height=scene.height)


def test_every_argument_reaches_gsplat(adapter: GsplatBackend, stand_in: StandIn) -> None:
    options: dict[str, Any] = {
        "near_plane": 0.5,
        "far_plane": 50.0,
        "radius_clip": 1.0,
        "eps2d": 0.2,
        "sh_degree": 2,
        "packed": False,
        "tile_size": 8,
        "backgrounds": torch.tensor([[0.1, 0.2, 0.3]]),
        "render_mode": "RGB+ED",
        "absgrad": True,
        "rasterize_mode": "antialiased",
        "channel_chunk": 16,
    }
    scene = make_scene(1, num=8)
    colors, alphas, meta = adapter.rasterize(request_of(scene, **options))
    (call,) = stand_in.calls
    for name, value in options.items():
        assert call[name] is value or call[name] == value, name
    for name, tensor in scene.tensors():
        assert torch.equal(call["colors" if name == "sh" else name], tensor), name
    assert (call["width"], call["height"]) == (scene.width, scene.height)
    assert colors.shape == (1, scene.height, scene.width, 4)
    assert alphas.shape == (1, scene.height, scene.width, 1)
    assert meta["backend"] == "gsplat"


def test_pictures_and_derivatives_pass_through(adapter: GsplatBackend) -> None:
    scene, twin = make_scene(2).tracked(), make_scene(2).tracked()
    colors, alphas, _ = adapter.rasterize(request_of(scene))
    truth_colors, truth_alphas, _ = twin.render("reference")
    assert torch.equal(colors, truth_colors)
    backward(colors, alphas)
    backward(truth_colors, truth_alphas)
    for name, gradient in gradients(twin).items():
        torch.testing.assert_close(gradients(scene)[name], gradient)


@pytest.mark.parametrize("packed", [False, True])
def test_weights_come_from_a_second_pass_with_a_channel_of_ones(
    packed: bool, adapter: GsplatBackend, stand_in: StandIn
) -> None:
    scene = make_scene(3, cameras=2).tracked()
    with torch.no_grad():
        _, _, meta = adapter.rasterize(
            request_of(scene, weights="sum", packed=packed, backgrounds=torch.ones(2, 3), render_mode="RGB+D")
        )
    truth = scene.render("reference", weights=True)[2]["weight_sum"]
    torch.testing.assert_close(meta["weight_sum"], truth, rtol=1e-4, atol=1e-4)
    assert len(stand_in.calls) == 2
    assert stand_in.calls[1]["colors"].shape == (2, 60, 1)
    assert "weight_max" not in meta
    assert not meta["weight_sum"].requires_grad


def test_what_gsplat_cannot_do_is_refused(adapter: GsplatBackend, stand_in: StandIn) -> None:
    scene = make_scene(4, num=5)
    for options, message in (
        ({"weights": True}, "weights='sum'"),
        ({"median_depth": True}, "median_depth=True; render_mode='ED'"),
    ):
        with pytest.raises(Unsupported, match=message):
            adapter.rasterize(request_of(scene, **options))
    with pytest.raises(Unsupported, match=r"torch.float64"):
        adapter.rasterize(request_of(scene.to(torch.float64)))
    with pytest.raises(RasterizerError, match="needs tensors on 'cuda'"):
        GsplatBackend(stand_in).rasterize(request_of(scene))
    assert not stand_in.calls


@pytest.mark.parametrize("field", GAUSSIAN_FIELDS)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_unsound_rows_are_culled_before_gsplat_sees_them(
    field: str, poison: float, adapter: GsplatBackend, stand_in: StandIn
) -> None:
    scene, keep = make_scene(5), torch.arange(60) != 30
    values = getattr(scene, field).clone()
    values[30].fill_(poison)
    scene = replace(scene, **{field: values}).tracked()
    colors, alphas, meta = adapter.rasterize(request_of(scene, packed=False))
    backward(colors, alphas)
    (call,) = stand_in.calls
    assert all(bool(call[name].isfinite().all()) for name in ("means", "quats", "scales", "opacities", "colors"))
    assert not meta["radii"][0, 30].any()
    torch.testing.assert_close(colors, make_scene(5).rows(keep).render("reference")[0])
    for name, gradient in gradients(scene).items():
        assert not gradient[30].any(), name
        assert bool(gradient[keep].any()), name


def test_quaternions_without_direction_and_colours_per_camera_are_seen_to(
    adapter: GsplatBackend, stand_in: StandIn
) -> None:
    scene = make_scene(6, num=10, cameras=2)
    quats, colors = scene.quats.clone(), random_like(torch.zeros(2, 10, 3), 1)
    quats[3] = 0
    colors[1, 5, 0] = torch.nan
    adapter.rasterize(request_of(replace(scene, quats=quats), colors=colors, sh_degree=None))
    (call,) = stand_in.calls
    assert (call["opacities"] == 0).nonzero()[:, 0].tolist() == [3, 5]
    assert not call["colors"][:, 5].any()
    per_camera = torch.stack([scene.sh, scene.sh])
    per_camera[0, 7, 2, 1] = torch.inf
    adapter.rasterize(request_of(scene, colors=per_camera))
    assert (stand_in.calls[1]["opacities"] == 0).nonzero()[:, 0].tolist() == [7]


def test_the_loss_is_that_of_torch(adapter: GsplatBackend) -> None:
    first, second = torch.rand(2, 12, 13, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(adapter.l1_ssim(first, second, 0.3, None), l1_ssim(first, second, 0.3, None))
