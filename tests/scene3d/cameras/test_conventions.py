"""The OpenGL passage, by what a camera sees."""

import numpy as np

from scene3d.cameras.conventions import cam_from_opengl, opengl_from_cam
from scene3d.geometry.rotations import matrices_from_quats


def test_an_opengl_camera_at_rest_looks_down_minus_z_with_y_up():
    cam_from_world = cam_from_opengl(np.eye(4))
    ahead, above = np.array([0.0, 0, -1, 1]), np.array([0.0, 1, 0, 1])
    np.testing.assert_array_equal(cam_from_world @ ahead, [0, 0, 1, 1])
    np.testing.assert_array_equal(cam_from_world @ above, [0, -1, 0, 1])


def test_there_and_back_is_the_same_camera():
    world_from_opengl = np.eye(4)
    world_from_opengl[:3, :3] = matrices_from_quats(np.array([0.3, -0.2, 0.8, 0.1]))
    world_from_opengl[:3, 3] = [4.0, -5.0, 100.0]
    cam_from_world = cam_from_opengl(world_from_opengl)
    np.testing.assert_allclose(opengl_from_cam(cam_from_world), world_from_opengl, atol=1e-13)


def test_the_camera_centre_is_the_translation_of_the_opengl_matrix():
    world_from_opengl = np.eye(4)
    world_from_opengl[:3, 3] = [1.0, 2.0, 3.0]
    cam_from_world = cam_from_opengl(world_from_opengl)
    np.testing.assert_allclose(cam_from_world @ np.array([1.0, 2.0, 3.0, 1.0]), [0, 0, 0, 1])
