"""Owns what the extend panel asks: the map of cells, growing some of them, and undoing it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.viewer.jobs import Jobs
from app.viewer.records import find_capture_folder, shown_record
from app.viewer.scale import read_unit
from app.viewer.stage import Stage, Stages
from app.viewer.workspace import Workspace
from blocks.extension_grid import ExtensionGrid, find_grid
from blocks.extension_store import list_extensions
from scene3d.errors import InputError, SettingsError
from scene3d.io.atomic import make_folder, write_json
from scene3d.training.run_folder import RunFolder
from scene3d.world.classes import PALETTE, SurfaceClass

MAX_CELLS = 64
MAX_STEPS = 200
PATCHES = 4
"""Patches along a cell's side that can be painted."""

COLUMN_M = 0.25
"""Side of a column in the layout file; only ratios matter, for a layout is stretched over its cells."""

COLUMNS_PER_STRIDE, COLUMNS_PER_EDGE = 24, 32
MAP_MARGIN = 0.08
MAP_HEIGHT_EXTENTS = 20.0
"""The map is seen from so far above that it is nearly a plan."""


class Patch(BaseModel):
    """One painted patch of a cell's own ground, counted from its low corner."""

    cell: tuple[int, int]
    place: tuple[int, int]
    surface: str


class Wish(BaseModel):
    """Cells to grow."""

    cells: list[tuple[int, int]] = Field(min_length=1, max_length=MAX_CELLS)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    steps: int = Field(default=10, ge=1, le=MAX_STEPS)
    patches: list[Patch] = Field(default_factory=list, max_length=MAX_CELLS * PATCHES**2)


class Undo(BaseModel):
    """An extension to take out; the last one if not given."""

    id: str | None = Field(default=None, pattern=r"^[0-9]{3,6}$")


@dataclass(slots=True, eq=False)
class _Maps:
    """The grids of the scenes looked at last; finding one reads the whole scene."""

    known: dict[str, ExtensionGrid]

    def get(self, stage: Stage) -> ExtensionGrid:
        name = f"{stage.run.id}/{stage.key}"
        if name not in self.known:
            grid = find_grid(RunFolder(stage.run.root))
            self.known = {name: grid}
        return self.known[name]


def make_router(workspace: Workspace, stages: Stages, jobs: Jobs) -> APIRouter:
    """The routes of the extend panel."""
    router = APIRouter()
    maps = _Maps({})

    @router.get("/scene3d-api/runs/{run_id}/extension")
    def describe(run_id: str) -> dict[str, Any]:
        stage = _finished(stages.get(workspace.find_run(run_id)))
        unit = read_unit(workspace, stage.run, find_capture_folder(stage))
        return {**map_record(stage, maps.get(stage)), **shown_record(stage, unit)}

    @router.post("/scene3d-api/runs/{run_id}/extension/grow")
    def grow(run_id: str, wish: Wish) -> dict[str, Any]:
        stage = _finished(stages.get(workspace.find_run(run_id)))
        words = ["extend", str(stage.run.root), "--seed", str(wish.seed), "--steps", str(wish.steps)]
        # One word, because a cell may begin with a minus.
        words.append("--cells=" + " ".join(f"{i},{j}" for i, j in wish.cells))
        layout = save_layout(workspace, stage, wish)
        words += [] if layout is None else ["--layout", str(layout)]
        count = f"{len(wish.cells)} cell{'s' * (len(wish.cells) != 1)}"
        job = jobs.submit("extend", f"Grow {count} of {stage.run.name}", words, run=stage.run.id, root=stage.run.root)
        return {"job": job.id, "title": job.title}

    @router.post("/scene3d-api/runs/{run_id}/extension/undo")
    def undo(run_id: str, wish: Undo) -> dict[str, Any]:
        stage = _finished(stages.get(workspace.find_run(run_id)))
        words = ["extend", str(stage.run.root), "--undo", *([] if wish.id is None else [wish.id])]
        job = jobs.submit("undo", f"Undo growth of {stage.run.name}", words, run=stage.run.id, root=stage.run.root)
        return {"job": job.id, "title": job.title}

    return router


