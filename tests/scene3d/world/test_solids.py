"""Blocks and balls: closed meshes, true distances, the right face."""

import numpy as np
import pytest

from scene3d.world.solids import TRIANGLE_FACES, Balls, Blocks, Material


def make_block(half=(4.0, 2.5), rise=0.0, top_half=None, axis=(0.6, 0.8)) -> Blocks:
    top = half if top_half is None else top_half
    one = np.ones(1)
    return Blocks(
        center=np.array([[3.0, -7.0]]),
        axis=np.array([axis]),
        half=np.array([half]),
        z_low=-1.0 * one,
        z_eave=3.0 * one,
        z_top=(3.0 + rise) * one,
        top_half=np.array([top]),
        ground_z=0.0 * one,
        material=np.array([int(Material.HOUSE)]),
        color=np.full((1, 3), 0.5),
        trim=np.full((1, 3), 0.5),
        key=np.zeros(1, np.uint32),
    )


ROOFS = {
    "flat": (make_block(), 8 * 5 * 4.0),
    "gable": (make_block(rise=2.0, top_half=(4.0, 0.0)), 8 * 5 * 4 + 8 * 5 * 2 / 2),
    "hip": (make_block(rise=2.0, top_half=(1.5, 0.0)), 8 * 5 * 4 + 2 * (3 * 5 / 2 + 2 * 5 * 2.5 / 3)),
    "pyramid": (make_block(rise=2.0, top_half=(0.0, 0.0)), 8 * 5 * 4 + 8 * 5 * 2 / 3),
    "mansard": (make_block(rise=2.0, top_half=(3.0, 1.5)), 8 * 5 * 4 + 2 / 3 * (40 + 18 + np.sqrt(40 * 18))),
}


def nearest_on_triangles(points, triangles):
    """Distance of each point to a soup of triangles, by dense sampling."""
    grid = np.array([(a, b, 60 - a - b) for a in range(61) for b in range(61 - a)]) / 60
    surface = np.einsum("sk,tkx->tsx", grid, triangles).reshape(-1, 3)
    return np.array([np.sqrt(((surface - point) ** 2).sum(1)).min() for point in points])


@pytest.mark.parametrize("name", ROOFS)
def test_a_block_is_closed_and_holds_its_volume(name):
    block, volume = ROOFS[name]
    a, b, c = block.triangles()[0].transpose(1, 0, 2)
    enclosed = (a * np.cross(b, c)).sum() / 6
    area_vector = np.cross(b - a, c - a).sum(axis=0)
    if name == "mansard":  # the frustum formula needs similar rectangles; this one's are not
        volume = 8 * 5 * 4 + 2 / 6 * (8 * 5 + 6 * 3 + (8 + 6) * (5 + 3))
    assert enclosed == pytest.approx(volume, rel=1e-9)
    assert np.abs(area_vector).max() < 1e-9


@pytest.mark.parametrize("name", ROOFS)
def test_distance_has_the_right_sign_and_never_overestimates(name):
    block, _ = ROOFS[name]
    points = np.random.default_rng(0).uniform([-4, -14, -3], [10, 0, 7], (300, 3))
    index = np.zeros(len(points), np.int64)
    distance = block.distance(index, points)
    real = nearest_on_triangles(points, block.triangles()[0])
    assert (np.abs(distance) <= real + 1e-9).all()
    if name == "flat":
        assert np.abs(np.abs(distance) - real).max() < 0.08  # the samples' pitch
    else:
        inside = distance < 0
        assert np.abs(np.abs(distance) - real)[inside].max() < 0.08
    # Inside by the winding of the mesh: the solid angle is a full sphere.
    corners = block.triangles()[0] - points[:, None, None]
    length = np.linalg.norm(corners, axis=3)
    a, b, c = corners.transpose(2, 0, 1, 3)
    volume = (a * np.cross(b, c)).sum(2)
    la, lb, lc = length.transpose(2, 0, 1)
    scale = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    angle = 2 * np.arctan2(volume, scale).sum(axis=1)
    assert np.array_equal(angle > 2 * np.pi, distance < 0)


@pytest.mark.parametrize("name", ROOFS)
def test_the_face_of_a_surface_point_is_the_face_of_its_triangle(name):
    block, _ = ROOFS[name]
    triangles = block.triangles()[0]
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.linalg.norm(cross, axis=1)
    real = length > 1e-9
    middle = triangles.mean(axis=1)[real]
    face, normal = block.find_faces(np.zeros(len(middle), np.int64), middle)
    assert np.abs(normal - (cross[real] / length[real, None])).max() < 1e-9
    expected = TRIANGLE_FACES[real]
    assert np.array_equal(face, expected)
    assert np.abs(block.distance(np.zeros(len(middle), np.int64), middle)).max() < 1e-9


def test_the_distance_to_a_ball_is_exact():
    balls = Balls(
        center=np.array([[1.0, 2.0, 3.0]]),
        radius=np.array([0.5]),
        color=np.zeros((1, 3)),
        crown_low=np.zeros(1),
        crown_high=np.ones(1),
    )
    points = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [4.0, 6.0, 3.0]])
    assert balls.distance(np.zeros(3, np.int64), points) == pytest.approx([-0.5, 0.5, 4.5])


def test_selecting_keeps_all_fields_in_step():
    block, _ = ROOFS["hip"]
    assert len(block.select(np.array([True]))) == 1
    assert len(block.select(np.zeros(0, np.int64)).triangles()) == 0
