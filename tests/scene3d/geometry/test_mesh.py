"""Tests of the triangle mesh."""

import numpy as np

from scene3d.geometry.mesh import TriangleMesh


def test_normals_point_where_corners_turn_anticlockwise() -> None:
    corners = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    mesh = TriangleMesh(vertices=corners, faces=np.array([[0, 1, 2], [0, 2, 1], [0, 0, 1]]))
    assert np.allclose(mesh.face_normals(), [[0, 0, 1], [0, 0, -1], [0, 0, 0]])
