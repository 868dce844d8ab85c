"""The public function: what it refuses, how it says so, and that code written for gsplat may call it."""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import rasterizer
from rasterizer import BackendUnavailable, RasterizerError, Unsupported, rasterization
from rasterizer.request import RenderRequest
from tests.rasterizer.scenes import Scene, make_scene, unchecked_shapes


@pytest.fixture(autouse=True)
def _our_own_errors() -> Iterator[None]:
    with unchecked_shapes():
        yield


def wrong(scene: Scene, **changes: Any) -> Scene:
    return replace(scene, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quats": torch.ones(5, 3)}, r"quats has shape \[5, 3\]; expected \[n, 4\] with n = 5"),
        ({"scales": torch.ones(4, 3)}, r"scales has shape \[4, 3\]; expected \[n, 3\] with n = 5"),
        ({"opacities": torch.ones(5, 1)}, r"opacities has shape \[5, 1\]; expected \[n\] with n = 5"),
        ({"means": torch.ones(5, 2)}, r"means has shape \[5, 2\]; expected \[n, 3\]"),
        ({"means": torch.ones(2, 5, 3)}, "batches of scenes"),
        ({"means": torch.ones(())}, "means has shape"),
        ({"viewmats": torch.eye(4)}, "viewmats has shape"),
        ({"viewmats": torch.zeros(0, 4, 4), "Ks": torch.zeros(0, 3, 3)}, "at least one"),
        ({"Ks": torch.eye(3).repeat(2, 1, 1)}, r"Ks has shape \[2, 3, 3\]; expected \[c, 3, 3\] with c = 1"),
        ({"viewmats": torch.full((1, 4, 4), torch.nan)}, "viewmats holds numbers that are not finite"),
        ({"Ks": torch.full((1, 3, 3), torch.inf)}, "Ks holds numbers that are not finite"),
        ({"viewmats": torch.zeros(1, 4, 4)}, "not independent"),
        ({"scales": torch.ones(5, 3).double()}, r"scales is torch.float64 but means is torch.float32"),
        ({"means": torch.ones(5, 3).half()}, "expected torch.float32 or torch.float64"),
        ({"means": torch.ones(5, 3).long()}, "expected torch.float32 or torch.float64"),
        ({"opacities": torch.ones(5, device="meta")}, "opacities is on meta but means is on cpu"),
        ({"sh": torch.ones(5, 16)}, "with sh_degree expected"),
        ({"sh": torch.ones(4, 16, 3)}, "with n = 5"),
        ({"sh": torch.ones(5, 16, 4)}, "with sh_degree expected"),
        ({"width": 0}, "width is 0"),
        ({"height": -3}, "height is -3"),
    ],
)
def test_wrong_tensors_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RasterizerError, match=message):
        replace(make_scene(num=5), **changes).render("reference")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colors": torch.ones(5)}, r"colors has shape \[5\]; expected \[n, d\] or \[c, n, d\]"),
        ({"colors": torch.ones(5, 0)}, "colors has shape"),
        ({"colors": torch.ones(5, 16, 3)}, "give sh_degree"),
        ({"colors": torch.ones(5, 4, 3), "sh_degree": 2}, "holds 4 coefficients; sh_degree 2 needs 9"),
        ({"colors": torch.ones(5, 25, 3), "sh_degree": 4}, "sh_degree is 4; expected 0 to 3"),
        ({"colors": torch.ones(5, 3), "backgrounds": torch.ones(1, 4)}, r"backgrounds has shape \[1, 4\]"),
        ({"near_plane": -1.0}, "near_plane is -1.0"),
        ({"near_plane": float("nan")}, "near_plane is nan"),
        ({"near_plane": 2.0, "far_plane": 1.0}, "not beyond"),
        ({"eps2d": -0.1}, "eps2d is -0.1"),
        ({"tile_size": 0}, "tile_size is 0"),
        ({"channel_chunk": 0}, "channel_chunk is 0"),
        ({"render_mode": "RGBD"}, "render_mode is 'RGBD'; expected one of RGB, D, ED"),
        ({"rasterize_mode": "soft"}, "rasterize_mode is 'soft'"),
        ({"weights": "max"}, "weights is 'max'"),
        ({"backend": "cuda"}, "backend is 'cuda'; expected auto, gsplat, cpu, reference"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    backend = options.pop("backend", "reference")
    with pytest.raises(RasterizerError, match=message):
        make_scene(num=5).render(backend, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"camera_model": "fisheye"},
        {"distributed": True},
        {"sparse_grad": True},
        {"covars": torch.ones(5, 3, 3)},
        {"with_ut": True},
        {"with_eval3d": True},
        {"radial_coeffs": torch.zeros(1, 6)},
        {"tangential_coeffs": torch.zeros(1, 2)},
        {"thin_prism_coeffs": torch.zeros(1, 4)},
        {"ftheta_coeffs": object()},
        {"viewmats_rs": torch.eye(4)[None]},
        {"rolling_shutter": SimpleNamespace(name="ROLLING_TOP_TO_BOTTOM")},
    ],
)
def test_what_no_backend_can_do_is_refused_by_name(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(Unsupported, match=f"backend 'reference' does not support {name}") as caught:
        make_scene(num=5).render("reference", **options)
    assert caught.value.backend == "reference"
    assert len(str(caught.value)) < 200, "tensors are not to be printed"


def test_defaults_of_gsplat_ask_for_nothing() -> None:
    scene = make_scene(num=5)
    defaults: dict[str, Any] = {
        "distributed": False,
        "camera_model": "pinhole",
        "segmented": True,
        "covars": None,
        "with_ut": False,
        "with_eval3d": False,
        "radial_coeffs": None,
        "sparse_grad": False,
        "rolling_shutter": SimpleNamespace(name="GLOBAL"),
        "viewmats_rs": None,
    }
    assert torch.equal(scene.render("reference", **defaults)[0], scene.render("reference")[0])


def test_unknown_arguments_are_type_errors() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'near'"):
        make_scene(num=5).render("reference", near=0.1)


def test_every_argument_of_gsplat_is_known_and_has_its_default() -> None:
    import gsplat

    ours, scene = inspect.signature(rasterization).parameters, make_scene(num=5)
    for name, parameter in inspect.signature(gsplat.rasterization).parameters.items():
        if name in ours:
            assert ours[name].default == parameter.default, name
        else:
            scene.render("reference", **{name: parameter.default})


def test_requests_have_the_defaults_of_the_function() -> None:
    ours = inspect.signature(rasterization).parameters
    for name, parameter in inspect.signature(RenderRequest).parameters.items():
        assert ours[name].default == parameter.default, name


def test_a_backend_that_cannot_run_says_why() -> None:
    with pytest.raises(BackendUnavailable, match=r"backend 'gsplat' cannot run here: .*CUDA") as caught:
        make_scene(num=5).render("gsplat")
    assert caught.value.name == "gsplat"


def test_the_package_exports_what_it_says() -> None:
    assert sorted(rasterizer.__all__) == rasterizer.__all__
    assert all(hasattr(rasterizer, name) for name in rasterizer.__all__)
    for error in (Unsupported, BackendUnavailable):
        assert issubclass(error, RasterizerError)


def test_unsupported_without_a_backend_speaks_of_all() -> None:
    assert str(Unsupported("fog")) == "no backend supports fog"
    assert str(Unsupported("fog", backend="cpu", remedy="wait")) == "backend 'cpu' does not support fog; wait"
