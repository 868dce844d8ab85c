"""The ground below a scene, and beyond it."""

import json

import numpy as np
import pytest

from scene3d.geometry.terrain import Terrain, fit_terrain, nearest_in_hull
from scene3d.seeding import make_numpy_generator

HULL = np.array([[-2.0, -1.0], [2.0, -1.0], [2.0, 1.0], [-2.0, 1.0]])


def height(uv: np.ndarray) -> np.ndarray:
    return 0.3 + 0.1 * uv[:, 0] - 0.05 * uv[:, 1] + 0.02 * uv[:, 0] ** 2


def make_points() -> np.ndarray:
    """A slope on which a third of the places are roofs."""
    rng = make_numpy_generator(0, "terrain")
    uv = rng.uniform(HULL.min(0), HULL.max(0), (6000, 2))
    roof = ((np.floor(uv[:, 0] * 1.5) + np.floor(uv[:, 1] * 1.5)) % 3) == 0
    return np.concatenate([uv, (height(uv) + 0.4 * roof + 0.01 * rng.normal(size=len(uv)))[:, None]], axis=1)


TERRAIN = fit_terrain(make_points(), HULL, bin_size=0.2, fade=0.5)


def test_roofs_do_not_lift_the_ground() -> None:
    uv = make_numpy_generator(1, "places").uniform(HULL.min(0), HULL.max(0), (500, 2))
    assert np.abs(TERRAIN.height(uv) - height(uv)).max() < 0.06


def test_beyond_the_scene_the_ground_goes_on_without_a_step_and_levels_out() -> None:
    along = np.stack([np.linspace(1.5, 12.0, 400), np.zeros(400)], axis=1)
    steps = np.diff(TERRAIN.height(along))
    assert np.abs(np.diff(steps)).max() < 1e-3  # no kink
    assert np.abs(steps[-50:]).max() < 1e-6  # level
    assert TERRAIN.height(along)[-1] - TERRAIN.height(along)[0] < 0.5


def test_a_record_brings_it_back() -> None:
    again = Terrain.from_record(json.loads(json.dumps(TERRAIN.to_record())))
    uv = np.array([[0.0, 0.0], [5.0, -3.0]])
    assert again.height(uv) == pytest.approx(TERRAIN.height(uv))


def test_the_nearest_point_of_a_polygon() -> None:
    points = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 2.0], [-5.0, -0.5]])
    wanted = [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [-2.0, -0.5]]
    assert nearest_in_hull(points, HULL) == pytest.approx(np.array(wanted))
