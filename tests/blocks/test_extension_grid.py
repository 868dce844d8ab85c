"""The grid over a run, and choosing cells of it."""

from pathlib import Path

import numpy as np
import pytest

from blocks.extension_grid import ExtensionGrid, choose_cells, find_grid
from blocks.extension_settings import ExtendSettings
from scene3d.errors import InputError, SettingsError
from scene3d.gaussians.transform import transform_gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.training.run_folder import RunFolder
from tests.blocks.town_run import WORLD_FROM_CAPTURE, write_merged_scene
from tests.blocks.two_blocks import HALF_LENGTH, HALF_WIDTH, make_floaters, make_town


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("grid"))
    write_merged_scene(folder, make_town())
    return folder


@pytest.fixture(scope="module")
def grid(run: RunFolder) -> ExtensionGrid:
    return find_grid(run)


def test_cells_are_a_quarter_of_the_short_side(grid: ExtensionGrid) -> None:
    assert grid.cell_edge == pytest.approx(2 * HALF_WIDTH / 4, rel=0.1)
    assert grid.stride == pytest.approx(0.75 * grid.cell_edge)


def test_photographed_cells_cover_the_town_and_nothing_else(grid: ExtensionGrid) -> None:
    corners = np.concatenate([grid.corners(cell) for cell in grid.photographed])
    assert np.abs(corners[:, 0]).max() == pytest.approx(HALF_LENGTH, abs=grid.cell_edge)
    assert np.abs(corners[:, 1]).max() == pytest.approx(HALF_WIDTH, abs=grid.cell_edge)
    area = len(grid.photographed) * grid.stride**2
    assert area == pytest.approx(4 * HALF_LENGTH * HALF_WIDTH, rel=0.25)


def test_the_axes_run_east_and_north_however_the_scene_is_turned(tmp_path: Path) -> None:
    for angle in (0.0, 1.3, 3.0, -2.0):
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        run = RunFolder(tmp_path / f"{angle}")
        write_merged_scene(run, transform_gaussians(make_town(), Similarity(1.0, turn, np.zeros(3))))
        turned = find_grid(run)
        assert abs(turned.frame.angle_rad) <= np.pi / 4 + 1e-6
        assert len(turned.photographed) > 20


def test_lengths_are_given_in_the_captures_units(run: RunFolder) -> None:
    assert find_grid(run, edge_m=0.9).cell_edge == pytest.approx(0.9 * WORLD_FROM_CAPTURE.scale)


def test_polygons_come_in_both_frames(grid: ExtensionGrid) -> None:
    again = WORLD_FROM_CAPTURE.apply(grid.footprint_capture)
    assert again[:, :2] == pytest.approx(grid.footprint)
    cell = WORLD_FROM_CAPTURE.apply(grid.corners_capture((0, 0)))
    assert cell[:, :2] == pytest.approx(grid.corners((0, 0)))


def test_neighbouring_cells_touch(grid: ExtensionGrid) -> None:
    assert grid.corners((0, 0))[1] == pytest.approx(grid.corners((1, 0))[0])
    assert grid.corners((0, 0))[3] == pytest.approx(grid.corners((0, 1))[0])


def test_a_ring_surrounds_what_is_there(grid: ExtensionGrid) -> None:
    ring = choose_cells(grid, ExtendSettings(rings=1))
    there = set(grid.photographed)
    assert not there & set(ring)
    assert all(any((i + a, j + b) in there for a in (-1, 0, 1) for b in (-1, 0, 1)) for i, j in ring)
    assert set(ring) < set(choose_cells(grid, ExtendSettings(rings=2)))
    assert set(ring) <= set(grid.possible)


@pytest.mark.parametrize(
    ("toward", "axis", "sign"), [("north", 1, 1), ("south", 1, -1), ("east", 0, 1), ("west", 0, -1)]
)
def test_growing_to_one_side_only(grid: ExtensionGrid, toward: str, axis: int, sign: int) -> None:
    cells = choose_cells(grid, ExtendSettings(toward=toward))  # type: ignore[arg-type]
    middle = np.mean([grid.corners(cell).mean(0) for cell in grid.photographed], axis=0)
    places = np.array([grid.corners(cell).mean(0) for cell in cells])
    assert len(cells) >= 3
    assert (sign * (places - middle)[:, axis] > 0.4 * min(HALF_LENGTH, HALF_WIDTH)).all()
    assert len(choose_cells(grid, ExtendSettings(toward=toward, rings=2))) > len(cells)  # type: ignore[arg-type]


def test_cells_named_twice_grow_once(grid: ExtensionGrid) -> None:
    cell = grid.possible[0]
    assert choose_cells(grid, ExtendSettings(cells=(cell, cell))) == (cell,)


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in (
        {},
        {"rings": -1},
        {"rings": 99},
        {"rings": 1, "steps": 0},
        {"rings": 1, "edge_m": 0.0},
        {"cells": ((0, 0),), "rings": 1},
    ):
        with pytest.raises(SettingsError):
            ExtendSettings(**wrong)  # type: ignore[arg-type]


def test_a_scene_of_next_to_nothing_has_no_grid(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_merged_scene(run, make_floaters([0, 0, 0], [1, 1, 1], 20, opacity=0.9))
    with pytest.raises(InputError, match="too little solid ground"):
        find_grid(run)
