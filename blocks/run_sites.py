"""Owns training data out of a finished run: the voxels that its photographs show, as sites for a generator."""

from pathlib import Path

from blocks.extension import read_cameras
from blocks.extension_border import fuse_border, make_canvas, make_terrain
from blocks.extension_grid import make_grid
from blocks.extension_store import photographed_sha256, read_photographed
from scene3d.events import Quiet, Reporter
from scene3d.generation.field_sites import FieldSites
from scene3d.generation.site_sources import SiteMaker, SiteSource
from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.voxels import VoxelField
from scene3d.training.run_folder import RunFolder, read_run


def run_source(
    folder: Path, spec: GeneratorSpec, seed: int, *, edge_m: float | None = None, capture_folder: Path | None = None
) -> SiteSource:
    """Sites of what a run photographed; what was grown is left out.

    Args:
        folder: The --output folder of a reconstruction.
        spec: The blocks that will be cut out of them.
        seed: Of their places and turns.
        edge_m: Edge of a block in the capture's units, as `ExtendSettings.edge_m`: a generator learns at the scale
            at which it will grow.
        capture_folder: Where the capture lies now, if it was moved.

    Raises:
        InputError: The run is not finished or damaged.
    """
    run, _ = read_run(folder)
    scene = read_photographed(run)
    identity = {
        "kind": "run",
        "photographed_sha256": photographed_sha256(run, scene.layout),
        "edge": edge_m,
        "seed": seed,
    }

    def prepare(reporter: Reporter) -> SiteMaker:
        field = fuse_run(run, spec, edge_m=edge_m, capture_folder=capture_folder, reporter=reporter)
        return FieldSites(field, spec, seed).make

    return SiteSource(identity=identity, prepare=prepare)


def fuse_run(
    run: RunFolder,
    spec: GeneratorSpec,
    *,
    edge_m: float | None = None,
    capture_folder: Path | None = None,
    reporter: Reporter | None = None,
) -> VoxelField:
    """What the photographs of a run show, in the voxels of the cells that `extend_run` would grow.

    Raises:
        InputError: The run is not finished or damaged, its capture is gone, or it shows no ground.
    """
    scene = read_photographed(run)
    cameras = read_cameras(run, scene, capture_folder)
    grid = make_grid(run, scene, edge_m=edge_m, stride_share=spec.stride_voxels / spec.block_voxels)
    canvas = make_canvas(grid, grid.photographed, spec, make_terrain(scene.gaussians, cameras, grid))
    return fuse_border(scene.gaussians, cameras, canvas, reporter=reporter or Quiet())
