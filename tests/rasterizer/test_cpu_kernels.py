"""The CPU kernels of every instruction set this machine has, operation by operation, against plain torch in double."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from rasterizer.backends.cpu.library import Library, load_library
from rasterizer.backends.cpu.ops import CpuOps
from rasterizer.backends.reference.ops import ReferenceOps
from rasterizer.constants import ALPHA_MAX, ALPHA_MIN, T_MIN
from rasterizer.errors import BackendUnavailable, RasterizerError, Unsupported
from rasterizer.types import Blended, Ops, Projected
from tests.rasterizer.scenes import Scene, make_scene, random_like, relative_error, unchecked_shapes

IMAGE_TOLERANCE = 5e-6
GRADIENT_TOLERANCE = 2e-5
SCENE_INPUTS = ("means", "quats", "scales", "opacities", "sh", "viewmats")
SPLAT_INPUTS = ("means2d", "conics", "colors", "opacities")
LENS: dict[str, float] = {"near_plane": 0.01, "far_plane": 1e10, "eps2d": 0.3, "radius_clip": 0.0}
Splats = dict[str, Tensor]


@pytest.fixture(scope="module")
def library() -> Library:
    try:
        return load_library()
    except BackendUnavailable as error:
        pytest.skip(f"no CPU library here: {error}")


@pytest.fixture(params=["baseline", "v3", "v4"])
def ops(request: pytest.FixtureRequest, library: Library) -> Iterator[CpuOps]:
    if not library.has_isa(request.param):
        pytest.skip(f"this machine has no instruction set '{request.param}'")
    before = library.isa
    library.set_isa(request.param)
    yield CpuOps()
    library.set_isa(before)


def project(ops: Ops, scene: Scene) -> Projected:
    return ops.project(
        scene.means,
        scene.quats,
        scene.scales,
        scene.opacities.detach(),
        scene.viewmats,
        scene.Ks,
        scene.width,
        scene.height,
        **LENS,
    )


def blend(ops: Ops, splats: Splats, width: int, height: int, **options: Any) -> Blended:
    wishes = {"backgrounds": None, "absgrad": False, "weights": False, "median_depth": False, "tile_size": 16} | options
    return ops.blend(
        *(splats[name] for name in (*SPLAT_INPUTS, "depths", "radii")), width=width, height=height, **wishes
    )


def make_splats(seed: int, *, num: int = 150, channels: int = 3, width: int = 50, height: int = 37) -> Splats:
    """Projected Gaussians of one camera: round and thin, small and large, faint and opaque, some beyond the border."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    angle, axes = uniform(1, num) * 3.2, torch.exp(uniform(1, num, 2) * 3.5 - 0.5)
    cos, sin = angle.cos(), angle.sin()
    var_x = (cos * axes[..., 0]) ** 2 + (sin * axes[..., 1]) ** 2
    var_y = (sin * axes[..., 0]) ** 2 + (cos * axes[..., 1]) ** 2
    covar = cos * sin * (axes[..., 0] ** 2 - axes[..., 1] ** 2)
    det = (axes[..., 0] * axes[..., 1]) ** 2
    size = torch.tensor([width, height], dtype=torch.float64)
    splats = {
        "means2d": (uniform(1, num, 2) * 1.4 - 0.2) * size,
        "conics": torch.stack([var_y, -covar, var_x], dim=-1) / det[..., None],
        "colors": uniform(1, num, channels) * 2 - 0.5,
        "opacities": (uniform(1, num) * 1.3).clamp(0.01, 1),
        "depths": uniform(1, num) + 1,
        "radii": (3.4 * torch.stack([var_x, var_y], dim=-1).sqrt()).ceil(),
    }
    return {name: value.to(torch.int32 if name == "radii" else torch.float32) for name, value in splats.items()}


def as_leaves(splats: Splats, dtype: torch.dtype) -> Splats:
    leaves = {name: splats[name].to(dtype).clone().requires_grad_() for name in SPLAT_INPUTS}
    return leaves | {"depths": splats["depths"].to(dtype), "radii": splats["radii"]}


def in_double(splats: Splats) -> Splats:
    return {name: value if name == "radii" else value.double() for name, value in splats.items()}


