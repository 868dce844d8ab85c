"""Lens models against pycolmap, against themselves, and at their edges."""

import numpy as np
import pycolmap
import pytest

from scene3d.cameras.models import PARAMETER_NAMES, CameraModel, pinhole_of, project, unproject
from scene3d.errors import InputError
from scene3d.seeding import make_numpy_generator


def make_lens(name: str, *params: float, width: int = 640, height: int = 480) -> CameraModel:
    return CameraModel(name=name, width=width, height=height, params=tuple(map(float, params)))


LENSES = [
    make_lens("SIMPLE_PINHOLE", 500, 310.5, 250),
    make_lens("PINHOLE", 500, 520, 310.5, 250),
    make_lens("SIMPLE_RADIAL", 500, 310.5, 250, -0.12),
    make_lens("RADIAL", 500, 310.5, 250, -0.2, 0.05),
    make_lens("OPENCV", 500, 520, 310.5, 250, 0.06, -0.08, -0.001, 0.002),
    make_lens("OPENCV_FISHEYE", 380, 390, 320, 240, 0.04, -0.02, 0.003, -0.001),
    make_lens("FULL_OPENCV", 500, 520, 310.5, 250, 0.3, -0.1, -0.001, 0.002, 0.02, 0.35, -0.05, 0.01),
    make_lens("SIMPLE_RADIAL_FISHEYE", 380, 320, 240, 0.03),
    make_lens("RADIAL_FISHEYE", 380, 320, 240, 0.03, -0.01),
    make_lens("THIN_PRISM_FISHEYE", 380, 390, 320, 240, 0.02, -0.01, 1e-3, -2e-3, 2e-3, -1e-3, 1e-3, -1.5e-3),
    make_lens("SIMPLE_FISHEYE", 380, 320, 240),
    make_lens("FISHEYE", 380, 390, 320, 240),
]
every_lens = pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.name)


def colmap_camera(lens: CameraModel) -> pycolmap.Camera:
    return pycolmap.Camera(model=lens.name, width=lens.width, height=lens.height, params=list(lens.params))


def points_in_front(count: int = 200) -> np.ndarray:
    rng = make_numpy_generator(1, "points")
    depth = rng.uniform(0.5, 20, (count, 1))
    return np.concatenate([rng.uniform(-0.7, 0.7, (count, 2)) * depth, depth], axis=1)


def test_every_supported_model_is_tried_here():
    assert {lens.name for lens in LENSES} == set(PARAMETER_NAMES)


@every_lens
def test_projection_agrees_with_colmap(lens):
    points = points_in_front()
    np.testing.assert_allclose(project(lens, points), colmap_camera(lens).img_from_cam(points), atol=1e-9)


@every_lens
def test_unprojection_agrees_with_colmap(lens):
    pixels = make_numpy_generator(2, "pixels").uniform([60, 60], [580, 420], (200, 2))
    rays = unproject(lens, pixels)
    np.testing.assert_allclose(rays[:, :2] / rays[:, 2:], colmap_camera(lens).cam_from_img(pixels), atol=1e-6)


@every_lens
def test_unprojection_undoes_projection(lens):
    points = points_in_front()
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(unproject(lens, project(lens, points)), directions, atol=1e-8)


@every_lens
def test_parameters_have_the_names_and_order_of_colmap(lens):
    ours = [name.rstrip("1") if name in ("k1",) else name for name in PARAMETER_NAMES[lens.name]]
    theirs = [name.rstrip("1") if name in ("k1",) else name for name in colmap_camera(lens).params_info.split(", ")]
    assert ours == theirs


@every_lens
def test_the_optical_axis_meets_the_principal_point(lens):
    np.testing.assert_array_equal(project(lens, np.array([[0.0, 0.0, 3.0]]))[0], lens.K[:2, 2])


@pytest.mark.parametrize("lens", LENSES[:5], ids=lambda lens: lens.name)
def test_a_point_behind_a_perspective_lens_has_no_pixel(lens):
    assert np.isnan(project(lens, np.array([[0.1, 0.1, -2.0], [0.0, 0.0, 0.0]]))).all()


def test_a_point_past_the_fold_of_the_polynomial_is_no_ghost():
    lens = make_lens("SIMPLE_RADIAL", 500, 320, 240, -0.3)
    fold = np.sqrt(1 / 0.9)
    inside, outside = project(lens, np.array([[fold * 0.99, 0, 1], [fold * 1.01, 0, 1]]))
    assert np.isfinite(inside).all()
    assert np.isnan(outside).all()


def test_a_pixel_beyond_the_fold_has_no_direction():
    lens = make_lens("SIMPLE_RADIAL", 500, 1000, 240, -0.3, width=2000)
    assert np.isnan(unproject(lens, np.array([[1.0, 240.0]]))).all()
    assert np.isfinite(unproject(lens, np.array([[800.0, 240.0]]))).all()


