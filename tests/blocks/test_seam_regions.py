"""Over flat ground with a known face, the pixels of the seam are where geometry puts them."""

import math

import numpy as np
import pytest
import torch

from blocks.cells import Cell, Cut, GroundFrame
from blocks.plan import BlockPlan, PlannedBlock
from blocks.seam_regions import back_project, in_polygon, make_regions
from scene3d.cameras.camera import Camera
from scene3d.geometry.similarity import Similarity

MARGIN = 0.25


def make_ground_plan(angle_rad: float = 0.0) -> BlockPlan:
    """Two blocks with their face at u = 0, over a region of 4 x 2 units."""
    frame = GroundFrame(center=(0.0, 0.0), angle_rad=angle_rad)
    shape = {"bottom": -1.0, "top": 1.0, "margin": (MARGIN, MARGIN)}
    cells = [
        Cell(low=(-2.0, -1.0), high=(0.0, 1.0), shared=(False, False, True, False), **shape),
        Cell(low=(0.0, -1.0), high=(2.0, 1.0), shared=(True, False, False, False), **shape),
    ]
    blocks = tuple(
        PlannedBlock(block_id=f"{i:03d}", cell=cell, views=(0,), load=10, num_points=5, num_pixels=100)
        for i, cell in enumerate(cells)
    )
    return BlockPlan(
        method="load",
        frame=frame,
        region=frame.to_world(np.array([[-2.0, -1.0], [2.0, -1.0], [2.0, 1.0], [-2.0, 1.0]])),
        tree=Cut(0, 0.0, 0, 1),
        middle=(0.0, 0.0, 0.0),
        radius=2.3,
        views=("a",),
        blocks=blocks,
        num_uncovered_points=0,
        world_from_capture=Similarity.identity(),
    )


def look_down(height: float, tilt_rad: float) -> Camera:
    """A camera above the origin's south whose middle pixel looks at the origin; 0 tilt is straight down."""
    cosine, sine = math.cos(tilt_rad), math.sin(tilt_rad)
    # Rows are the camera's right, down and forward in the world: east, and forward between down and north.
    rotation = np.array([[1.0, 0.0, 0.0], [0.0, -cosine, -sine], [0.0, sine, -cosine]])
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ np.array([0.0, -height * math.tan(tilt_rad), height])
    K = np.array([[50.0, 0.0, 60.0], [0.0, 50.0, 40.0], [0.0, 0.0, 1.0]])
    return Camera(width=120, height=80, K=K, cam_from_world=pose)


def see_ground(camera: Camera) -> tuple[np.ndarray, torch.Tensor]:
    """x and y of the ground z = 0 in each pixel, and its depth, both by intersecting rays with the plane."""
    places, depth = np.zeros((camera.height, camera.width, 2)), np.zeros((camera.height, camera.width))
    rotation, center = camera.cam_from_world[:3, :3], camera.center
    for row in range(camera.height):
        for column in range(camera.width):
            ray = np.array([(column + 0.5 - 60.0) / 50.0, (row + 0.5 - 40.0) / 50.0, 1.0]) @ rotation
            depth[row, column] = -center[2] / ray[2]
            places[row, column] = (center + depth[row, column] * ray)[:2]
    return places, torch.from_numpy(depth).float()


@pytest.mark.parametrize("tilt_rad", [0.0, 0.5])
@pytest.mark.parametrize("angle_rad", [0.0, 0.4])
def test_the_band_is_the_ground_within_a_margin_of_the_face(tilt_rad, angle_rad):
    camera = look_down(1.5, tilt_rad)
    places, depth = see_ground(camera)
    masks = make_regions(make_ground_plan(angle_rad))(camera, depth, torch.ones_like(depth))
    u = places @ [math.cos(angle_rad), math.sin(angle_rad)]
    v = places @ [-math.sin(angle_rad), math.cos(angle_rad)]
    sure = (np.abs(np.abs(u) - MARGIN) > 1e-4) & (np.abs(np.abs(v) - 1) > 1e-4) & (np.abs(np.abs(u) - 2) > 1e-4)
    sure &= np.abs(np.abs(v) - 1 - MARGIN) > 1e-4
    band = (np.abs(u) <= MARGIN) & (np.abs(v) <= 1 + MARGIN)
    interior = ~band & (np.abs(u) <= 2) & (np.abs(v) <= 1)
    assert band.any()
    assert interior.any()
    assert not (band | interior).all()
    assert np.array_equal(masks["seam_band"].numpy()[sure], band[sure])
    assert np.array_equal(masks["interior"].numpy()[sure], interior[sure])


def test_pixels_without_a_surface_are_in_no_region():
    camera = look_down(1.5, 0.0)
    _, depth = see_ground(camera)
    alpha = torch.ones_like(depth)
    alpha[:, :55] = 0.4
    depth[:5] = float("nan")
    masks = make_regions(make_ground_plan())(camera, depth, alpha)
    for mask in masks.values():
        assert not mask[:, :55].any()
        assert not mask[:5].any()
        assert mask[5:, 55:].any()


def test_a_wall_in_front_of_the_face_is_where_it_stands():
    camera = look_down(1.5, 0.0)
    _, depth = see_ground(camera)
    # Half as far away, the surface in a pixel is half as far from the axis.
    masks = make_regions(make_ground_plan())(camera, depth / 2, torch.ones_like(depth))
    columns = masks["seam_band"].numpy()[40]
    x = (np.arange(120) + 0.5 - 60) / 50 * 0.75
    assert np.array_equal(columns, np.abs(x) <= MARGIN)


def test_points_of_a_depth_map_project_back_to_their_pixels():
    camera = look_down(1.2, 0.7)
    depth = np.linspace(0.5, 3, 120 * 80).reshape(80, 120)
    in_cam = back_project(camera, depth) @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    pixels = in_cam @ camera.K.T
    np.testing.assert_allclose(pixels[..., 2], depth, atol=1e-12)
    np.testing.assert_allclose(pixels[..., 0] / pixels[..., 2], np.tile(np.arange(120) + 0.5, (80, 1)), atol=1e-9)
    np.testing.assert_allclose(pixels[0, :, 1] / pixels[0, :, 2], 0.5, atol=1e-9)


def test_a_polygon_with_a_dent_does_not_hold_its_dent():
    dented = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [2.0, 1.0], [0.0, 4.0]])
    places = np.array([[2.0, 0.5], [2.0, 1.5], [0.5, 3.0], [3.5, 3.0], [5.0, 0.5], [-1.0, 0.0], [2.0, -0.1]])
    expected = [True, False, True, True, False, False, False]
    assert in_polygon(places, dented).tolist() == expected
    assert in_polygon(places, dented[::-1].copy()).tolist() == expected


def test_each_place_of_a_tiled_square_lies_in_one_triangle():
    middle = np.array([0.3, 0.6])
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    grid = np.stack(np.meshgrid(np.linspace(0.01, 0.99, 50), np.linspace(0.01, 0.99, 50)), axis=-1).reshape(-1, 2)
    counts = sum(in_polygon(grid, np.stack([middle, square[i], square[i - 1]])).astype(int) for i in range(4))
    assert (counts == 1).all()
