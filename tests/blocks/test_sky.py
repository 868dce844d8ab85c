"""The dome of the sky: only where cameras look up, and beyond everything a block may own."""

import numpy as np

from blocks.plan import FAR
from blocks.sky import LOWEST_SKY_DEG, make_sky
from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from tests.blocks.two_blocks import make_cameras, make_plan


def camera_towards(x: float, y: float, z: float) -> Camera:
    K = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    up = np.array([0.0, 0.0, 1.0]) if abs(z) < 0.9 else np.array([0.0, 1.0, 0.0])
    return Camera(width=100, height=80, K=K, cam_from_world=look_at(np.zeros(3), np.array([x, y, z], np.float64), up))


def test_a_flight_that_looks_down_has_no_sky() -> None:
    assert make_sky(make_plan(make_cameras()), [camera_towards(0, 0, -1), camera_towards(0.5, 0, -1)], 500) is None


def test_the_sky_is_far_above_the_horizon_and_in_some_picture() -> None:
    plan = make_plan(make_cameras())
    camera = camera_towards(1, 0, 0.1)
    sky = make_sky(plan, [camera, camera_towards(0, 0, -1)], 800)
    assert sky is not None
    means = sky.means.double().numpy()
    assert (plan.owners(means) == FAR).all()
    directions = (means - plan.middle) / np.linalg.norm(means - plan.middle, axis=1, keepdims=True)
    assert directions[:, 2].min() > np.sin(np.radians(LOWEST_SKY_DEG)) - 1e-6
    # A fifth to a tenth of the sphere is in a picture of 53 x 44 degrees; most of it looks east.
    assert 10 < len(sky) < 200
    assert directions[:, 0].min() > 0.7


def test_without_a_sky_asked_for_there_is_none() -> None:
    assert make_sky(make_plan(make_cameras()), [camera_towards(1, 0, 0.1)], 0) is None
