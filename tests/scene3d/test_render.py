"""One view of a Gaussian set: conventions, frames, weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scene3d.cameras.camera import Camera
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.gaussians.transform import transform_gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.render import camera_tensors, max_blending_weights, render_view
from scene3d.seeding import make_generator, make_numpy_generator

BACKEND = "reference"


def make_camera(width: int = 40, height: int = 30, *, focal: float = 36.0) -> Camera:
    """At the origin, looking along +z, with its principal point off the middle."""
    K = np.array([[focal, 0, width / 2 + 3], [0, focal, height / 2 - 2], [0, 0, 1.0]])
    return Camera(width=width, height=height, K=K, cam_from_world=np.eye(4))


def make_cloud(count: int = 60, *, sh_degree: int = 3) -> Gaussians:
    """Random Gaussians two to four units in front of the camera, strongly view-dependent."""
    generator = make_generator(0, "cloud")
    means = (torch.rand(count, 3, generator=generator) - 0.5) * 2 + torch.tensor([0, 0, 3.0])
    sh = 0.3 * torch.randn(count, (sh_degree + 1) ** 2, 3, generator=generator)
    return Gaussians(
        means=means,
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.rand(count, 3, generator=generator) - 3,
        opacity_logits=2 * torch.randn(count, generator=generator),
        sh=sh,
    )


def one_ball(position: tuple[float, float, float], color: tuple[float, float, float], *, scale: float) -> Gaussians:
    return Gaussians(
        means=torch.tensor([position], dtype=torch.float32),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        log_scales=torch.full((1, 3), float(np.log(scale))),
        opacity_logits=torch.tensor([8.0]),
        sh=((torch.tensor([[color]]) - 0.5) / SH_C0),
    )


@given(st.integers(0, 1000), st.floats(0.3, 4), st.sampled_from([0, 1, 2, 3]))
@settings(max_examples=6)
def test_rendering_ignores_where_the_world_is(seed, scale, sh_degree):
    generator = make_numpy_generator(seed)
    move = Similarity(scale, Rotation.random(rng=generator).as_matrix(), generator.normal(size=3))
    cloud, camera = make_cloud(sh_degree=sh_degree), make_camera()
    here = render_view(cloud, camera, backend=BACKEND)
    there = render_view(
        transform_gaussians(cloud, move), camera.transformed(move), backend=BACKEND, near_plane=0.01 * scale
    )
    assert here.image.std() > 0.05
    assert (there.image - here.image).abs().max() < 2e-4
    assert (there.alpha - here.alpha).abs().max() < 2e-4
    assert (there.depth / scale - here.depth).abs().max() < 1e-2


def test_a_ball_shows_at_its_pixel_with_its_colour_alpha_and_depth():
    camera = make_camera()
    position = ((25.5 - camera.K[0, 2]) / 36.0 * 2.0, (10.5 - camera.K[1, 2]) / 36.0 * 2.0, 2.0)
    rendering = render_view(one_ball(position, (0.9, 0.2, 0.4), scale=0.08), camera, backend=BACKEND, median_depth=True)
    assert rendering.image.shape == (30, 40, 3)
    peak = rendering.alpha.flatten().argmax()
    assert (int(peak % 40), int(peak // 40)) == (25, 10)
    assert float(rendering.alpha[10, 25]) == pytest.approx(0.99, abs=1e-3)
    assert (rendering.image[10, 25] / rendering.alpha[10, 25]).tolist() == pytest.approx([0.9, 0.2, 0.4], abs=1e-3)
    assert float(rendering.depth[10, 25]) == pytest.approx(2.0, abs=1e-4)
    assert float(rendering.median_depth[10, 25]) == pytest.approx(2.0, abs=1e-4)
    assert float(rendering.depth[29, 0]) == 0


def test_the_background_stands_behind_colour_and_not_behind_depth():
    white = torch.ones(3)
    rendering = render_view(
        one_ball((0, 0, 2.0), (0, 0, 0), scale=0.1), make_camera(), background=white, backend=BACKEND
    )
    assert rendering.image[29, 0].tolist() == [1, 1, 1]
    assert float(rendering.depth[29, 0]) == 0
    assert rendering.image.mean(dim=2)[rendering.alpha > 0.9].max() < 0.1


def test_a_lower_degree_of_colour_can_be_asked_for():
    cloud, camera = make_cloud(), make_camera()
    flat = Gaussians(
        means=cloud.means,
        quats=cloud.quats,
        log_scales=cloud.log_scales,
        opacity_logits=cloud.opacity_logits,
        sh=cloud.sh[:, :1],
    )
    expected = render_view(flat, camera, backend=BACKEND).image
    assert torch.allclose(render_view(cloud, camera, sh_degree=0, backend=BACKEND).image, expected, atol=1e-6)
    assert torch.equal(render_view(flat, camera, sh_degree=3, backend=BACKEND).image, expected)
    assert not torch.allclose(render_view(cloud, camera, backend=BACKEND).image, expected, atol=1e-2)


def test_gradients_reach_every_parameter():
    parts = {name: getattr(make_cloud(), name).requires_grad_() for name in Gaussians.__slots__}
    rendering = render_view(Gaussians(**parts), make_camera(), backend=BACKEND)
    (rendering.image.sum() + rendering.depth.mean()).backward()
    assert all(part.grad is not None and bool(part.grad.any()) for part in parts.values())


def test_blending_weights_tell_the_seen_from_the_hidden():
    front = one_ball((0, 0, 2.0), (1, 1, 1), scale=0.5)
    hidden = one_ball((0, 0, 3.0), (1, 1, 1), scale=0.02)
    aside = one_ball((50.0, 0, 3.0), (1, 1, 1), scale=0.02)
    weights = max_blending_weights(
        Gaussians.concatenate([front, hidden, aside]), [make_camera(), make_camera(20, 16)], backend=BACKEND
    )
    assert weights[0] > 0.95
    assert 0 <= weights[1] < 0.05
    assert weights[2] == 0


def test_cameras_become_single_precision_tensors_in_order():
    viewmats, Ks = camera_tensors([make_camera(), make_camera(20, 16)])
    assert viewmats.dtype == Ks.dtype == torch.float32
    assert viewmats.shape == (2, 4, 4)
    assert Ks[1, 0, 2] == 13
