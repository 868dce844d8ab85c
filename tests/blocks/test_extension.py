"""Growing the small town with a stand-in for the generator: what changes, what must not, and what is told of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.scenes import open_scene
from blocks.extension import ExtendSettings, extend_run, find_grid, find_known, list_extensions, undo_extension
from blocks.extension_border import fuse_border, make_canvas, make_terrain
from blocks.extension_coverage import find_fog
from blocks.extension_grid import choose_cells
from blocks.extension_seam import ColorPairs, measure_seam
from blocks.extension_store import read_photographed
from scene3d.errors import InputError, SettingsError
from scene3d.events import Quiet
from scene3d.gaussians.cleaning import scene_radius
from scene3d.gaussians.gaussians import Gaussians
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.isosurface import extract_mesh
from scene3d.io.ply_rows import read_ply_layout
from scene3d.io.tensors import file_sha256
from scene3d.render import render_view
from scene3d.training.run_folder import RunFolder
from tests.blocks.flat_grower import FlatGrower
from tests.blocks.town_run import write_town_run
from tests.blocks.two_blocks import make_cameras, make_floaters

SPEC = GeneratorSpec(block_voxels=16, stride_voxels=12)
EDGE_M = 1.2
"""0.6 of the world's units."""

SETTINGS = ExtendSettings(toward="east", edge_m=EDGE_M)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_town_run(tmp_path_factory.mktemp("town"))


@pytest.fixture(scope="module")
def grown(town: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Cells to the east of the town."""
    run = RunFolder(Path(shutil.copytree(town.root, tmp_path_factory.mktemp("grown") / "run")))
    extend_run(run, SETTINGS, grower=FlatGrower(SPEC))
    return run


@pytest.fixture
def run(grown: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy that a test may change."""
    return RunFolder(Path(shutil.copytree(grown.root, tmp_path / "run")))


def test_photographed_rows_stay_first_and_undo_restores_the_file(town: RunFolder, run: RunFolder) -> None:
    before = read_ply_layout(town.merged_scene)
    after = read_ply_layout(run.merged_scene)
    assert after.num_rows > before.num_rows
    assert b"".join(after.rows(0, before.num_rows)) == b"".join(before.rows(0, before.num_rows))
    assert undo_extension(run) == "001"
    assert file_sha256(run.merged_scene) == file_sha256(town.merged_scene)


def test_photographs_views_keep_sixty_db_where_they_show_the_town(grown: RunFolder) -> None:
    old_views = list_extensions(grown)[0].record["old_views"]
    assert 4 <= old_views["num_views"] <= 32
    assert old_views["kept_share"] > 0.5
    assert old_views["kept_psnr_db"] is None or old_views["kept_psnr_db"] >= 60


def test_every_view_can_be_kept_whole(town: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(town.root, tmp_path / "run")))
    extend_run(run, replace(SETTINGS, keep="views", rings=3), grower=FlatGrower(SPEC))
    before, after = open_scene(town.root, Quiet()).gaussians, open_scene(run.root, Quiet()).gaussians
    assert len(after) > len(before)
    for camera in make_cameras():
        with torch.no_grad():
            error = (render_view(after, camera).image - render_view(before, camera).image).square().mean()
        assert error <= 1e-6  # 60 dB


def test_new_ground_is_covered(grown: RunFolder) -> None:
    coverage = list_extensions(grown)[0].record["coverage"]
    assert coverage["num_views"] == 20
    assert coverage["mean"] >= 0.97


def test_new_gaussians_lie_in_the_cells_and_outside_of_the_town(grown: RunFolder) -> None:
    grid = find_grid(grown, edge_m=EDGE_M)
    scene = open_scene(grown.root, Quiet()).gaussians
    new = scene.means[read_ply_layout(grown.merged_scene).num_base_rows :].double().numpy()
    windows = np.array([grid.window(cell) for cell in grid.grown])
    uv = grid.frame.from_world(new)[:, None]
    slack = 0.1 * grid.cell_edge
    assert ((uv > windows[:, 0] - slack) & (uv < windows[:, 1] + slack)).all(axis=2).any(axis=1).all()
    inner = (np.abs(new[:, 0]) < 1.3) & (np.abs(new[:, 1]) < 0.5)
    assert inner.mean() < 0.01


def test_a_record_says_where_the_extension_came_from(grown: RunFolder) -> None:
    record = json.loads((grown.root / "extend" / "001" / "extension.json").read_text())
    assert record["seed"] == 0
    assert record["steps"] == 10
    assert record["weights_sha256"] == "flat"
    assert len(record["cells"]) == len(find_grid(grown, edge_m=EDGE_M).grown)
    assert record["seam"]["color_delta_e"] > 0
    for name in ("map", "before_above", "before_side", "after_above", "after_side"):
        assert (grown.root / "extend" / "001" / f"{name}.png").stat().st_size > 1000