def map_record(stage: Stage, grid: ExtensionGrid) -> dict[str, Any]:
    """The map: cells with their corners on the ground, and the camera from above that shows them."""
    kinds = {"photographed": grid.photographed, "grown": grid.grown, "possible": grid.possible}
    height = float(stage.middle[2])
    cells = [
        {"cell": list(cell), "kind": kind, "corners": [[*corner, height] for corner in grid.corners(cell).tolist()]}
        for kind, members in kinds.items()
        for cell in members
    ]
    extensions = list_extensions(RunFolder(stage.run.root))
    return {
        "key": stage.key,
        "cells": cells,
        "footprint": [[*corner, height] for corner in grid.footprint.tolist()],
        "pose": pose_from_above(np.array([corner for cell in cells for corner in cell["corners"]])),
        "extensions": [
            {"id": each.id, "status": each.status, "num_cells": len(each.cells), "num_gaussians": each.num_gaussians}
            for each in extensions
        ],
        "surfaces": [
            {"name": one.name.lower(), "color": list(PALETTE[one])}
            for one in SurfaceClass
            if one is not SurfaceClass.NOTHING
        ],
        "patches": PATCHES,
        "max_cells": MAX_CELLS,
    }


def pose_from_above(corners: np.ndarray) -> dict[str, Any]:
    """A camera that looks straight down on all corners, world y upwards in its picture."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = float(max(high[0] - low[0], high[1] - low[1])) * (1 + 2 * MAP_MARGIN)
    middle = (low + high) / 2
    height = MAP_HEIGHT_EXTENTS * extent
    position = [float(middle[0]), float(middle[1]), float(middle[2] + height)]
    field_of_view_deg = float(np.degrees(2 * np.arctan(extent / 2 / height)))
    # Half a turn about x: forward is down, and the picture's down is -y.
    return {"position": position, "rotation": [0.0, 1.0, 0.0, 0.0], "fov": field_of_view_deg}


def save_layout(workspace: Workspace, stage: Stage, wish: Wish) -> Path | None:
    """The painted patches as a layout file over the box that holds all cells; None where nothing was painted.

    Raises:
        SettingsError: A patch is of no chosen cell, or of no known surface.
    """
    if not wish.patches:
        return None
    names = {one.name.lower() for one in SurfaceClass}
    low, high = np.min(wish.cells, axis=0), np.max(wish.cells, axis=0)
    size = (high - low) * COLUMNS_PER_STRIDE + COLUMNS_PER_EDGE
    margin, side = (COLUMNS_PER_EDGE - COLUMNS_PER_STRIDE) / 2, COLUMNS_PER_STRIDE / PATCHES
    boxes = []
    for patch in wish.patches:
        inside = all(0 <= place < PATCHES for place in patch.place)
        if patch.cell not in wish.cells or patch.surface not in names or not inside:
            raise SettingsError(f"a patch of {patch.surface!r} lies outside the chosen cells or is of no known surface")
        corner = margin + (np.array(patch.cell) - low) * COLUMNS_PER_STRIDE + np.array(patch.place) * side
        boxes.append({"class": patch.surface, "box_m": (COLUMN_M * np.concatenate([corner, corner + side])).tolist()})
    folder = workspace.cache(stage.run) / "layouts"
    make_folder(folder)
    path = folder / f"layout-{len(list(folder.iterdir())) + 1}.json"
    write_json(path, {"size_m": (COLUMN_M * size).tolist(), "boxes": boxes})
    return path


def _finished(stage: Stage) -> Stage:
    if stage.is_live or stage.scene.run is None:
        raise InputError("only a finished reconstruction can grow", remedy="let it end first")
    return stage