def sure_pixels(splats: Splats, width: int, height: int) -> Tensor:
    """Pixels [h, w] where no rounding can decide whether a splat counts, or whether it is the last."""
    visible = (splats["radii"][0] > 0).all(dim=1).nonzero()[:, 0]
    rows = visible[splats["depths"][0, visible].argsort(stable=True)]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    mean, conic = splats["means2d"][0, rows].double(), splats["conics"][0, rows].double()
    dx, dy = x - mean[:, :1, None], y - mean[:, 1:, None]
    sigma = 0.5 * (conic[:, :1, None] * dx**2 + conic[:, 2:, None] * dy**2) + conic[:, 1:2, None] * dx * dy
    alpha = splats["opacities"][0, rows, None, None].double() * torch.exp(-sigma)
    unsure = ((alpha / ALPHA_MIN - 1).abs() < 1e-4) | ((alpha / ALPHA_MAX - 1).abs() < 1e-5)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha.clamp_max(ALPHA_MAX), 0)
    transmittance = torch.cumprod(1 - alpha, dim=0)
    return ~(unsure | ((transmittance / T_MIN - 1).abs() < 1e-3)).any(dim=0)


def assert_blends_agree(ops: CpuOps, splats: Splats, width: int, height: int, **options: Any) -> None:
    sure = sure_pixels(splats, width, height)[None, ..., None]
    assert float(sure.double().mean()) > 0.9
    results: list[dict[str, Tensor]] = []
    for one, dtype in ((ops, torch.float32), (ReferenceOps(), torch.float64)):
        leaves = as_leaves(splats, dtype)
        background = random_like(torch.zeros(1, splats["colors"].shape[2], dtype=dtype), 7).requires_grad_()
        drawn = blend(one, leaves, width, height, backgrounds=background, absgrad=True, **options)
        v_colors, v_alphas = random_like(drawn.colors, 8) * sure, random_like(drawn.alphas, 9) * sure
        ((drawn.colors * v_colors).sum() + (drawn.alphas * v_alphas).sum()).backward()
        found = {name: leaves[name].grad for name in SPLAT_INPUTS}
        found |= {"backgrounds": background.grad, "absgrad": leaves["means2d"].absgrad}
        images = {"image": drawn.colors.detach() * sure, "alphas": drawn.alphas.detach() * sure}
        results.append(images | found)
    found, truth = results
    for name in ("image", "alphas"):
        assert float((found[name] - truth[name]).abs().max()) <= IMAGE_TOLERANCE, name
    for name in (*SPLAT_INPUTS, "backgrounds", "absgrad"):
        assert relative_error(found[name], truth[name]) <= GRADIENT_TOLERANCE, name


@pytest.mark.parametrize("seed", range(3))
def test_projection_and_its_derivatives_equal_those_in_double_precision(ops: CpuOps, seed: int) -> None:
    results = []
    for one, dtype in ((ops, torch.float32), (ReferenceOps(), torch.float64)):
        scene = make_scene(seed, num=300, cameras=2).to(dtype).tracked(*SCENE_INPUTS)
        seen = project(one, scene)
        values = {name: getattr(seen, name) for name in ("means2d", "depths", "conics", "compensations")}
        sum((value * random_like(value, i)).sum() for i, value in enumerate(values.values())).backward()
        gradients = {name: getattr(scene, name).grad for name in ("means", "quats", "scales", "viewmats")}
        everything = values | gradients | {"radii": seen.radii.to(dtype)}
        results.append({name: value.detach() for name, value in everything.items()})
    found, truth = results
    assert int((found["radii"] != truth["radii"]).sum()) <= 1, "ceil may round an almost whole number either way"
    assert 100 < int((truth["radii"] > 0).all(dim=-1).sum()) < 590
    for name, value in truth.items():
        assert relative_error(found[name], value) <= GRADIENT_TOLERANCE, name


def test_long_thin_gaussians_keep_the_digits_of_their_gradients(ops: CpuOps) -> None:
    results = []
    for one, dtype in ((ops, torch.float32), (ReferenceOps(), torch.float64)):
        scene = make_scene(6, num=300)
        scene.scales[:] = torch.tensor([1.5, 1e-3, 1e-3])
        scene = scene.to(dtype).tracked(*SCENE_INPUTS)
        conics = project(one, scene).conics
        (conics * random_like(conics, 1)).sum().backward()
        results.append({name: getattr(scene, name).grad for name in ("means", "quats", "scales", "viewmats")})
    found, truth = results
    for name, value in truth.items():
        assert relative_error(found[name], value) <= 1e-6, name


