"""Laws that hold for every scene."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from rasterizer.backends.reference.projection import _rotations
from tests.rasterizer.scenes import BACKENDS, Scene, make_scene, random_like, require_backend, small_rotations

SEEDS = st.integers(0, 10_000)
VECTORS = st.tuples(*[st.floats(-3, 3) for _ in range(3)]).map(lambda v: torch.tensor(v, dtype=torch.float64))
FEW = settings(max_examples=8)


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> str:
    return require_backend(request.param)


def scene_without_harmonics(seed: int, **options: int) -> Scene:
    return make_scene(seed, num=40, width=25, height=19, sh_degree=0, dtype=torch.float64, **options)


def turn(quats: Tensor, rotation: Tensor) -> Tensor:
    """Quaternions of the rotations that follow those of `quats` by `rotation`."""
    w, x, y, z = matrix_to_quat(rotation)
    left = torch.tensor([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]], dtype=quats.dtype)
    return quats @ left.T


def matrix_to_quat(rotation: Tensor) -> tuple[float, float, float, float]:
    """By the eigenvector of the symmetric 4 x 4 matrix of the rotation (Bar-Itzhack 2000)."""
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    form = torch.tensor(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ],
        dtype=torch.float64,
    )
    x, y, z, w = torch.linalg.eigh(form).eigenvectors[:, -1].tolist()
    return w, x, y, z


@FEW
@given(seed=SEEDS, spin=VECTORS, shift=VECTORS)
def test_quaternion_helpers_turn_as_matrices_do(seed: int, spin: Tensor, shift: Tensor) -> None:
    rotation = small_rotations(spin[None])[0]
    quats = random_like(torch.zeros(5, 4), seed).double()
    torch.testing.assert_close(_rotations(turn(quats, rotation)), rotation @ _rotations(quats))


@FEW
@given(seed=SEEDS, spin=VECTORS, shift=VECTORS)
def test_rendering_ignores_where_the_world_is(backend: str, seed: int, spin: Tensor, shift: Tensor) -> None:
    scene, rotation = scene_without_harmonics(seed), small_rotations(spin[None])[0]
    viewmats = scene.viewmats.clone()
    viewmats[:, :3, :3] = scene.viewmats[:, :3, :3] @ rotation.T
    viewmats[:, :3, 3] = scene.viewmats[:, :3, 3] - viewmats[:, :3, :3] @ shift
    moved = replace(
        scene,
        means=scene.means @ rotation.T + shift,
        quats=turn(scene.quats, rotation),
        viewmats=viewmats,
    )
    assert_same_picture(moved, scene, backend)


@FEW
@given(seed=SEEDS, scale=st.floats(0.1, 10))
def test_rendering_ignores_the_unit_of_length(backend: str, seed: int, scale: float) -> None:
    scene = scene_without_harmonics(seed)
    viewmats = scene.viewmats.clone()
    viewmats[:, :3, 3] *= scale
    grown = replace(scene, means=scene.means * scale, scales=scene.scales * scale, viewmats=viewmats)
    assert_close_but_for_thresholds(picture(grown, backend, unit=scale), picture(scene, backend))


@FEW
@given(seed=SEEDS, lengths=st.floats(0.01, 100))
def test_rendering_ignores_length_and_sign_of_quaternions(backend: str, seed: int, lengths: float) -> None:
    scene = scene_without_harmonics(seed)
    assert_same_picture(replace(scene, quats=scene.quats * -lengths), scene, backend)


@FEW
@given(seed=SEEDS)
def test_rendering_ignores_the_order_of_gaussians(backend: str, seed: int) -> None:
    scene = scene_without_harmonics(seed)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    assert_same_picture(scene.rows(order), scene, backend)


@FEW
@given(seed=SEEDS)
def test_swapping_the_axes_of_the_image_transposes_it(backend: str, seed: int) -> None:
    scene = scene_without_harmonics(seed)
    swap = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    viewmats = scene.viewmats.clone()
    viewmats[:, :3] = swap @ viewmats[:, :3]
    turned = replace(scene, viewmats=viewmats, Ks=swap @ scene.Ks @ swap, width=scene.height, height=scene.width)
    found, truth = (picture(one, backend) for one in (turned, scene))
    assert_close_but_for_thresholds(found, truth.transpose(1, 2))


@FEW
@given(seed=SEEDS)
def test_colours_are_blended_linearly(backend: str, seed: int) -> None:
    scene = make_scene(seed, num=40, width=25, height=19)
    first, second = random_like(torch.zeros(40, 3), seed), random_like(torch.zeros(40, 3), seed + 1)
    images = [scene.render(backend, colors=colors)[0] for colors in (first, second, 2 * first - second)]
    torch.testing.assert_close(images[2], 2 * images[0] - images[1], rtol=0, atol=2e-5)


@FEW
@given(seed=SEEDS)
def test_pictures_stay_between_the_darkest_and_the_brightest_colour(backend: str, seed: int) -> None:
    scene = make_scene(seed, num=40, width=25, height=19)
    colors = torch.rand(40, 3, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.2
    image, alphas, _ = scene.render(backend, colors=colors, backgrounds=torch.full((1, 3), 0.2))
    assert float(image.min()) >= 0.2 - 1e-6
    assert float(image.max()) <= 0.7 + 1e-6
    assert float(alphas.max()) < 1 - 1e-4 + 1e-6, "a pixel stops before it would be fuller than that"


def assert_same_picture(found: Scene, truth: Scene, backend: str) -> None:
    assert_close_but_for_thresholds(picture(found, backend), picture(truth, backend))


def assert_close_but_for_thresholds(found: Tensor, truth: Tensor) -> None:
    """Rounding may push a splat over its threshold at a pixel or two, by 1/255 of its colour at most."""
    difference = (found - truth).abs().amax(dim=-1)
    assert float(difference.max()) < 1.5e-2
    assert float((difference > 1e-4).double().mean()) < 0.01


def picture(scene: Scene, backend: str, *, unit: float = 1.0) -> Tensor:
    """Colour, depth in units of length, and alpha; in double precision where the backend can."""
    if backend == "cpu":
        scene = scene.to(torch.float32)
    image, alphas, _ = scene.render(backend, colors=scene.sh[:, 0].sigmoid(), render_mode="RGB+D")
    return torch.cat([image[..., :3], image[..., 3:] / (10 * unit), alphas], dim=-1)
