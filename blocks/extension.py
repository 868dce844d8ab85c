"""Owns growing a finished run beyond what was photographed: known border, new cells, their surface, new Gaussians."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from blocks.extension_border import Canvas, fuse_border, make_canvas, make_terrain, paste
from blocks.extension_coverage import find_fog, measure_coverage
from blocks.extension_gaussians import NewGaussians, make_new_gaussians
from blocks.extension_grid import ExtensionGrid, choose_cells, find_grid, make_grid
from blocks.extension_pictures import draw_pictures
from blocks.extension_seam import find_seam_places, measure_seam, save_seam_places
from blocks.extension_settings import ExtendSettings, GridCell
from blocks.extension_store import (
    ExtensionRecord,
    PhotographedScene,
    active_extensions,
    compose_scene,
    extension_folder,
    list_extensions,
    next_id,
    read_manifest,
    read_photographed,
    save_extension,
    undo_extension,
)
from blocks.extension_support import remove_hanging
from blocks.extension_territory import load_territory, save_territory
from scene3d.cameras.camera import Camera
from scene3d.data.reading import read_capture
from scene3d.errors import InputError
from scene3d.events import EventLog, Quiet, Reporter, Tee
from scene3d.exporting import read_scene
from scene3d.gaussians.gaussians import Gaussians
from scene3d.generation.detail import refine_field
from scene3d.generation.generator import Generator
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.layout import UNSPECIFIED, fit_layout, read_layout
from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.voxels import VoxelField
from scene3d.io.atomic import make_folder
from scene3d.training.run_folder import RunFolder, read_run

__all__ = [
    "ExtendSettings",
    "ExtensionGrid",
    "ExtensionRecord",
    "ExtensionResult",
    "Grower",
    "extend_run",
    "find_grid",
    "list_extensions",
    "undo_extension",
]

logger = logging.getLogger(__name__)


@runtime_checkable
class Grower(Protocol):
    """What fills cells: `scene3d.generation.generator.Generator`, or something that stands in for it."""

    @property
    def spec(self) -> GeneratorSpec:
        """What its blocks are."""

    @property
    def weights_sha256(self) -> str:
        """Which weights it has."""

    def grow(
        self,
        known: VoxelField,
        cells: Sequence[GridCell],
        settings: GrowSettings,
        *,
        layout: Int[NDArray[np.int64], "x y"] | None = None,
        reporter: Reporter | None = None,
    ) -> VoxelField:
        """The canvas with the cells' windows filled, its voxels finer by the settings' detail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionResult:
    """What growing left behind."""

    id: str
    cells: tuple[GridCell, ...]
    num_gaussians: int
    seconds: float
    folder: Path
    record: Mapping[str, Any]
    """All of `extension.json`."""


