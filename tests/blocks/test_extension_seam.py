"""Where a seam shows and how much: ground that is offset, ground that slopes on, and colours that differ."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blocks.extension_border import Canvas, make_canvas
from blocks.extension_grid import ExtensionGrid
from blocks.extension_seam import ColorPairs, find_seam_places, load_seam_places, save_seam_places
from blocks.region import GroundFrame
from scene3d.errors import InputError
from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.similarity import Similarity
from scene3d.geometry.terrain import Terrain
from scene3d.geometry.voxels import VoxelField

SPEC = GeneratorSpec(block_voxels=16, stride_voxels=12)
VOXEL = 0.1
GROUND_HEIGHT = 5.0


@pytest.fixture
def canvas() -> Canvas:
    """One cell, on level ground that lies high."""
    hull = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    grid = ExtensionGrid(
        frame=GroundFrame(center=(10.0, 20.0), angle_rad=0.0),
        origin=(0.0, 0.0),
        cell_edge=16 * VOXEL,
        stride=12 * VOXEL,
        photographed=((0, 0),),
        grown=(),
        possible=((1, 0),),
        footprint=hull,
        world_from_capture=Similarity.identity(),
    )
    coefficients = np.array([GROUND_HEIGHT, 0, 0, 0, 0, 0])
    return make_canvas(grid, [(1, 0)], SPEC, Terrain(coefficients=coefficients, reach=1.0, hull=hull, fade=1.0))


def make_fields(canvas: Canvas, *, offset: float = 0.0, slope: float = 0.0) -> tuple[VoxelField, VoxelField]:
    """Known ground up to the middle of the canvas, and new ground beyond it that lies higher by an offset."""
    shape = canvas.box.shape
    blank = VoxelField(
        sdf=np.zeros(shape),
        rgb=np.full((*shape, 3), 0.5),
        known=np.zeros(shape, bool),
        origin=canvas.box.origin,
        voxel_size=VOXEL,
        truncation=canvas.box.truncation,
    )
    centers = blank.centers()
    is_old = np.arange(shape[0]) < shape[0] // 2
    ground = slope * (centers[..., 0] - centers[..., 0].mean()) + offset * ~is_old[:, None, None]
    sdf = np.clip((centers[..., 2] - ground) / np.sqrt(1 + slope**2), -blank.truncation, blank.truncation)
    known = np.broadcast_to(is_old[:, None, None], shape).copy()
    return replace(blank, sdf=np.where(known, sdf, blank.truncation), known=known), replace(
        blank, sdf=sdf, known=np.ones(shape, bool)
    )


def find_border(canvas: Canvas) -> float:
    """World x of the border."""
    u = canvas.box.origin[0] + canvas.box.shape[0] // 2 * VOXEL
    return float(canvas.grid.frame.to_world(np.array([[u, 0.0]]))[0, 0])


@pytest.mark.parametrize("offset", [0.0, 0.04, -0.06])
def test_ground_that_is_offset_shows_as_a_step_along_the_border(canvas: Canvas, offset: float) -> None:
    places = find_seam_places(*make_fields(canvas, offset=offset), ColorPairs.none(), canvas)
    assert len(places.points) >= canvas.box.shape[1] // 2
    assert places.steps == pytest.approx(np.full(len(places.points), abs(offset)), abs=1e-6)
    assert places.points[:, 0] == pytest.approx(np.full(len(places.points), find_border(canvas)), abs=1e-6)
    assert places.points[:, 2] == pytest.approx(np.full(len(places.points), GROUND_HEIGHT), abs=2 * VOXEL)
    assert np.isnan(places.delta_e).all()


def test_a_slope_that_runs_on_is_no_step(canvas: Canvas) -> None:
    places = find_seam_places(*make_fields(canvas, slope=0.4), ColorPairs.none(), canvas)
    assert np.nanmax(places.steps) < 1e-6
    stepped = find_seam_places(*make_fields(canvas, slope=0.4, offset=0.05), ColorPairs.none(), canvas)
    assert stepped.steps == pytest.approx(np.full(len(stepped.steps), 0.05 / np.sqrt(1.16)), abs=1e-6)


def test_colours_are_compared_at_their_places(canvas: Canvas) -> None:
    known, filled = make_fields(canvas)
    side = 2 * VOXEL
    corner = canvas.box.origin + np.array([3 * side, 3 * side, 0])
    points = corner + side * np.array([[0.2, 0.2, 0], [0.7, 0.7, 0], [1.5, 0.5, 0]])
    grey = np.full((3, 3), 0.5)
    pairs = ColorPairs(np.array([[0.5, 0.5, 0.5], [0.6, 0.6, 0.6], [0.5, 0.5, 0.5]]), grey, points)
    places = find_seam_places(known, filled, pairs, canvas)
    told = np.isfinite(places.delta_e)
    assert sorted(places.delta_e[told]) == pytest.approx([0, pairs.delta_e()[1] / 2])
    assert np.isnan(places.steps[told]).all()


def test_places_are_kept_with_their_hash(canvas: Canvas, tmp_path: Path) -> None:
    places = find_seam_places(*make_fields(canvas, offset=0.03), ColorPairs.none(), canvas)
    record = {"seam": {"places_sha256": save_seam_places(tmp_path, places)}}
    (tmp_path / "extension.json").write_text(json.dumps(record))
    again = load_seam_places(tmp_path)
    assert again is not None
    assert np.array_equal(again.points, places.points)
    assert np.array_equal(again.steps, places.steps)
    assert again.voxel_size == VOXEL
    (tmp_path / "seam.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="not what was saved"):
        load_seam_places(tmp_path)


def test_an_extension_from_before_has_no_places(tmp_path: Path) -> None:
    (tmp_path / "extension.json").write_text(json.dumps({"seam": {"color_delta_e": 1.0}}))
    assert load_seam_places(tmp_path) is None