def test_a_fisheye_sees_past_ninety_degrees():
    lens = make_lens("SIMPLE_FISHEYE", 150, 320, 320, height=640)
    behind = np.array([[np.sin(1.9), 0.0, np.cos(1.9)]])
    pixel = project(lens, behind)
    np.testing.assert_allclose(pixel, [[320 + 150 * 1.9, 320]])
    np.testing.assert_allclose(unproject(lens, pixel), behind, atol=1e-12)


@every_lens
def test_resizing_a_lens_moves_pixels_in_proportion(lens):
    points = points_in_front()
    half = lens.resized(lens.width // 2, lens.height // 2)
    np.testing.assert_allclose(project(half, points), project(lens, points) / 2, atol=1e-9)


@pytest.mark.parametrize("lens", [lens for lens in LENSES if lens.is_pinhole], ids=lambda lens: lens.name)
def test_a_pinhole_stays_exactly_as_it_is(lens):
    pinhole = pinhole_of(lens)
    assert (pinhole.width, pinhole.height) == (lens.width, lens.height)
    np.testing.assert_array_equal(pinhole.K, lens.K)


@pytest.mark.parametrize("lens", [lens for lens in LENSES if not lens.is_pinhole], ids=lambda lens: lens.name)
def test_every_pixel_of_the_replacing_pinhole_is_in_the_photograph(lens):
    pinhole = pinhole_of(lens)
    x, y = np.meshgrid(np.linspace(0.5, pinhole.width - 0.5, 90), np.linspace(0.5, pinhole.height - 0.5, 90))
    source = project(lens, unproject(pinhole, np.stack([x.ravel(), y.ravel()], axis=1)))
    assert source.min() >= 0.5 - 1e-5
    assert (source <= np.array([lens.width, lens.height]) - 0.5 + 1e-5).all()


@pytest.mark.parametrize("lens", [lens for lens in LENSES if not lens.is_pinhole], ids=lambda lens: lens.name)
def test_the_replacing_pinhole_is_as_large_as_it_can_be(lens):
    pinhole = pinhole_of(lens)
    # One pixel more on every side must leave the photograph somewhere on that side.
    w, h = pinhole.width, pinhole.height
    xs, ys = np.linspace(0.5, w - 0.5, 200), np.linspace(0.5, h - 0.5, 200)
    borders = {
        "left": np.stack([np.full(200, -0.6), ys], axis=1),
        "right": np.stack([np.full(200, w + 0.6), ys], axis=1),
        "top": np.stack([xs, np.full(200, -0.6)], axis=1),
        "bottom": np.stack([xs, np.full(200, h + 0.6)], axis=1),
    }
    for side, pixels in borders.items():
        source = project(lens, unproject(pinhole, pixels))
        inside = (source >= 0.5) & (source <= np.array([lens.width, lens.height]) - 0.5)
        assert not inside.all(), side


def test_the_replacing_pinhole_resembles_that_of_colmap():
    lens = LENSES[4]
    theirs = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), colmap_camera(lens))
    ours = pinhole_of(lens)
    assert abs(ours.width - theirs.width) <= 0.03 * theirs.width
    assert abs(ours.height - theirs.height) <= 0.03 * theirs.height
    np.testing.assert_allclose(ours.focal, theirs.params[:2])


def test_a_half_sphere_fisheye_keeps_a_bounded_field():
    lens = make_lens("OPENCV_FISHEYE", 300, 300, 500, 500, 0, 0, 0, 0, width=1000, height=1000)
    pinhole = pinhole_of(lens)
    assert pinhole.width <= 2 * lens.width
    half_field_deg = np.degrees(np.arctan(pinhole.width / 2 / pinhole.focal[0]))
    assert 59 < half_field_deg <= 60.1


@pytest.mark.parametrize(
    ("name", "size", "params", "message"),
    [
        ("PINHOLE", (0, 10), (1, 1, 1, 1), "0 x 10"),
        ("PINHOLE", (10, 10), (1, 1, 1), "takes 4 parameters, 3"),
        ("PINHOLE", (10, 10), (0, 1, 1, 1), "must be positive"),
        ("PINHOLE", (10, 10), (float("nan"), 1, 1, 1), "not finite"),
        ("LENTICULAR", (10, 10), (1,), "not supported"),
    ],
)
def test_an_impossible_lens_is_refused_with_the_reason(name, size, params, message):
    with pytest.raises(InputError, match=message):
        make_lens(name, *params, width=size[0], height=size[1])


def test_a_distortion_that_folds_the_whole_image_is_refused():
    lens = CameraModel(name="OPENCV", width=100, height=100, params=(100.0, 100.0, 5000.0, 50.0, 0.5, 0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="folds"):
        pinhole_of(lens)