def extend_run(
    run: RunFolder,
    settings: ExtendSettings,
    *,
    reporter: Reporter | None = None,
    capture_folder: Path | None = None,
    grower: Grower | None = None,
) -> ExtensionResult:
    """Grow a finished run: new cells continue what it shows, and `merged/scene.ply` gets their Gaussians at its end.

    What photographs show stays: known voxels keep their values, photographed Gaussians their bytes, and of the new
    ones those are left out that would change what photographs show well (see `ExtendSettings.keep`).

    Args:
        run: Finished, in one piece or in blocks.
        settings: Where and how.
        reporter: Hears of the progress, besides `events.jsonl`.
        capture_folder: Where the capture lies now, if it was moved.
        grower: What fills the cells; the generator of the settings if not given.

    Raises:
        SettingsError: The cells cannot grow.
        InputError: The run is not finished or damaged, its capture is gone, or nothing new came about.
        MissingPart: There is no generator.
    """
    began_s = time.monotonic()
    grower = grower or Generator.load(settings.generator)
    with run.locked():
        reporter = Tee(EventLog(run.events), reporter or Quiet())
        scene = read_photographed(run)
        cameras = read_cameras(run, scene, capture_folder)
        canvas = _lay_out(run, scene, cameras, settings, grower.spec)
        known = find_known(run, scene, canvas, cameras, reporter)
        filled = grower.grow(
            known,
            canvas.cells,
            GrowSettings(seed=settings.seed, steps=settings.steps, detail=settings.detail),
            layout=_place_layout(settings, canvas, grower.spec),
            reporter=reporter,
        )
        known, canvas = refine_field(known, settings.detail), canvas.refined(settings.detail)
        filled, num_removed = remove_hanging(filled, known)
        new = make_new_gaussians(known, filled, canvas, scene.gaussians, cameras, settings, reporter=reporter)
        if len(new.gaussians) == 0:
            raise InputError("these cells hold nothing new", where=run.root, remedy="choose cells farther outside")
        facts = _collect_facts(settings, canvas, grower, new)
        facts["num_hanging_removed"] = num_removed
        growth = _Growth(canvas=canvas, cameras=cameras, known=known, filled=filled, new=new)
        record = _put_in(run, scene, growth, facts, began_s, reporter)
    seconds = time.monotonic() - began_s
    logger.info("extension %s: %d Gaussians, %.1f s", record.id, record.num_gaussians, seconds)
    return ExtensionResult(
        id=record.id,
        cells=record.cells,
        num_gaussians=record.num_gaussians,
        seconds=seconds,
        folder=record.folder,
        record=record.record,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Growth:
    """What has grown, before it is put into the scene."""

    canvas: Canvas
    cameras: Sequence[Camera]
    known: VoxelField
    filled: VoxelField
    new: NewGaussians


def _lay_out(
    run: RunFolder, scene: PhotographedScene, cameras: Sequence[Camera], settings: ExtendSettings, spec: GeneratorSpec
) -> Canvas:
    """The box of the cells that were asked for."""
    grid = make_grid(run, scene, edge_m=settings.edge_m, stride_share=spec.stride_voxels / spec.block_voxels)
    cells = choose_cells(grid, settings)
    return make_canvas(grid, cells, spec, make_terrain(scene.gaussians, cameras, grid))


def _put_in(
    run: RunFolder,
    scene: PhotographedScene,
    growth: _Growth,
    facts: dict[str, Any],
    began_s: float,
    reporter: Reporter,
) -> ExtensionRecord:
    """Measure and draw an extension, write it, and compose the scene with it."""
    canvas, new = growth.canvas, growth.new
    before = read_scene(run.merged_scene, read_manifest(run))
    after = Gaussians.concatenate([before, new.gaussians])
    facts["seam"] = measure_seam(growth.known, growth.filled, new.color_pairs)
    facts["coverage"] = measure_coverage(after, canvas, growth.known, growth.filled, reporter=reporter)
    facts["fog"] = find_fog(scene.gaussians, after, canvas)
    extension_id = next_id(run)
    folder = extension_folder(run, extension_id)
    make_folder(folder)
    save_territory(folder, growth.filled, growth.known)
    places = find_seam_places(growth.known, growth.filled, new.color_pairs, canvas)
    facts["seam"]["places_sha256"] = save_seam_places(folder, places)
    draw_pictures(folder, canvas, before, after, growth.cameras)
    facts["seconds"] = time.monotonic() - began_s
    record = save_extension(run, extension_id, new.gaussians, facts, scene)
    compose_scene(run, [*active_extensions(run), record])
    return record


def read_cameras(run: RunFolder, scene: PhotographedScene, capture_folder: Path | None = None) -> list[Camera]:
    """The cameras of all photographs, in the world frame.

    Raises:
        InputError: The capture is no longer there.
    """
    _, record = read_run(run.root)
    place = capture_folder or Path(str(record.get("capture", "")))
    if not place.is_dir():
        raise InputError("the capture of this run is no longer there", where=place, remedy="give --capture FOLDER")
    capture = read_capture(place).transformed(scene.world_from_capture)
    return [view.camera for view in capture.views]


def find_known(
    run: RunFolder, scene: PhotographedScene, canvas: Canvas, cameras: Sequence[Camera], reporter: Reporter
) -> VoxelField:
    """What a canvas holds already: what photographs show, and around it what was grown before."""
    known = fuse_border(scene.gaussians, cameras, canvas, reporter=reporter)
    for extension in active_extensions(run):
        if abs(extension.cell_edge - canvas.grid.cell_edge) < 1e-6 * canvas.grid.cell_edge:
            known = paste(known, load_territory(extension.folder))
    return known


def _place_layout(
    settings: ExtendSettings, canvas: Canvas, spec: GeneratorSpec
) -> Int[NDArray[np.int64], "x y"] | None:
    """The layout over the chosen cells, nothing asked for around them."""
    if settings.layout is None:
        return None
    low, high = np.min(canvas.cells, axis=0), np.max(canvas.cells, axis=0)
    begin = low * spec.stride_voxels
    size = (high - low) * spec.stride_voxels + spec.block_voxels
    fitted = fit_layout(read_layout(settings.layout, spec.classes), (int(size[0]), int(size[1])))
    layout = np.full(canvas.box.shape[:2], UNSPECIFIED, np.int64)
    layout[begin[0] : begin[0] + size[0], begin[1] : begin[1] + size[1]] = fitted
    return layout


def _collect_facts(settings: ExtendSettings, canvas: Canvas, grower: Grower, new: NewGaussians) -> dict[str, Any]:
    """Where an extension came from."""
    grid = canvas.grid
    return {
        "cells": [list(cell) for cell in canvas.grid_cells],
        "cell_edge": grid.cell_edge,
        "stride": grid.stride,
        "grid_origin": list(grid.origin),
        "frame": {"center": list(grid.frame.center), "angle_rad": grid.frame.angle_rad},
        "terrain": canvas.terrain.to_record(),
        "seed": settings.seed,
        "steps": settings.steps,
        "detail": settings.detail,
        "layout": None if settings.layout is None else settings.layout.name,
        "weights_sha256": grower.weights_sha256,
        **new.facts,
    }
