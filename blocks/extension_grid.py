"""Owns the grid of cells over a run: where it lies, which cells were photographed or grown, and where one can grow."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_closing
from scipy.spatial import cKDTree

from blocks.cells import GroundFrame
from blocks.extension_settings import ExtendSettings, GridCell
from blocks.extension_store import PhotographedScene, active_extensions, read_photographed
from blocks.region import Region, find_region
from scene3d.errors import InputError, SettingsError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.training.run_folder import RunFolder

EDGE_SHARE = 0.25
"""Edge of a cell, as a share of the short side of what was photographed, where nobody says."""

STRIDE_SHARE = 0.75
"""From one cell to the next, in edges: cells overlap by the rest."""

COVERED_SHARE = 0.6
"""A cell counts as photographed when this share of its ground is."""

MAX_REACH = 3
"""Cells up to this many from what is there are offered."""

MIN_OPACITY = 0.3
"""Gaussians fainter than this are no evidence of ground."""

BINS_PER_EDGE = 16
MAX_SCALE_SHARE = 0.25
"""Gaussians longer than this share of a cell's edge are background."""

_DIRECTIONS = {"north": (0.0, 1.0), "east": (1.0, 0.0), "south": (0.0, -1.0), "west": (-1.0, 0.0)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExtensionGrid:
    """Square cells on the ground, along the axes of the photographed rectangle."""

    frame: GroundFrame
    """Axes of the cells."""

    origin: tuple[float, float]
    """u and v of the low corner of cell (0, 0)."""

    cell_edge: float
    """World units."""

    stride: float
    """From one cell to the next, world units; cells overlap."""

    photographed: tuple[GridCell, ...]
    grown: tuple[GridCell, ...]
    """By extensions that are in the scene and have this grid."""

    possible: tuple[GridCell, ...]
    """Where the scene can grow, nearest first."""

    footprint: Float[np.ndarray, "k 2"]
    """Corners of what was photographed, world x and y, counter-clockwise."""

    world_from_capture: Similarity

    @property
    def footprint_capture(self) -> Float[np.ndarray, "k 3"]:
        """The same in the capture's own frame."""
        return self._to_capture(self.footprint)

    def corners(self, cell: GridCell) -> Float[np.ndarray, "4 2"]:
        """Corners of a cell's own ground, without what it shares with its neighbours; world x and y."""
        low = np.array(self.origin) + np.array(cell) * self.stride + (self.cell_edge - self.stride) / 2
        square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        return self.frame.to_world(low + self.stride * square)

    def corners_capture(self, cell: GridCell) -> Float[np.ndarray, "4 3"]:
        """The same in the capture's own frame."""
        return self._to_capture(self.corners(cell))

    def window(self, cell: GridCell) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
        """Low and high corner of all that a cell covers, u and v."""
        low = np.array(self.origin) + np.array(cell) * self.stride
        return low, low + self.cell_edge

    def _to_capture(self, ground: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "k 3"]:
        points = np.concatenate([ground, np.zeros((len(ground), 1))], axis=1)
        return self.world_from_capture.inverse().apply(points)


def find_grid(run: RunFolder, *, edge_m: float | None = None, stride_share: float = STRIDE_SHARE) -> ExtensionGrid:
    """The grid of a finished run; the same for as long as its photographed Gaussians are.

    Args:
        run: Finished.
        edge_m: Edge of a cell in the capture's units; a quarter of the short side of the footprint if not given.
        stride_share: From one cell to the next, in edges.

    Raises:
        InputError: The run is not finished, damaged, or has no ground to speak of.
    """
    return make_grid(run, read_photographed(run), edge_m=edge_m, stride_share=stride_share)


def make_grid(
    run: RunFolder, scene: PhotographedScene, *, edge_m: float | None = None, stride_share: float = STRIDE_SHARE
) -> ExtensionGrid:
    """The same for a scene that was read already."""
    ground = _solid_ground(scene.gaussians)
    if len(ground) < 100:
        raise InputError("the scene has too little solid ground to grow from", where=run.merged_scene)
    region = find_region(ground)
    edge = EDGE_SHARE * min(region.rectangle.sides)
    if edge_m is not None:
        edge = edge_m * scene.world_from_capture.scale
    if edge < 1e-3 * region.radius:
        raise SettingsError(f"a cell of {edge_m} is far too small for this scene")
    frame, (half_u, half_v) = _upright(region)
    stride, low_u, low_v = stride_share * edge, -half_u, -half_v
    evidence = scene.gaussians.select(
        (scene.gaussians.opacities > MIN_OPACITY) & (scene.gaussians.scales.amax(1) < MAX_SCALE_SHARE * edge)
    )
    covered = _Coverage(frame.from_world(evidence.means.double().numpy()), edge / BINS_PER_EDGE)
    last = np.ceil(2 * np.array([half_u, half_v]) / stride).astype(int)
    photographed = tuple(
        (i, j)
        for i in range(int(last[0]) + 1)
        for j in range(int(last[1]) + 1)
        if covered.share((low_u + i * stride, low_v + j * stride), edge) >= COVERED_SHARE
    )
    if not photographed:
        raise InputError(
            "no cell is photographed well enough to grow from", where=run.merged_scene, remedy="give a smaller --edge"
        )
    grown = tuple(
        cell
        for extension in active_extensions(run)
        if abs(extension.cell_edge - edge) < 1e-6 * edge
        for cell in extension.cells
    )
    return ExtensionGrid(
        frame=frame,
        origin=(low_u, low_v),
        cell_edge=edge,
        stride=stride,
        photographed=photographed,
        grown=grown,
        possible=_around({*photographed, *grown}, MAX_REACH),
        footprint=region.corners,
        world_from_capture=scene.world_from_capture,
    )


def choose_cells(grid: ExtensionGrid, settings: ExtendSettings) -> tuple[GridCell, ...]:
    """The cells that a person asked for.

    Raises:
        SettingsError: A cell is there already or too far away, or there is none on that side.
    """
    if settings.cells is not None:
        return _checked_cells(grid, settings.cells)
    there = {*grid.photographed, *grid.grown}
    cells = _around(there, max(1, settings.rings))
    if settings.toward is None:
        return cells
    axis, sign = _find_axis(grid.frame, settings.toward)
    cells = tuple(cell for cell in cells if _lies_behind(cell, there, axis, sign, max(1, settings.rings)))
    if not cells:
        raise SettingsError(f"there is no cell to the {settings.toward}")
    return cells


def _upright(region: Region) -> tuple[GroundFrame, tuple[float, float]]:
    """The region's frame turned by quarters so that u runs rather east and v rather north, and half its sides."""
    quarters = round(region.frame.angle_rad / (np.pi / 2))
    u, v = region.rectangle.high
    frame = GroundFrame(center=region.frame.center, angle_rad=region.frame.angle_rad - quarters * np.pi / 2)
    return frame, (v, u) if quarters % 2 else (u, v)


@dataclass(slots=True, eq=False, init=False)
class _Coverage:
    """Which bins of the ground have Gaussians, small gaps closed."""

    def __init__(self, uv: Float[np.ndarray, "n 2"], side: float) -> None:
        gaps = np.asarray(cKDTree(uv).query(uv, k=2)[0])[:, 1]
        # Where Gaussians are sparser than the bins asked for, bins grow: gaps between neighbours are no holes.
        self.side = max(side, 2 * float(np.median(gaps)))
        self.low = uv.min(0) - 4 * self.side
        size = np.ceil((uv.max(0) - self.low) / self.side).astype(int) + 5
        self.taken: Bool[np.ndarray, "x y"] = np.zeros(size, bool)
        self.taken[tuple(((uv - self.low) / self.side).astype(int).T)] = True
        self.taken = binary_closing(self.taken, np.ones((3, 3)), iterations=2)

    side: float
    low: Float[np.ndarray, "2"]
    taken: Bool[np.ndarray, "x y"]

    def share(self, low: tuple[float, float], edge: float) -> float:
        """How much of a square is covered."""
        steps = (np.arange(BINS_PER_EDGE) + 0.5) / BINS_PER_EDGE * edge
        u, v = np.meshgrid(low[0] + steps, low[1] + steps, indexing="ij")
        places = np.floor((np.stack([u, v], -1).reshape(-1, 2) - self.low) / self.side).astype(int)
        inside = ((places >= 0) & (places < self.taken.shape)).all(axis=1)
        return float(self.taken[tuple(places[inside].T)].sum() / len(places))


def _solid_ground(gaussians: Gaussians) -> Float[np.ndarray, "n 2"]:
    """x and y of Gaussians that belong to things: solid, and not of the sizes of sky and horizon."""
    scales = gaussians.scales.amax(dim=1)
    solid = gaussians.opacities > MIN_OPACITY
    if solid.any():
        solid &= scales < 10 * scales[solid].median()
    solid &= torch.isfinite(gaussians.means).all(dim=1)
    return np.asarray(gaussians.means[solid][:, :2].double().numpy())


def _around(there: Collection[GridCell], reach: int) -> tuple[GridCell, ...]:
    """Cells up to so many away from some, nearest first."""
    found: list[GridCell] = []
    taken = set(there)
    for _ in range(reach):
        ring = {(i + a, j + b) for i, j in taken for a in (-1, 0, 1) for b in (-1, 0, 1)} - taken
        found += sorted(ring)
        taken |= ring
    return tuple(found)


def _checked_cells(grid: ExtensionGrid, cells: tuple[GridCell, ...]) -> tuple[GridCell, ...]:
    offered = ", ".join(f"{i},{j}" for i, j in grid.possible[:8])
    for cell in cells:
        name = f"cell {cell[0]},{cell[1]}"
        if cell in grid.photographed or cell in grid.grown:
            what = "was photographed" if cell in grid.photographed else "has grown"
            raise SettingsError(f"{name} {what} already", remedy=f"cells that can grow: {offered}, ...")
        if cell not in grid.possible:
            raise SettingsError(f"{name} is too far from the scene", remedy=f"cells that can grow: {offered}, ...")
    return tuple(dict.fromkeys(cells))


def _find_axis(frame: GroundFrame, toward: str) -> tuple[int, int]:
    """The grid's axis that runs most nearly to a side of the world, and whether upwards or downwards along it."""
    middle = np.array([frame.center])
    direction = frame.from_world(middle + np.array(_DIRECTIONS[toward]))[0]
    axis = int(np.abs(direction).argmax())
    return axis, 1 if direction[axis] > 0 else -1


def _lies_behind(cell: GridCell, there: Collection[GridCell], axis: int, sign: int, reach: int) -> bool:
    """Whether going back from a cell one meets what is there within some cells."""
    for step in range(1, reach + 1):
        back = (cell[0] - sign * step * (axis == 0), cell[1] - sign * step * (axis == 1))
        if back in there:
            return True
    return False
