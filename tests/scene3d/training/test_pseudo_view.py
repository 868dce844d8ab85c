"""The pseudo-view term: geometrically exact, silent where it must be, and hard on floaters that no photograph sees."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage
from scene3d.errors import SettingsError
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.geometry.rotations import matrices_from_quats
from scene3d.render import render_view
from scene3d.training.geometry_settings import PseudoViewSettings
from scene3d.training.pseudo_view import (
    PseudoViewTerm,
    choose_offset,
    find_median_depth,
    shift_camera,
    visible_mask,
    warp_to_pseudo,
    warped_difference,
)
from scene3d.training.terms import LossTerm, RenderedView, StepView

WIDTH, HEIGHT, FOCAL = 64, 48, 64.0
EVERY_TIME = PseudoViewSettings(every=1, start_share=0.0)
STILL = PseudoViewSettings(every=1, start_share=0.0, min_shift_share=1e-9, max_shift_share=1e-9)


def _camera(x: float = 0.0, *, yaw: float = 0.0, center_px: tuple[float, float] = (WIDTH / 2, HEIGHT / 2)) -> Camera:
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    cam_from_world[:3, 3] = -cam_from_world[:3, :3] @ [x, 0.0, 0.0]
    K = np.array([[FOCAL, 0, center_px[0]], [0, FOCAL, center_px[1]], [0, 0, 1]])
    return Camera(width=WIDTH, height=HEIGHT, K=K, cam_from_world=cam_from_world)


def _smooth_image(phase: float) -> Tensor:
    x, y = torch.arange(WIDTH) / WIDTH, torch.arange(HEIGHT)[:, None] / HEIGHT
    waves = [torch.sin(2.0 * x + 3.0 * y + phase + channel) for channel in range(3)]
    return 0.5 + 0.4 * torch.stack(waves, dim=-1)


def _rolling_depth() -> Tensor:
    x, y = torch.arange(WIDTH) / WIDTH, torch.arange(HEIGHT)[:, None] / HEIGHT
    return 2.0 + 0.2 * torch.sin(5 * x) * torch.cos(4 * y)


def _wall(*, z: float = 2.0) -> Gaussians:
    """A dense, opaque wall across the view, coloured in soft waves."""
    spacing = 0.05
    x, y = torch.meshgrid(torch.arange(-1.8, 1.8, spacing), torch.arange(-1.2, 1.2, spacing), indexing="xy")
    means = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), z)], dim=-1)
    waves = [0.5 + 0.4 * torch.sin(9 * means[:, 0] + 7 * means[:, 1] + 2 * channel) for channel in range(3)]
    return _flat_gaussians(means, torch.stack(waves, dim=-1), size=0.8 * spacing, opacity=0.95)


def _flat_gaussians(means: Tensor, colors: Tensor, *, size: float, opacity: float) -> Gaussians:
    num = len(means)
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).expand(num, 4).clone(),
        log_scales=torch.tensor([size, size, 0.1 * size]).log().expand(num, 3).clone(),
        opacity_logits=torch.full((num,), math.log(opacity / (1 - opacity))),
        sh=((colors - 0.5) / SH_C0)[:, None],
    )


def _trainable(gaussians: Gaussians) -> Gaussians:
    parts = {each.name: getattr(gaussians, each.name) for each in dataclasses.fields(gaussians)}
    return Gaussians(**{name: value.detach().clone().requires_grad_() for name, value in parts.items()})


def _renderer(gaussians: Gaussians, backend: str | None = None) -> Callable[[Camera], RenderedView]:
    def render(camera: Camera) -> RenderedView:
        seen = render_view(gaussians, camera, backend=backend)
        return RenderedView(image=seen.image, alpha=seen.alpha, depth=seen.depth)

    return render


def _photo(image: Tensor, camera: Camera, mask: Tensor | None = None) -> TrainingImage:
    return TrainingImage(image=image.detach().clone(), mask=mask, camera=camera, name="a.png")


def _step(
    photo: TrainingImage,
    render: Callable[[Camera], RenderedView],
    *,
    progress: float = 1.0,
    seed: int = 0,
    expose: Callable[[Tensor], Tensor] = lambda image: image,
) -> StepView:
    return StepView(
        photo=photo,
        rendered=render(photo.camera),
        render=lambda camera: render(camera).image,
        expose=expose,
        iteration=round(1000 * progress),
        iterations=1000,
        generator=torch.Generator().manual_seed(seed),
    )


def _painted(image: Tensor, depth: Tensor) -> Callable[[Camera], RenderedView]:
    """Shows the same everywhere."""
    return lambda camera: RenderedView(image=image, alpha=torch.ones_like(depth), depth=depth)


def test_it_is_a_loss_term() -> None:
    assert isinstance(PseudoViewTerm(PseudoViewSettings()), LossTerm)


def test_warping_to_the_same_place_changes_nothing() -> None:
    image, depth = _smooth_image(0.0), _rolling_depth()
    pixels = warp_to_pseudo(depth, _camera(), np.zeros(2))
    mask = visible_mask(pixels, depth, torch.ones_like(depth, dtype=torch.bool))
    assert mask.all()
    assert float(warped_difference(image, image, pixels, mask)) < 1e-4


def test_without_a_shift_the_loss_is_the_plain_difference() -> None:
    image, target, depth = _smooth_image(0.0), _smooth_image(0.3), _rolling_depth()
    interior = torch.zeros_like(depth, dtype=torch.bool)
    interior[2:-2, 2:-2] = True
    step = _step(_photo(target, _camera(), interior), _painted(image, depth))
    plain = float((target - image)[2:-2, 2:-2].abs().mean())
    assert float(PseudoViewTerm(STILL)(step)) == pytest.approx(STILL.final_weight * plain, rel=1e-4)


def test_the_weight_rises_along_a_straight_line_in_the_logarithm() -> None:
    image, target, depth = _smooth_image(0.0), _smooth_image(0.3), _rolling_depth()
    photo = _photo(target, _camera())
    losses = [float(PseudoViewTerm(STILL)(_step(photo, _painted(image, depth), progress=t))) for t in (0.0, 0.5, 1.0)]
    assert losses[2] / losses[0] == pytest.approx(50, rel=1e-3)
    assert losses[1] ** 2 == pytest.approx(losses[0] * losses[2], rel=1e-3)


def test_the_pseudo_view_is_exposed_like_the_photograph() -> None:
    image, depth = _smooth_image(0.0), _rolling_depth()
    darker = _step(_photo(0.5 * image, _camera()), _painted(image, depth), expose=lambda shown: 0.5 * shown)
    assert float(PseudoViewTerm(STILL)(darker)) < 1e-4


def test_the_baseline_does_not_depend_on_the_heading() -> None:
    baselines, depth = [], _rolling_depth()
    for yaw in np.linspace(0, 2 * math.pi, 9):
        camera, seen = _camera(yaw=float(yaw)), []

        def render(place: Camera, seen: list[Camera] = seen) -> RenderedView:
            seen.append(place)
            return RenderedView(image=_smooth_image(0.0), alpha=torch.ones_like(depth), depth=depth)

        PseudoViewTerm(EVERY_TIME)(_step(_photo(_smooth_image(0.0), camera), render))
        baselines.append(camera.cam_from_world[:3, :3] @ (seen[1].center - camera.center))
        np.testing.assert_array_equal(seen[1].cam_from_world[:3, :3], camera.cam_from_world[:3, :3])
    assert np.abs(np.array(baselines) - baselines[0]).max() < 1e-5
    assert np.linalg.norm(baselines[0]) > 1e-3


def test_shifts_fill_the_disk_and_stay_within_the_largest() -> None:
    camera, settings, generator = _camera(), PseudoViewSettings(), torch.Generator().manual_seed(0)
    draws = torch.rand(500, 3, generator=generator, dtype=torch.float64).tolist()
    offsets = np.stack([choose_offset(camera, 3.0, settings, each) for each in draws])
    moved_px = np.linalg.norm(offsets, axis=1) * FOCAL / 3.0
    assert moved_px.max() <= settings.max_shift_share * WIDTH
    assert moved_px.max() > 0.9 * settings.max_shift_share * WIDTH
    assert np.abs(offsets.mean(0)).max() < 0.1 * np.abs(offsets).max()


def test_pixels_land_where_the_full_projection_puts_them() -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        cam_from_world = np.eye(4)
        cam_from_world[:3, :3] = matrices_from_quats(generator.normal(size=4))
        cam_from_world[:3, 3] = generator.normal(size=3)
        K = np.array([[60.0, 1.5, 20.3], [0, 70, 31.8], [0, 0, 1]])
        camera = Camera(width=WIDTH, height=HEIGHT, K=K, cam_from_world=cam_from_world)
        offset, depth = generator.normal(size=2) * 0.1, _rolling_depth()
        pseudo = shift_camera(camera, offset)
        v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        in_cam = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T * depth.numpy()[..., None]
        in_world = in_cam @ camera.world_from_cam[:3, :3].T + camera.center
        seen = ((in_world - pseudo.center) @ pseudo.cam_from_world[:3, :3].T) @ K.T
        x, y = warp_to_pseudo(depth, camera, offset)
        np.testing.assert_allclose(x.numpy(), seen[..., 0] / seen[..., 2], atol=1e-3)
        np.testing.assert_allclose(y.numpy(), seen[..., 1] / seen[..., 2], atol=1e-3)


@pytest.mark.parametrize("center_px", [(32.0, 24.0), (14.0, 37.0)])
def test_a_true_scene_explains_its_photograph_wherever_the_principal_point_lies(
    center_px: tuple[float, float],
) -> None:
    render, camera = _renderer(_wall()), _camera(center_px=center_px)
    step = _step(_photo(render(camera).image, camera), render, seed=3)
    moved = render(shift_camera(camera, np.array([0.05, 0.03]))).image
    unwarped = float((moved - step.photo.image).abs().mean())
    assert float(PseudoViewTerm(EVERY_TIME)(step)) < 0.05 * EVERY_TIME.final_weight * unwarped


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_gradient_reaches_every_kind_of_parameter(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    means = 0.2 * torch.randn(12, 3, generator=generator) + torch.tensor([0.0, 0.0, 2.0])
    colors = torch.rand(12, 3, generator=generator)
    gaussians = _trainable(_flat_gaussians(means, colors, size=0.3, opacity=0.7))
    step = _step(_photo(_smooth_image(0.0), _camera()), _renderer(gaussians, backend))
    PseudoViewTerm(EVERY_TIME)(step).backward()
    for name in ("means", "log_scales", "opacity_logits", "sh"):
        gradient = getattr(gaussians, name).grad
        assert gradient.isfinite().all()
        assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize(("progress", "moves"), [(0.1, False), (0.3, True)])
def test_the_depth_gets_a_gradient_from_twice_the_start_on(progress: float, moves: bool) -> None:
    image, depth = _smooth_image(0.0).requires_grad_(), _rolling_depth().requires_grad_()
    step = _step(_photo(_smooth_image(0.5), _camera()), _painted(image, depth), progress=progress)
    PseudoViewTerm(PseudoViewSettings(every=1, start_share=0.1))(step).backward()
    assert image.grad is not None
    assert (depth.grad is not None and float(depth.grad.abs().sum()) > 0) == moves


def test_the_gradient_is_the_slope() -> None:
    image, target = _smooth_image(0.0).double(), _smooth_image(0.3).double()
    depth = _rolling_depth().double()
    mask = torch.zeros_like(depth, dtype=torch.bool)
    mask[20:24, 30:34] = True

    def difference(shown: Tensor, far: Tensor) -> Tensor:
        pixels = warp_to_pseudo(far, _camera(), np.array([0.031, -0.017]))
        return warped_difference(target, shown, pixels, mask)

    inputs = (image[..., :].clone().requires_grad_(), depth.clone().requires_grad_())
    assert torch.autograd.gradcheck(difference, inputs, eps=1e-7, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("empty", ["masked", "transparent", "nothing"])
def test_with_nothing_to_compare_the_loss_is_zero_and_so_is_its_gradient(empty: str) -> None:
    image, depth = _smooth_image(0.0).requires_grad_(), _rolling_depth().requires_grad_()
    mask = torch.zeros_like(depth, dtype=torch.bool) if empty == "masked" else None
    alpha = torch.full_like(depth, 0.2 if empty == "transparent" else 1.0)
    shown = RenderedView(image=image, alpha=alpha, depth=depth * 0 if empty == "nothing" else depth)
    loss = PseudoViewTerm(EVERY_TIME)(_step(_photo(_smooth_image(0.5), _camera(), mask), lambda camera: shown))
    assert float(loss.detach()) == 0
    (loss + 0 * image.sum() + 0 * depth.sum()).backward()
    assert all(part.grad is not None and float(part.grad.abs().max()) == 0 for part in (image, depth))


def test_a_pixel_behind_a_nearer_surface_is_dropped_and_no_other() -> None:
    depth = torch.full((HEIGHT, WIDTH), 4.0)
    depth[:, 30:34] = 1.0
    # The strip moves 8 pixels to the left, onto 22 to 25; the wall moves 2.
    pixels = warp_to_pseudo(depth, _camera(), np.array([8.0 / FOCAL, 0.0]))
    mask = visible_mask(pixels, depth, torch.ones_like(depth, dtype=torch.bool))
    hidden = ~mask.any(0)
    assert torch.equal(mask.any(0), mask.all(0))
    # The 3x3 minimum makes the strip one pixel wider on either side; the first two columns leave the image.
    assert hidden.nonzero().flatten().tolist() == [0, 1, *range(23, 29)]


def test_unknown_depth_neither_sees_nor_hides() -> None:
    depth = torch.full((HEIGHT, WIDTH), 4.0)
    depth[:, 30:34] = 1.0
    known = depth > 2
    mask = visible_mask(warp_to_pseudo(depth, _camera(), np.array([8.0 / FOCAL, 0.0])), depth, known)
    assert (~mask.any(0)).nonzero().flatten().tolist() == [0, 1, *range(30, 34)]


def test_the_median_is_that_of_the_known_pixels() -> None:
    depth = torch.arange(400 * 300).reshape(300, 400).float()
    known = depth < 80_000
    assert find_median_depth(depth, known) == pytest.approx(40_000, rel=0.02)
    assert find_median_depth(depth, torch.zeros_like(known)) is None


def test_it_is_due_every_so_often_after_its_start() -> None:
    term = PseudoViewTerm(PseudoViewSettings(every=4, start_share=0.1))
    assert [i for i in range(0, 120) if term.is_due(i, 1000)] == [100, 104, 108, 112, 116]
    assert not any(PseudoViewTerm(PseudoViewSettings(every=0)).is_due(i, 1000) for i in range(1000))


def test_the_same_generator_state_gives_the_same_bits() -> None:
    render, camera = _renderer(_wall()), _camera()
    photo = _photo(_smooth_image(0.0), camera)
    losses = [PseudoViewTerm(EVERY_TIME)(_step(photo, render, seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize(
    "wrong",
    [{"every": -1}, {"start_share": 1.5}, {"weight": 0.0}, {"min_shift_share": 0.1}, {"max_shift_share": 1.0}],
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="pseudo_view"):
        PseudoViewSettings(**wrong)  # type: ignore[arg-type]


FLOATER_OPACITY = 0.8
CLOSE = 0.5
"""Depth of the floater: a quarter of the wall's, so that its neighbours' pseudo views see it come in at their edge."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a planted floater and of the wall behind it."""

    floater_opacity: float
    loss_before: float
    loss_after: float