@pytest.mark.parametrize("degree", range(4))
def test_colours_and_their_derivatives_equal_those_in_double_precision(ops: CpuOps, degree: int) -> None:
    results = []
    for one, dtype in ((ops, torch.float32), (ReferenceOps(), torch.float64)):
        scene = make_scene(5, num=150, cameras=2, sh_degree=3).to(dtype).tracked(*SCENE_INPUTS)
        radii = torch.ones(2, 150, 2, dtype=torch.int32)
        radii[:, ::5] = 0
        colors = one.shade(degree, scene.means, scene.sh, scene.viewmats, radii)
        (colors * random_like(colors, 3)).sum().backward()
        assert not colors[:, ::5].any()
        assert not scene.sh.grad[::5].any()
        gradients = [scene.sh.grad, *(getattr(scene, name).grad for name in ("means", "viewmats") if degree > 0)]
        results.append([colors.detach(), *gradients])
    for found, truth in zip(*results, strict=True):
        assert relative_error(found, truth) <= GRADIENT_TOLERANCE


@pytest.mark.parametrize("seed", range(3))
def test_blending_and_its_derivatives_equal_those_in_double_precision(ops: CpuOps, seed: int) -> None:
    assert_blends_agree(ops, make_splats(seed), 50, 37)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 17, 32])
def test_any_number_of_channels_is_blended_alike(ops: CpuOps, channels: int) -> None:
    assert_blends_agree(ops, make_splats(11, num=60, channels=channels), 50, 37)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 32), (17, 33), (200, 3), (3, 200)])
def test_any_size_of_image_is_blended_alike(ops: CpuOps, width: int, height: int) -> None:
    assert_blends_agree(ops, make_splats(12, num=60, width=width, height=height), width, height)


def test_no_pixel_that_a_thin_splat_reaches_is_lost_between_tiles(ops: CpuOps) -> None:
    splats = make_splats(13, num=40, width=150, height=110)
    for row in range(40):
        one = {name: value[:, row : row + 1] for name, value in splats.items()}
        alphas = blend(ops, one, 150, 110).alphas[0, ..., 0]
        truth = blend(ReferenceOps(), in_double(one), 150, 110).alphas[0, ..., 0]
        # Both leave out what is fainter than 1/255; which side of it a pixel falls on is rounding.
        assert float((alphas - truth).abs()[(truth == 0) == (alphas == 0)].max()) < 1e-6
        assert float(truth[alphas == 0].max()) < ALPHA_MIN * 1.0001
        assert float(alphas[truth == 0].max()) < ALPHA_MIN * 1.0001


def test_the_alpha_of_faint_pixels_keeps_its_digits(ops: CpuOps) -> None:
    splats = make_splats(29, num=20) | {"opacities": torch.full((1, 20), 0.006)}
    alphas = blend(ops, splats, 50, 37).alphas[0, ..., 0]
    truth = blend(ReferenceOps(), in_double(splats), 50, 37).alphas[0, ..., 0]
    faint = sure_pixels(splats, 50, 37) & (truth > 0) & (truth < 0.02)
    assert int(faint.sum()) > 200
    # Expected depth divides by it: what it is wrong by is multiplied by up to 255.
    assert float((alphas / truth - 1)[faint].abs().max()) < 2e-6


def test_statistics_equal_those_in_double_precision(ops: CpuOps) -> None:
    splats = make_splats(14)
    found = blend(ops, splats, 50, 37, weights=True, median_depth=True)
    truth = blend(ReferenceOps(), in_double(splats), 50, 37, weights=True, median_depth=True)
    for name in ("weight_sum", "weight_max"):
        assert relative_error(getattr(found, name), getattr(truth, name)) < 1e-4, name
    settled = (truth.alphas - 0.5).abs() > 1e-4
    unlike = ((found.median_depth - truth.median_depth).abs() > 1e-6) & settled
    assert int(unlike.sum()) <= 1
    plain = blend(ops, splats, 50, 37)
    assert torch.equal(plain.colors, found.colors), "asking for statistics must not change the image"


