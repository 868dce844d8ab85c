"""The reference backend against truths found by other means: loops, closed forms, finite differences, libraries."""

import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

from rasterizer.backends.reference import ReferenceOps, blend
from rasterizer.backends.reference.harmonics import sh_basis
from rasterizer.constants import MAX_RADIUS_PX
from rasterizer.pipeline import OpsBackend
from rasterizer.request import RenderRequest
from rasterizer.types import Blended, Projected
from tests.rasterizer.naive import draw_naively, project_naively
from tests.rasterizer.scenes import (
    Scene,
    backward,
    gradients,
    make_scene,
    random_like,
    relative_error,
    unchecked_shapes,
)

DOUBLE = torch.float64
OPS = ReferenceOps()


def project(scene: Scene, ops: ReferenceOps = OPS, **options: float) -> Projected:
    limits = {"near_plane": 0.01, "far_plane": 1e10, "eps2d": 0.3, "radius_clip": 0.0} | options
    return ops.project(
        scene.means,
        scene.quats,
        scene.scales,
        scene.opacities.detach(),
        scene.viewmats,
        scene.Ks,
        scene.width,
        scene.height,
        **limits,
    )


def blend_by(path: str, scene: Scene, projected: Projected, colors: Tensor, **options: object) -> Blended:
    wanted = {"backgrounds": None, "absgrad": False, "weights": True, "median_depth": True, "tile_size": 16} | options
    return ReferenceOps(path=path).blend(
        projected.means2d,
        projected.conics,
        colors,
        scene.opacities.expand(len(scene.viewmats), -1),
        projected.depths,
        projected.radii,
        scene.width,
        scene.height,
        **wanted,
    )


