"""What a rasterizer is made of around the operations: modes, layouts, chunks, extras, on every backend."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch

from rasterizer import Unsupported
from tests.rasterizer.scenes import (
    BACKENDS,
    backward,
    gradients,
    make_scene,
    random_like,
    relative_error,
    require_backend,
)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return require_backend(request.param)


def test_images_have_the_shapes_and_dtype_of_the_request(backend: str) -> None:
    scene = make_scene(1, cameras=2)
    for mode, channels in (("RGB", 3), ("D", 1), ("ED", 1), ("RGB+D", 4), ("RGB+ED", 4)):
        colors, alphas, _ = scene.render(backend, render_mode=mode)
        assert colors.shape == (2, scene.height, scene.width, channels)
        assert alphas.shape == (2, scene.height, scene.width, 1)
        assert colors.dtype == alphas.dtype == torch.float32
        assert bool((alphas >= 0).all())
        assert bool((alphas < 1).all())


def test_depth_modes_are_parts_of_each_other(backend: str) -> None:
    scene = make_scene(2, cameras=2)
    images = {mode: scene.render(backend, render_mode=mode)[0] for mode in ("RGB", "D", "ED", "RGB+D", "RGB+ED")}
    alphas = scene.render(backend)[1]
    torch.testing.assert_close(images["RGB+D"], torch.cat([images["RGB"], images["D"]], dim=-1))
    torch.testing.assert_close(images["RGB+ED"], torch.cat([images["RGB"], images["ED"]], dim=-1))
    torch.testing.assert_close(images["ED"] * alphas, images["D"])
    covered = alphas > 0.01
    assert bool((images["ED"][covered] > 1.5).all())
    assert bool((images["ED"][covered] < 6.5).all())


def test_backgrounds_show_where_alpha_leaves_room_and_never_in_depth(backend: str) -> None:
    scene = make_scene(3, cameras=2)
    backgrounds = torch.tensor([[0.2, 0.4, 0.6], [1.0, 0.0, 0.5]])
    black, alphas, _ = scene.render(backend, render_mode="RGB+D")
    found, _, _ = scene.render(backend, render_mode="RGB+D", backgrounds=backgrounds)
    torch.testing.assert_close(found[..., :3], black[..., :3] + (1 - alphas) * backgrounds[:, None, None])
    assert torch.equal(found[..., 3], black[..., 3])
    depth, _, _ = scene.render(backend, render_mode="D", backgrounds=backgrounds)
    torch.testing.assert_close(depth[..., 0], black[..., 3])


def test_antialiasing_dims_by_the_share_of_area_that_widening_added(backend: str) -> None:
    scene = make_scene(4, num=80)
    classic, _, plain = scene.render(backend, packed=False)
    found, _, meta = scene.render(backend, packed=False, rasterize_mode="antialiased")
    inverse = plain["conics"][0]
    visible = (plain["radii"][0] > 0).all(dim=1)
    # Independent of the implementation: from the conic back to the covariance, and off with the widening.
    wide = torch.linalg.inv(inverse[visible][:, [0, 1, 1, 2]].reshape(-1, 2, 2).double())
    sharp = wide - 0.3 * torch.eye(2, dtype=torch.float64)
    share = (torch.linalg.det(sharp) / torch.linalg.det(wide)).clamp_min(0).sqrt().float()
    torch.testing.assert_close(meta["opacities"][0][visible], scene.opacities[visible] * share, rtol=2e-3, atol=2e-3)
    assert float((found - classic).abs().max()) > 0.01


def test_a_batch_of_cameras_equals_one_after_the_other(backend: str) -> None:
    scene = make_scene(5, cameras=3).tracked()
    colors, alphas, meta = scene.render(backend, packed=False)
    for i in range(3):
        one_colors, one_alphas, one_meta = scene.camera(i).render(backend, packed=False)
        assert torch.equal(one_colors[0], colors[i])
        assert torch.equal(one_alphas[0], alphas[i])
        assert torch.equal(one_meta["radii"][0], meta["radii"][i])


def test_packing_changes_the_layout_alone(backend: str) -> None:
    results = []
    for packed in (False, True):
        scene = make_scene(6, cameras=3).tracked()
        colors, alphas, meta = scene.render(
            backend, packed=packed, absgrad=True, weights=True, median_depth=True, render_mode="RGB+D"
        )
        meta["means2d"].retain_grad()
        backward(colors, alphas)
        results.append((colors, alphas, meta, gradients(scene)))
    (colors, alphas, dense, dense_gradients), (packed_colors, packed_alphas, packed, packed_gradients) = results
    assert torch.equal(colors, packed_colors)
    assert torch.equal(alphas, packed_alphas)
    rows = (packed["camera_ids"], packed["gaussian_ids"])
    assert torch.equal((dense["radii"] > 0).all(dim=-1).nonzero(), torch.stack(rows, dim=1))
    for name in ("means2d", "depths", "conics", "opacities", "radii"):
        assert torch.equal(dense[name][rows], packed[name]), name
    torch.testing.assert_close(dense["means2d"].grad[rows], packed["means2d"].grad)
    torch.testing.assert_close(dense["means2d"].absgrad[rows], packed["means2d"].absgrad)
    for name in ("weight_sum", "weight_max", "median_depth"):
        torch.testing.assert_close(dense[name], packed[name])
    for name, gradient in dense_gradients.items():
        assert relative_error(packed_gradients[name], gradient) < 1e-6, name
    assert dense["gaussian_ids"] is None
    assert dense["camera_ids"] is None
    assert bool((dense["means2d"].absgrad >= dense["means2d"].grad.abs() * (1 - 1e-4) - 1e-6).all())


def test_packing_copes_with_cameras_that_see_nothing(backend: str) -> None:
    scene = make_scene(7, cameras=3)
    viewmats = scene.viewmats.clone()
    viewmats[1, 2, 3] = -100.0  # everything is behind it
    scene = replace(scene, viewmats=viewmats).tracked()
    colors, alphas, meta = scene.render(backend, packed=True, absgrad=True, weights=True)
    backward(colors, alphas)
    assert not colors[1].any()
    assert not alphas[1].any()
    assert sorted(set(meta["camera_ids"].tolist())) == [0, 2]
    assert not meta["weight_sum"][1].any()
    assert bool(meta["weight_sum"][2].any())
    assert meta["means2d"].absgrad.shape == meta["means2d"].shape


def test_nothing_at_all_is_a_picture_of_the_background(backend: str) -> None:
    scene = make_scene(8, cameras=2).rows(torch.zeros(60, dtype=torch.bool))
    background = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    for packed in (False, True):
        colors, alphas, _ = scene.render(backend, packed=packed, backgrounds=background)
        assert torch.equal(colors, background[:, None, None].expand_as(colors))
        assert not alphas.any()


def test_colours_may_differ_by_camera(backend: str) -> None:
    scene = make_scene(9, cameras=2)
    colors = random_like(torch.zeros(2, 60, 5), 1)
    found, _, _ = scene.render(backend, colors=colors)
    for i in range(2):
        one, _, _ = scene.camera(i).render(backend, colors=colors[i])
        assert torch.equal(found[i], one[0])
    per_camera = torch.stack([scene.sh, -scene.sh])
    found, _, _ = scene.render(backend, colors=per_camera, sh_degree=3)
    for i in range(2):
        one, _, _ = scene.camera(i).render(backend, colors=per_camera[i], sh_degree=3)
        assert torch.equal(found[i], one[0])


def test_chunks_of_channels_change_nothing(backend: str) -> None:
    backgrounds = random_like(torch.zeros(1, 7), 2)
    results = []
    for chunk in (32, 3):
        scene = make_scene(10).tracked()
        colors = random_like(torch.zeros(60, 7), 1).requires_grad_()
        image, alphas, meta = scene.render(
            backend, colors=colors, channel_chunk=chunk, backgrounds=backgrounds, weights=True, median_depth=True
        )
        backward(image, alphas)
        results.append({"image": image, "alphas": alphas, "colors": colors.grad, "means": scene.means.grad})
        results[-1] |= {name: meta[name] for name in ("weight_sum", "weight_max", "median_depth")}
    for name, truth in results[0].items():
        assert relative_error(results[1][name].detach(), truth.detach()) < 2e-5, name


def test_absolute_gradients_refuse_chunks(backend: str) -> None:
    colors = torch.rand(60, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(Unsupported, match="raise channel_chunk"):
        make_scene(11).render(backend, colors=colors, channel_chunk=4, absgrad=True)


def test_weights_are_the_derivative_of_a_channel_of_ones(backend: str) -> None:
    scene = make_scene(12, cameras=2)
    ones = torch.ones(2, 60, 1, requires_grad=True)
    image, alphas, meta = scene.render(backend, colors=ones, weights=True)
    image.sum().backward()
    torch.testing.assert_close(meta["weight_sum"], ones.grad[..., 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(meta["weight_sum"].sum(), alphas.sum(), rtol=1e-4, atol=0)
    assert bool((meta["weight_max"] <= meta["weight_sum"] + 1e-6).all())
    assert bool(((meta["weight_max"] > 0) == (meta["weight_sum"] > 0)).all())
    assert float(meta["weight_max"].max()) > 0.5
    assert not meta["weight_sum"].requires_grad
    assert not meta["weight_max"].requires_grad


def test_the_sum_of_weights_can_be_had_alone_and_extras_only_come_when_asked_for(backend: str) -> None:
    scene = make_scene(13)
    both, alone, none = (scene.render(backend, weights=weights)[2] for weights in (True, "sum", False))
    assert torch.equal(both["weight_sum"], alone["weight_sum"])
    assert "weight_max" not in alone
    assert not {"weight_sum", "weight_max", "median_depth"} & set(none)


def test_median_depth_lies_at_the_half_covered_point(backend: str) -> None:
    scene = make_scene(14, num=40)
    _, alphas, meta = scene.render(backend, packed=False, median_depth=True)
    median = meta["median_depth"]
    assert median.shape == alphas.shape
    assert torch.equal(median > 0, alphas >= 0.5)
    depths = meta["depths"][(meta["radii"] > 0).all(dim=-1)]
    gaps = (median[median > 0][:, None] - depths).abs().amin(dim=1)
    assert float(gaps.max()) < 1e-6, "every median is the depth of some Gaussian"


def test_limits_of_depth_and_size_cull(backend: str) -> None:
    scene = make_scene(15, num=100)
    _, _, meta = scene.render(backend, packed=False)
    visible, depths, radii = (meta["radii"][0] > 0).all(dim=1), meta["depths"][0], meta["radii"][0]

    def seen(**limits: float) -> torch.Tensor:
        return (scene.render(backend, packed=False, **limits)[2]["radii"][0] > 0).all(dim=1)

    assert torch.equal(seen(near_plane=3.0), visible & (depths >= 3.0))
    assert torch.equal(seen(far_plane=3.0), visible & (depths <= 3.0))
    assert torch.equal(seen(radius_clip=6.0), visible & (radii > 6).any(dim=1))


def test_moving_the_principal_point_moves_the_picture(backend: str) -> None:
    scene = make_scene(16, num=30, width=60, height=50)
    Ks = scene.Ks.clone()
    Ks[:, 0, 2] += 7
    Ks[:, 1, 2] -= 4
    # Narrow splats near the axis: the Jacobian's clamp at the border of the image must not matter.
    scene = replace(scene, means=scene.means * torch.tensor([0.5, 0.5, 1.0]), scales=scene.scales * 0.3)
    still, moved = scene.render(backend)[0], replace(scene, Ks=Ks).render(backend)[0]
    torch.testing.assert_close(moved[:, :-4, 7:], still[:, 4:, :-7], rtol=0, atol=2e-5)
    assert float(still[:, 4:, :-7].abs().max()) > 0.2


def test_meta_speaks_of_the_image(backend: str) -> None:
    _, _, meta = make_scene(17, cameras=2).render(backend, tile_size=16)
    expected: dict[str, Any] = {"width": 47, "height": 35, "tile_size": 16, "tile_width": 3, "tile_height": 3}
    expected |= {"n_cameras": 2, "n_batches": 1, "backend": backend}
    assert {name: meta[name] for name in expected} == expected
    assert meta["radii"].dtype == torch.int32


def test_absolute_gradients_leave_no_cycle_behind(backend: str) -> None:
    gc.collect()
    gc.disable()
    try:
        for backward_too in (False, True):
            scene = make_scene(18, num=10, cameras=2).tracked()
            colors, alphas, meta = scene.render(backend, packed=True, absgrad=True)
            if backward_too:
                backward(colors, alphas)
            watched = [weakref.ref(tensor) for tensor in (meta["means2d"], colors, alphas)]
            del colors, alphas, meta
            assert [reference() for reference in watched] == [None, None, None]
    finally:
        gc.enable()


def test_absolute_gradients_arrive_from_either_image(backend: str) -> None:
    for image in (0, 1):
        scene = make_scene(19, num=20).tracked()
        result = scene.render(backend, packed=True, absgrad=True)
        meta, picture = result[2], result[image]
        del result
        picture.square().sum().backward()
        assert bool(meta["means2d"].absgrad.any())