def test_the_weight_of_a_splat_is_the_derivative_of_a_channel_of_ones(ops: CpuOps) -> None:
    splats = as_leaves(make_splats(15, channels=1), torch.float32)
    drawn = blend(ops, splats, 50, 37, weights=True)
    drawn.colors.sum().backward()
    torch.testing.assert_close(drawn.weight_sum, splats["colors"].grad[..., 0], rtol=1e-5, atol=1e-6)


def test_equal_depths_are_drawn_in_the_order_given(ops: CpuOps) -> None:
    splats = make_splats(16, num=5000, width=40, height=40)
    splats["depths"] = splats["depths"].mul(4).round()
    drawn = blend(ops, splats, 40, 40)
    order = splats["depths"][0].argsort(stable=True)
    arranged = {name: value[:, order] for name, value in splats.items()}
    arranged["depths"] = torch.arange(5000.0)[None]
    assert torch.equal(drawn.colors, blend(ops, arranged, 40, 40).colors)


def test_depths_order_whatever_their_sign(ops: CpuOps) -> None:
    splats = make_splats(17)
    moved = splats | {"depths": (splats["depths"] - 1.5) * 1e-3}
    assert torch.equal(blend(ops, splats, 50, 37).colors, blend(ops, moved, 50, 37).colors)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("field", SPLAT_INPUTS)
def test_a_poisoned_splat_is_as_good_as_absent(ops: CpuOps, field: str, value: float) -> None:
    splats = make_splats(18)
    victim = 75
    kept = torch.arange(150) != victim
    results = []
    for given in (splats, {name: tensor[:, kept] for name, tensor in splats.items()}):
        leaves = as_leaves(given, torch.float32)
        if given is splats:
            leaves[field].data[0, victim] = value
        drawn = blend(ops, leaves, 50, 37, weights=True, absgrad=True, median_depth=True)
        (drawn.colors * random_like(drawn.colors, 1)).sum().backward()
        gradients = [leaves[name].grad for name in SPLAT_INPUTS] + [leaves["means2d"].absgrad, drawn.weight_sum]
        if given is splats:
            assert not any(gradient[0, victim].any() for gradient in gradients)
            gradients = [gradient[:, kept] for gradient in gradients]
        results.append([drawn.colors, drawn.median_depth, *gradients])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))


def test_conics_that_are_no_ellipse_are_not_drawn(ops: CpuOps) -> None:
    splats = make_splats(19, num=4)
    splats["conics"] = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]]])
    assert not blend(ops, splats, 50, 37).alphas.any()


def test_extreme_numbers_crash_nothing_and_stay_finite(ops: CpuOps) -> None:
    generator = torch.Generator().manual_seed(20)
    extremes = torch.tensor([0.0, 1e-38, 1e-12, 1e-3, 1.0, 30.0, 1e4, 1e9, 1e20, 1e38, torch.inf, torch.nan])
    with unchecked_shapes():
        for _ in range(60):
            scene = make_scene(21, num=64, cameras=1)
            for name in ("means", "quats", "scales"):
                values = getattr(scene, name)
                wild = extremes[torch.randint(len(extremes), values.shape, generator=generator)]
                chosen = torch.rand(values.shape, generator=generator) < 0.15
                values[chosen] = wild[chosen]
            scene = scene.tracked(*SCENE_INPUTS)
            seen = project(ops, scene)
            colors = ops.shade(3, scene.means, scene.sh, scene.viewmats, seen.radii)
            splats = vars_of(seen) | {"colors": colors, "opacities": scene.opacities[None]}
            drawn = blend(ops, splats, scene.width, scene.height)
            assert bool(drawn.colors.isfinite().all())
            (drawn.colors * random_like(drawn.colors, 1)).sum().backward()
            culled = ~(seen.radii[0] > 0).all(dim=1)
            assert bool(culled.any())
            assert not any(getattr(scene, name).grad[culled].any() for name in ("means", "quats", "scales", "sh"))


def vars_of(seen: Projected) -> Splats:
    return {name: getattr(seen, name) for name in ("means2d", "conics", "depths", "radii")}