@pytest.mark.parametrize("path", ["dense", "tiled"])
def test_pictures_equal_those_of_loops_over_plain_numbers(path: str) -> None:
    scene = make_scene(1, num=24, width=14, height=11, dtype=DOUBLE)
    scene = replace(scene, scales=scene.scales * 3)
    colors, background = random_like(torch.zeros(24, 4), 2).double(), random_like(torch.zeros(1, 4), 3).double()
    truth = draw_naively(scene, project_naively(scene, colors.numpy()), background[0].numpy())
    found = blend_by(path, scene, project(scene), colors[None], backgrounds=background)
    assert truth.alpha.max() > 0.99, "no pixel is full; the stopping rule is not exercised"
    assert truth.median_depth.max() > 0
    for name, image in (("colors", truth.image), ("alphas", truth.alpha), ("median_depth", truth.median_depth)):
        np.testing.assert_allclose(getattr(found, name)[0].squeeze(-1).numpy(), image, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(found.weight_sum[0].numpy(), truth.weight_sum, atol=1e-12)
    np.testing.assert_allclose(found.weight_max[0].numpy(), truth.weight_max, atol=1e-12)


def test_projection_equals_that_of_full_matrices() -> None:
    scene = make_scene(3, num=200, dtype=DOUBLE)
    truth = {splat.row: splat for splat in project_naively(scene, np.zeros((200, 1)))}
    found = project(scene)
    visible = (found.radii[0] > 0).all(dim=1).nonzero()[:, 0].tolist()
    assert 50 < len(visible) < 200
    for row in visible:
        np.testing.assert_allclose(found.means2d[0, row].numpy(), truth[row].mean2d, rtol=1e-12)
        np.testing.assert_allclose(found.depths[0, row].item(), truth[row].depth, rtol=1e-12)
        np.testing.assert_allclose(found.compensations[0, row].item(), truth[row].compensation, rtol=1e-9)
        inverse = np.linalg.inv(truth[row].covariance)[[0, 0, 1], [0, 1, 1]]
        np.testing.assert_allclose(found.conics[0, row].numpy(), inverse, rtol=1e-9)
        reach = math.sqrt(2 * math.log(255 * truth[row].opacity))
        extent = np.ceil(min(3.33, reach) * np.sqrt(np.diag(truth[row].covariance)))
        np.testing.assert_array_equal(found.radii[0, row].numpy(), extent)


def test_projection_equals_that_of_gsplat() -> None:
    from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

    scene = make_scene(4, num=300, cameras=3, dtype=DOUBLE)
    # gsplat's plain version knows no opacities: all are one, for which both extents are 3.33 and 3.329 sigma.
    scene = replace(scene, opacities=torch.ones_like(scene.opacities))
    covars, _ = _quat_scale_to_covar_preci(scene.quats, scene.scales, compute_preci=False)
    radii, means2d, depths, conics, compensations = _fully_fused_projection(
        scene.means, covars, scene.viewmats, scene.Ks, scene.width, scene.height, calc_compensations=True
    )
    found = project(scene)
    visible = (found.radii > 0).all(dim=-1)
    assert int((visible ^ (radii > 0).all(dim=-1)).sum()) <= 2
    assert 300 < int(visible.sum()) < 800
    assert int((found.radii - radii)[visible].abs().max()) <= 1
    torch.testing.assert_close(found.means2d[visible], means2d[visible], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.depths[visible], depths[visible], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.conics[visible], conics[visible], rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(found.compensations[visible], compensations[visible], rtol=1e-6, atol=1e-7)


def test_harmonics_equal_those_of_scipy() -> None:
    directions = torch.nn.functional.normalize(random_like(torch.zeros(50, 3), 5).double(), dim=1)
    x, y, z = directions.T.numpy()
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    truth = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = scipy.special.sph_harm_y(degree, abs(order), polar, azimuth)
            truth.append(value.real if order == 0 else math.sqrt(2) * (value.imag if order < 0 else value.real))
    np.testing.assert_allclose(sh_basis(3, directions).numpy(), np.stack(truth, axis=1), atol=1e-12)


def test_a_lower_degree_ignores_the_higher_coefficients() -> None:
    scene = make_scene(6, num=20, dtype=DOUBLE)
    radii = project(scene).radii
    cut = OPS.shade(1, scene.means, scene.sh[:, :4], scene.viewmats, radii)
    torch.testing.assert_close(OPS.shade(1, scene.means, scene.sh, scene.viewmats, radii), cut, rtol=0, atol=0)
    assert not torch.equal(OPS.shade(2, scene.means, scene.sh, scene.viewmats, radii), cut)


def test_shading_reads_colours_along_the_line_from_the_camera() -> None:
    scene = make_scene(7, num=30, dtype=DOUBLE)
    found = OPS.shade(3, scene.means, scene.sh, scene.viewmats, torch.ones(1, 30, 2, dtype=torch.int32))[0]
    center = torch.linalg.inv(scene.viewmats[0])[:3, 3]
    direction = torch.nn.functional.normalize(scene.means - center, dim=1)
    truth = ((sh_basis(3, direction)[..., None] * scene.sh).sum(dim=1) + 0.5).clamp_min(0)
    torch.testing.assert_close(found, truth)
    assert bool((found == 0).any()), "no colour was clamped"


def test_derivatives_of_projection_equal_finite_differences() -> None:
    scene = make_scene(8, num=6, cameras=2, dtype=DOUBLE).tracked("means", "quats", "scales", "viewmats")

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        names = ("means", "quats", "scales", "viewmats")
        found = project(replace(scene, **dict(zip(names, tensors, strict=True))))
        return found.means2d, found.depths, found.conics, found.compensations

    with unchecked_shapes():
        assert torch.autograd.gradcheck(run, (scene.means, scene.quats, scene.scales, scene.viewmats))


def test_derivatives_of_shading_equal_finite_differences() -> None:
    scene = make_scene(9, num=2, cameras=2, dtype=DOUBLE).tracked("means", "sh", "viewmats")
    radii = torch.ones(2, 2, 2, dtype=torch.int32)

    def run(means: Tensor, sh: Tensor, viewmats: Tensor) -> Tensor:
        return OPS.shade(3, means, sh, viewmats, radii)

    with unchecked_shapes():
        assert torch.autograd.gradcheck(run, (scene.means, scene.sh, scene.viewmats))


@pytest.mark.parametrize("path", ["dense", "tiled"])
def test_derivatives_of_blending_equal_finite_differences(path: str) -> None:
    scene = make_scene(10, num=9, width=6, height=5, dtype=DOUBLE)
    projected = project(scene)
    colors, background = random_like(torch.zeros(1, 9, 2, dtype=DOUBLE), 1), torch.tensor([[0.3, 0.8]], dtype=DOUBLE)
    inputs = [projected.means2d, projected.conics, colors, scene.opacities * 0.98, background]
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]

    def run(
        means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, background: Tensor
    ) -> tuple[Tensor, ...]:
        moved = replace(projected, means2d=means2d, conics=conics)
        found = blend_by(path, replace(scene, opacities=opacities), moved, colors, backgrounds=background, tile_size=4)
        return found.colors, found.alphas

    with unchecked_shapes():
        assert torch.autograd.gradcheck(run, inputs)


def test_derivatives_of_a_whole_rendering_equal_finite_differences() -> None:
    scene = make_scene(11, num=30, width=12, height=9, dtype=DOUBLE).tracked("viewmats", *("means", "quats", "scales"))
    scene = replace(scene, opacities=scene.opacities.requires_grad_(), sh=scene.sh.requires_grad_())

    def run(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, sh: Tensor, viewmats: Tensor) -> Tensor:
        moved = replace(
            scene, means=means, quats=quats, scales=scales, opacities=opacities * 0.99, sh=sh, viewmats=viewmats
        )
        colors, alphas, _ = moved.render("reference", render_mode="RGB+ED", rasterize_mode="antialiased")
        return torch.cat([colors, alphas], dim=-1)

    inputs = (scene.means, scene.quats, scene.scales, scene.opacities, scene.sh, scene.viewmats)
    with unchecked_shapes():
        assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("tile_size", [5, 16])
def test_tiles_and_stretches_change_nothing(tile_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blend, "TILED_MAX_LENGTH", 7)
    monkeypatch.setattr(blend, "TILED_MAX_CELLS", 1 << 13)
    results = {}
    for path in ("dense", "tiled"):
        scene = make_scene(12, num=150, cameras=2, dtype=DOUBLE).tracked()
        request = {name: tensor for name, tensor in scene.tensors() if name != "sh"}
        colors, alphas, meta = OpsBackend(ReferenceOps(path=path)).rasterize(
            RenderRequest(
                **request,
                colors=scene.sh,
                sh_degree=3,
                width=scene.width,
                height=scene.height,
                tile_size=tile_size,
                packed=False,
                absgrad=True,
                weights=True,
                median_depth=True,
            )
        )
        backward(colors, alphas)
        kept = {name: meta[name] for name in ("weight_sum", "weight_max", "median_depth")}
        results[path] = (
            {"colors": colors, "alphas": alphas, "absgrad": meta["means2d"].absgrad} | kept | gradients(scene)
        )
    for name, truth in results["dense"].items():
        assert relative_error(results["tiled"][name].detach(), truth.detach()) < 1e-12, name


def test_absolute_gradients_are_summed_per_pixel() -> None:
    scene = make_scene(13, num=12, width=9, height=7, dtype=DOUBLE)
    projected = project(scene)
    colors, weights = random_like(torch.zeros(1, 12, 3, dtype=DOUBLE), 1), random_like(torch.zeros(7, 9, 3).double(), 2)
    truth = torch.zeros(1, 12, 2, dtype=DOUBLE)
    for j in range(7):
        for i in range(9):
            means2d = projected.means2d.clone().requires_grad_()
            found = blend_by("dense", scene, replace(projected, means2d=means2d), colors)
            (found.colors[0, j, i] * weights[j, i]).sum().backward()
            truth += means2d.grad.abs()
    means2d = projected.means2d.clone().requires_grad_()
    found = blend_by("dense", scene, replace(projected, means2d=means2d), colors, absgrad=True)
    (found.colors[0] * weights).sum().backward()
    torch.testing.assert_close(means2d.absgrad, truth)
    assert float(truth.norm()) > 1.5 * float(means2d.grad.norm()), "the absolute sum should differ from the plain one"


@pytest.mark.parametrize("path", ["dense", "tiled"])
def test_alpha_may_reach_what_the_caller_allows(path: str) -> None:
    scene = replace(make_scene(14, num=1, width=5, height=5), means=torch.zeros(1, 3), opacities=torch.ones(1))
    means2d, conics = torch.full((1, 1, 2), 2.5), torch.tensor([[[0.5, 0.0, 0.5]]])
    projected = Projected(means2d, torch.ones(1, 1), conics, torch.ones(1, 1), torch.full((1, 1, 2), 9).int())
    for alpha_max in (0.99, 0.999):
        ops = ReferenceOps(path=path, alpha_max=alpha_max)
        found = ops.blend(
            *(projected.means2d, projected.conics, torch.ones(1, 1, 1), scene.opacities[None]),
            *(projected.depths, projected.radii, 5, 5),
            **{"backgrounds": None, "absgrad": False, "weights": False, "median_depth": False, "tile_size": 16},
        )
        assert float(found.alphas[0, 2, 2]) == pytest.approx(alpha_max, abs=1e-6)


def test_equal_depths_are_drawn_in_the_order_given() -> None:
    scene = make_scene(15, num=2, width=5, height=5)
    projected = Projected(
        torch.full((1, 2, 2), 2.5),
        torch.ones(1, 2),
        torch.tensor([0.5, 0.0, 0.5]).expand(1, 2, 3),
        torch.ones(1, 2),
        torch.full((1, 2, 2), 9).int(),
    )
    scene = replace(scene, opacities=torch.tensor([0.8, 0.8]))
    for path in ("dense", "tiled"):
        found = blend_by(path, scene, projected, torch.tensor([[[1.0], [0.0]]]))
        assert float(found.colors[0, 2, 2, 0]) == pytest.approx(0.8)


def test_giant_gaussians_keep_radii_that_fit_integers() -> None:
    scene = make_scene(16, num=8)
    scene = replace(scene, scales=torch.full_like(scene.scales, 1e7))
    radii = project(scene).radii
    assert int(radii.max()) == MAX_RADIUS_PX
    assert int(radii.min()) >= 0


def test_graphs_are_freed_when_the_results_are_dropped() -> None:
    gc.collect()
    gc.disable()
    try:
        scene = make_scene(17, num=10).tracked()
        colors, alphas, meta = scene.render("reference", packed=True, absgrad=True)
        watched = [weakref.ref(meta["means2d"]), weakref.ref(colors)]
        del colors, alphas, meta
        assert [reference() for reference in watched] == [None, None], "a cycle keeps the graph alive"
    finally:
        gc.enable()


def test_what_nothing_is_seen_of_still_has_derivatives_of_zero() -> None:
    for width in (9, 2000):  # the dense and the tiled path
        scene = make_scene(18, num=5, width=width, height=600)
        scene = replace(scene, means=scene.means - torch.tensor([0.0, 0.0, 100.0])).tracked()
        background = torch.tensor([[0.1, 0.2, 0.3]])
        colors, alphas, meta = scene.render("reference", packed=False, absgrad=True, backgrounds=background)
        meta["means2d"].retain_grad()
        assert torch.equal(colors, background[:, None, None].expand_as(colors))
        backward(colors, alphas)
        assert all(not gradient.any() for gradient in gradients(scene).values())
        assert not meta["means2d"].grad.any()
        assert not meta["means2d"].absgrad.any()


def test_tiles_keep_little_for_the_derivative() -> None:
    scene = make_scene(19, num=300, width=200, height=150).tracked()
    kept_bytes = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept_bytes
        kept_bytes += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        scene.render("reference", packed=False)
    pairs = 300 * 200 * 150
    assert kept_bytes < pairs, "less than a byte for each pair of splat and pixel; the dense path keeps about fifty"
