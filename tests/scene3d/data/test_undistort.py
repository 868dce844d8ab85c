"""Undistortion: pictures whose truth is known at every point of the plane, and what the lens did not see."""

import numpy as np
import pytest

from scene3d.cameras.models import CameraModel, pinhole_of, project, unproject
from scene3d.data.undistort import make_remap, undistort
from scene3d.seeding import make_numpy_generator


def make_lens(name: str, *params: float, width: int = 160, height: int = 120) -> CameraModel:
    return CameraModel(name=name, width=width, height=height, params=tuple(map(float, params)))


LENSES = [
    make_lens("PINHOLE", 120, 125, 81, 58),
    make_lens("SIMPLE_RADIAL", 120, 81, 58, -0.15),
    make_lens("OPENCV", 120, 125, 78, 62, 0.08, -0.05, 0.002, -0.001),
    make_lens("OPENCV_FISHEYE", 70, 72, 80, 60, 0.03, -0.01, 0.002, 0.0),
    make_lens("THIN_PRISM_FISHEYE", 90, 92, 80, 60, 0.02, -0.01, 1e-3, -2e-3, 0, 0, 1e-3, -1e-3),
]
every_lens = pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.name)


def pixel_centres(model: CameraModel) -> np.ndarray:
    x, y = np.meshgrid(np.arange(model.width) + 0.5, np.arange(model.height) + 0.5)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def paint(model: CameraModel) -> np.ndarray:
    """The same far world seen through any lens: smooth waves over direction."""
    rays = unproject(model, pixel_centres(model))
    plane = np.nan_to_num(rays[:, :2] / rays[:, 2:])
    waves = np.stack([np.sin(4 * plane[:, 0]), np.cos(5 * plane[:, 1]), np.sin(3 * plane.sum(axis=1))], axis=1)
    return np.rint(127.5 + 120 * waves).astype(np.uint8).reshape(model.height, model.width, 3)


def dense(remap) -> np.ndarray:
    return remap.rows(0, remap.height).numpy()


@every_lens
def test_an_undistorted_picture_is_what_the_pinhole_would_have_seen(lens):
    pinhole = pinhole_of(lens)
    image, mask = undistort(paint(lens), None, make_remap(lens, pinhole))
    assert mask is None
    difference = np.abs(image.astype(int) - paint(pinhole))
    assert difference.max() <= 3
    assert difference.mean() < 0.5


def test_a_pinhole_is_not_changed_at_all():
    rng = make_numpy_generator(0, "undistort")
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    same, mask = undistort(image, None, make_remap(LENSES[0], LENSES[0]))
    assert mask is None
    np.testing.assert_array_equal(same, image)


@pytest.mark.parametrize("factor", [1, 4, 10])
@every_lens
def test_knots_are_dense_enough_for_a_fiftieth_of_a_pixel(lens, factor):
    large = lens.resized(lens.width * factor, lens.height * factor)
    pinhole = pinhole_of(large)
    remap = make_remap(large, pinhole)
    centres = pixel_centres(pinhole)
    some = make_numpy_generator(0, "undistort").integers(0, len(centres), 3000)
    exact = project(large, unproject(pinhole, centres[some]))
    assert np.abs(dense(remap).reshape(-1, 2)[some] - exact).max() < 0.02


def test_large_maps_are_kept_small():
    large = LENSES[2].resized(1600, 1200)
    remap = make_remap(large, pinhole_of(large))
    assert remap.knots.numel() < 2 * 1600 * 1200 / 50


@pytest.mark.parametrize("start", [0, 1, 7, 8, 95])
def test_rows_of_a_map_do_not_depend_on_the_strip_they_are_made_in(start):
    large = LENSES[2].resized(1280, 960)
    remap = make_remap(large, pinhole_of(large))
    np.testing.assert_allclose(remap.rows(start, start + 11).numpy(), dense(remap)[start : start + 11], atol=1e-3)
    np.testing.assert_allclose(remap.rows(remap.height - 1, remap.height).numpy(), dense(remap)[-1:], atol=1e-3)


def test_what_the_lens_did_not_see_is_black_and_masked():
    # A camera turned sideways would see past the border; here a wider pinhole does.
    lens = make_lens("SIMPLE_RADIAL", 120, 80, 60, -0.1)
    wide = make_lens("PINHOLE", 60, 60, 80, 60)
    image, mask = undistort(np.full((120, 160, 3), 200, np.uint8), None, make_remap(lens, wide))
    assert mask is not None
    assert mask[60, 80]
    assert not mask[0].any()
    assert not mask[:, 0].any()
    assert (image[~mask] == 0).all()
    assert (image[mask] == 200).all()


def test_a_folded_corner_is_masked_and_not_filled_with_ghosts():
    lens = make_lens("SIMPLE_RADIAL", 60, 80, 60, -0.35)
    _, mask = undistort(
        np.full((120, 160, 3), 200, np.uint8), None, make_remap(lens, make_lens("PINHOLE", 60, 60, 80, 60))
    )
    assert mask is not None
    rays = unproject(make_lens("PINHOLE", 60, 60, 80, 60), np.array([[0.5, 60.5]]))
    assert np.hypot(rays[0, 0], rays[0, 1]) / rays[0, 2] > np.sqrt(1 / (3 * 0.35))
    assert not mask[60, 0]


def test_a_mask_is_moved_with_its_photograph():
    lens = LENSES[1]
    pinhole = pinhole_of(lens)
    drawn = np.ones((120, 160), bool)
    drawn[40:50, 100:130] = False
    _, mask = undistort(paint(lens), drawn, make_remap(lens, pinhole))
    assert mask is not None
    source = project(lens, unproject(pinhole, pixel_centres(pinhole))).reshape(pinhole.height, pinhole.width, 2)
    inside = (source[..., 0] > 100.5) & (source[..., 0] < 129.5) & (source[..., 1] > 40.5) & (source[..., 1] < 49.5)
    outside = (source[..., 0] < 99) | (source[..., 0] > 131) | (source[..., 1] < 39) | (source[..., 1] > 51)
    assert not mask[inside].any()
    assert mask[outside].all()


def test_an_image_of_one_pixel_survives():
    lens = make_lens("SIMPLE_RADIAL", 5, 0.5, 0.5, 0.01, width=1, height=1)
    image, mask = undistort(np.full((1, 1, 3), 9, np.uint8), None, make_remap(lens, pinhole_of(lens)))
    assert image.tolist() == [[[9, 9, 9]]]
    assert mask is None