def test_gradients_of_culled_rows_do_not_leak_back(ops: CpuOps) -> None:
    scene = make_scene(22).tracked(*SCENE_INPUTS)
    seen = project(ops, scene)
    culled = ~(seen.radii[0] > 0).all(dim=1)
    assert bool(culled.any())
    gradient = torch.where(culled[None, :, None], torch.nan, 1.0).expand_as(seen.means2d)
    seen.means2d.backward(gradient)
    for name in ("means", "quats", "scales", "viewmats"):
        assert bool(getattr(scene, name).grad.isfinite().all()), name
        assert name == "viewmats" or not getattr(scene, name).grad[culled].any()


@pytest.mark.parametrize("num", [0, 3])
def test_an_image_of_nothing_is_the_background(ops: CpuOps, num: int) -> None:
    splats = {name: value[:, :num] for name, value in as_leaves(make_splats(23), torch.float32).items()}
    splats["radii"] = torch.zeros_like(splats["radii"])
    background = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    drawn = blend(ops, splats, 21, 13, backgrounds=background, weights=True)
    assert torch.equal(drawn.colors, background[:, None, None].expand(1, 13, 21, 3))
    assert not drawn.alphas.any()
    drawn.colors.sum().backward()
    assert torch.equal(background.grad, torch.full((1, 3), 13.0 * 21))


def test_memory_layout_changes_nothing(ops: CpuOps) -> None:
    splats = make_splats(24)
    scattered = {name: value.repeat_interleave(2, dim=1)[:, ::2] for name, value in splats.items()}
    assert not scattered["means2d"].is_contiguous()
    results = []
    for given in (splats, scattered):
        for name in SPLAT_INPUTS:
            given[name].requires_grad_()
        drawn = blend(ops, given, 50, 37, absgrad=True)
        (drawn.colors * random_like(drawn.colors, 1).transpose(1, 2).contiguous().transpose(1, 2)).sum().backward()
        results.append([drawn.colors, given["conics"].grad, given["means2d"].absgrad])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))


def test_a_graph_can_be_walked_twice(ops: CpuOps) -> None:
    leaves = as_leaves(make_splats(25), torch.float32)
    drawn = blend(ops, leaves, 50, 37)
    first = torch.autograd.grad(drawn.colors.sum(), leaves["conics"], retain_graph=True)[0]
    second = torch.autograd.grad(drawn.colors.sum(), leaves["conics"])[0]
    assert torch.equal(first, second)


def test_what_a_blend_keeps_is_freed_with_its_graph(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = []
    original = library.blend_free
    monkeypatch.setattr(library, "blend_free", lambda handle: (freed.append(handle), original(handle)))
    leaves = as_leaves(make_splats(26), torch.float32)
    drawn = blend(CpuOps(), leaves, 50, 37)
    assert not freed
    del drawn
    gc.collect()
    assert len(freed) == 1
    with torch.no_grad():
        blend(CpuOps(), leaves, 50, 37)
    assert len(freed) == 1, "without gradients nothing is kept"


def test_other_precisions_are_refused_with_the_way_out() -> None:
    scene = make_scene(27, dtype=torch.float64)
    with pytest.raises(RasterizerError, match=r"'means' is float64.*backend='reference'"):
        project(CpuOps(), scene)
    splats = make_splats(27)
    with pytest.raises(RasterizerError, match="'colors' is float16"):
        blend(CpuOps(), splats | {"colors": splats["colors"].half()}, 50, 37)


def test_what_the_kernels_cannot_hold_is_refused() -> None:
    with pytest.raises(Unsupported, match="65 channels"):
        blend(CpuOps(), make_splats(28, num=3, channels=65), 50, 37)
    scene = make_scene(28)
    radii = torch.ones(1, 60, 2, dtype=torch.int32)
    with pytest.raises(Unsupported, match="sh_degree=4"):
        CpuOps().shade(4, scene.means, torch.zeros(60, 25, 3), scene.viewmats, radii)
    with pytest.raises(RasterizerError, match="needs 16 coefficients, not 4"):
        CpuOps().shade(3, scene.means, scene.sh[:, :4], scene.viewmats, radii)


def test_an_unknown_instruction_set_is_refused(library: Library) -> None:
    before = library.isa
    with pytest.raises(RasterizerError, match="'v9'"):
        library.set_isa("v9")
    assert library.isa == before
    assert library.has_isa("baseline")