def test_the_same_seed_grows_the_same_bytes(town: RunFolder, grown: RunFolder, tmp_path: Path) -> None:
    again = RunFolder(Path(shutil.copytree(town.root, tmp_path / "run")))
    extend_run(again, SETTINGS, grower=FlatGrower(SPEC))
    assert file_sha256(again.merged_scene) == file_sha256(grown.merged_scene)


def test_a_second_extension_continues_the_first_and_survives_its_undo(run: RunFolder) -> None:
    grid = find_grid(run, edge_m=EDGE_M)
    cell = min(grid.possible)
    result = extend_run(run, ExtendSettings(cells=(cell,), edge_m=EDGE_M), grower=FlatGrower(SPEC))
    assert result.id == "002"
    assert result.num_gaussians > 0
    assert undo_extension(run, "001") == "001"
    assert [(one.id, one.status) for one in list_extensions(run)] == [("001", "undone"), ("002", "active")]
    assert find_grid(run, edge_m=EDGE_M).grown == (cell,)


def test_the_surface_of_known_and_new_is_one_closed_sheet(town: RunFolder) -> None:
    scene = read_photographed(town)
    grid = find_grid(town, edge_m=EDGE_M)
    cameras = make_cameras()
    cells = choose_cells(grid, SETTINGS)
    canvas = make_canvas(grid, cells, SPEC, make_terrain(scene.gaussians, cameras, grid))
    known = find_known(town, scene, canvas, cameras, Quiet())
    filled = FlatGrower(SPEC, houses=False).grow(known, canvas.cells, GrowSettings())
    assert (filled.sdf[known.known] == known.sdf[known.known]).all()
    seam = measure_seam(known, filled, ColorPairs.none())
    assert seam["num_boundary_edges"] == 0
    assert seam["gradient_ratio"] <= 2.0
    assert len(extract_mesh(filled).faces) > 500


def test_cells_that_are_there_or_too_far_are_refused(run: RunFolder) -> None:
    grid = find_grid(run, edge_m=EDGE_M)
    for cell, match in ((grid.photographed[0], "photographed"), (grid.grown[0], "has grown"), ((50, 50), "too far")):
        with pytest.raises(SettingsError, match=match):
            extend_run(run, ExtendSettings(cells=(cell,), edge_m=EDGE_M), grower=FlatGrower(SPEC))


def test_a_run_whose_capture_is_gone_says_so(run: RunFolder, tmp_path: Path) -> None:
    record = json.loads(run.capture.read_text())
    run.capture.write_text(json.dumps({**record, "capture": str(tmp_path / "gone")}))
    with pytest.raises(InputError, match="--capture"):
        extend_run(run, ExtendSettings(rings=1, edge_m=EDGE_M), grower=FlatGrower(SPEC))
    assert not (run.root / "run.lock").exists()


def test_finer_voxels_cover_the_ground_as_well_and_are_continued_by_coarse_ones(
    town: RunFolder, tmp_path: Path
) -> None:
    run = RunFolder(Path(shutil.copytree(town.root, tmp_path / "run")))
    first = extend_run(run, replace(SETTINGS, detail=2), grower=FlatGrower(SPEC)).record
    assert first["detail"] == 2
    assert first["coverage"]["mean"] >= 0.95  # the stand-in makes a cliff at the border, which finer voxels show
    assert first["seam"]["num_boundary_edges"] == 0
    grid = find_grid(run, edge_m=EDGE_M)
    cell = min(set(grid.possible), key=lambda one: abs(one[0] - grid.grown[0][0]) + abs(one[1] - grid.grown[0][1]))
    second = extend_run(run, ExtendSettings(cells=(cell,), edge_m=EDGE_M), grower=FlatGrower(SPEC))
    assert second.num_gaussians > 0
    assert second.record["num_color_pairs"] > 0


def test_fog_is_neither_built_on_nor_removed_but_named(town: RunFolder) -> None:
    scene, cameras = read_photographed(town).gaussians, make_cameras()
    grid = find_grid(town, edge_m=EDGE_M)
    canvas = make_canvas(grid, choose_cells(grid, SETTINGS), SPEC, make_terrain(scene, cameras, grid))
    fog = make_floaters([1.3, -0.5, 0.6], [1.9, 0.5, 0.7], 3, opacity=0.9)
    fog = replace(fog, log_scales=torch.full_like(fog.log_scales, float(np.log(0.4))))
    foggy = Gaussians.concatenate([scene, fog])
    known, through_fog = (fuse_border(one, cameras, canvas) for one in (scene, foggy))
    assert known.known.sum() > 1000
    assert (known.known == through_fog.known).all()
    assert (known.sdf == through_fog.sdf).all()
    found = find_fog(foggy, foggy, canvas)
    assert found["num_gaussians"] == 3
    assert found["max_scale_share"] * scene_radius(foggy.means) == pytest.approx(0.25 * grid.cell_edge)
    assert find_fog(scene, scene, canvas)["num_gaussians"] == 0