def _plain_wall() -> Gaussians:
    """A textured wall with one plain patch in the middle."""
    wall = _wall()
    sh = torch.where((wall.means[:, 0].abs() < 0.25)[:, None, None], torch.tensor([1.4, -1.0, -1.4]), wall.sh)
    return dataclasses.replace(wall, sh=sh)


def _floater(color: Tensor) -> Gaussians:
    x, y = torch.meshgrid(torch.arange(-1, 2) * 0.015, torch.arange(-1, 2) * 0.015, indexing="xy")
    means = torch.stack([x.flatten(), y.flatten(), torch.full((9,), CLOSE)], dim=-1)
    return _flat_gaussians(means, color.expand(9, 3), size=0.01, opacity=FLOATER_OPACITY)


def _train_with_floater(*, with_term: bool, iterations: int = 150) -> Outcome:
    """Opacities trained on three noisy photographs of the wall; the middle one alone sees the floater.

    It hangs before the plain patch in the patch's own colour, so that its photograph cannot tell whether it is there;
    from the neighbours it is just out of the picture. Plain gradient descent: Adam would magnify what rounding leaves
    of its gradient.
    """
    wall, generator = _plain_wall(), torch.Generator().manual_seed(0)
    truth, cameras = _renderer(wall), [_camera(0.0), _camera(0.29), _camera(-0.29)]
    images = [truth(camera).image for camera in cameras]
    noise = [0.05 * torch.randn(image.shape, generator=generator) for image in images]
    photos = [_photo(image + grain, camera) for image, grain, camera in zip(images, noise, cameras, strict=True)]
    scene = Gaussians.concatenate([wall, _floater(images[0][HEIGHT // 2, WIDTH // 2])])
    logits = scene.opacity_logits.clone().requires_grad_()
    render = _renderer(dataclasses.replace(scene, opacity_logits=logits))
    optimizer, term = torch.optim.SGD([logits], lr=2000.0), PseudoViewTerm(EVERY_TIME)

    def photometric(photo: TrainingImage) -> Tensor:
        return (render(photo.camera).image - photo.image).abs().mean()

    def total() -> float:
        return sum(float(photometric(photo).detach()) for photo in photos)

    before = total()
    for iteration in range(iterations):
        photo = photos[iteration % 3]
        step = dataclasses.replace(_step(photo, render), generator=generator)
        loss = (step.rendered.image - photo.image).abs().mean()
        optimizer.zero_grad()
        (loss + term(step) if with_term else loss).backward()
        optimizer.step()
    opacity = float(logits.detach()[len(wall) :].sigmoid().mean())
    return Outcome(floater_opacity=opacity, loss_before=before, loss_after=total())


def test_a_floater_that_one_photograph_cannot_tell_goes_and_would_stay_without_the_term() -> None:
    without, with_term = _train_with_floater(with_term=False), _train_with_floater(with_term=True)
    assert without.floater_opacity > 0.9 * FLOATER_OPACITY
    assert with_term.floater_opacity < 0.5 * FLOATER_OPACITY
    assert with_term.loss_after == pytest.approx(with_term.loss_before, rel=0.05)
    assert with_term.loss_after == pytest.approx(without.loss_after, rel=0.05)
