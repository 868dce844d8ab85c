"""Owns the only passage between OpenCV cameras (used everywhere inside) and OpenGL cameras (nerfstudio, Blender)."""

import numpy as np
from jaxtyping import Float

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL looks along -z with +y up, OpenCV along +z with +y down; the matrix is its own inverse."""


def cam_from_opengl(world_from_opengl_cam: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """`cam_from_world` of a rigid OpenGL camera-to-world matrix, such as nerfstudio's `transform_matrix`."""
    world_from_cam = world_from_opengl_cam @ OPENGL_FROM_OPENCV
    return _rigid_inverse(world_from_cam)


def opengl_from_cam(cam_from_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The OpenGL camera-to-world matrix of a `cam_from_world`; the inverse of `cam_from_opengl`."""
    return _rigid_inverse(cam_from_world) @ OPENGL_FROM_OPENCV


def _rigid_inverse(target_from_source: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    rotation, translation = target_from_source[:3, :3], target_from_source[:3, 3]
    inverse = np.eye(4)
    inverse[:3, :3] = rotation.T
    inverse[:3, 3] = -rotation.T @ translation
    return inverse
