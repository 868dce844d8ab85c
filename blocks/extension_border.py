"""Owns the box that cells grow in: where it lies, and what the scene already says about it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_closing, map_coordinates, uniform_filter

from blocks.audit_views import back_project
from blocks.extension_grid import BINS_PER_EDGE, MAX_SCALE_SHARE, ExtensionGrid
from blocks.extension_settings import GridCell
from blocks.extension_support import drop_contradictions, drop_unsupported, forget
from scene3d.cameras.camera import Camera
from scene3d.errors import InputError
from scene3d.events import Quiet, Reporter
from scene3d.fusion.depth_views import render_depth_view
from scene3d.fusion.redistancing import paint_nearest, redistance
from scene3d.fusion.tsdf import VoxelBox, fuse_depth_views
from scene3d.gaussians.gaussians import Gaussians
from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.terrain import Terrain, fit_terrain
from scene3d.geometry.voxels import VoxelField

MAX_VIEWS = 64
"""Depth maps that are fused, at most."""

PIXELS_PER_VOXEL = 3.0
"""So many pixels show a voxel at the middle of the scene: with half as many, surfaces lie a third of a voxel high."""

MAX_SIDE_PX = 800
AROUND_VOXELS = 4
"""What is known so far around the cells' windows counts too: colours are matched to it."""

SOLID_SHARE = 0.2
"""What is seen no higher than this, in edges of a cell, stands on the ground."""

MIN_PARALLAX_DEG = 12.0
"""What is only seen from directions nearer to each other may be fog that looks the same from all of them."""

TERRAIN_SIDE_PX = 160
MIN_GROUND_POINTS = 200
_QUIET = Quiet()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """A box of voxels over flat ground: u and v of the grid, and height above the terrain."""

    grid: ExtensionGrid
    terrain: Terrain
    low_cell: GridCell
    """The cell whose window begins at voxel (0, 0)."""

    cells: tuple[GridCell, ...]
    """Those that grow, numbered from `low_cell`."""

    columns: Bool[np.ndarray, "x y"]
    """What the windows of the cells cover, and a little around."""

    box: VoxelBox

    @property
    def grid_cells(self) -> tuple[GridCell, ...]:
        """The same as the grid numbers them."""
        return tuple((i + self.low_cell[0], j + self.low_cell[1]) for i, j in self.cells)

    def refined(self, detail: int) -> "Canvas":
        """The same with finer voxels."""
        box, (x, y, z) = self.box, self.box.shape
        return replace(
            self,
            columns=self.columns.repeat(detail, axis=0).repeat(detail, axis=1),
            box=replace(box, shape=(x * detail, y * detail, z * detail), voxel_size=box.voxel_size / detail),
        )

    def lift(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """World coordinates of points of the box."""
        uv = points[:, :2]
        height = points[:, 2] + self.terrain.height(uv)
        return np.concatenate([self.grid.frame.to_world(uv), height[:, None]], axis=1)

    def lower(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """The inverse of `lift`."""
        uv = self.grid.frame.from_world(points)
        return np.concatenate([uv, (points[:, 2] - self.terrain.height(uv))[:, None]], axis=1)

    def covers(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Which points of the box stand where cells grow, or a little around."""
        places = np.floor((points[:, :2] - self.box.origin[:2]) / self.box.voxel_size).astype(int)
        inside = ((places >= 0) & (places < self.columns.shape)).all(axis=1)
        inside[inside] = self.columns[tuple(places[inside].T)]
        return np.asarray(inside)

    def turn(self, directions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Directions of the box in the world; the slope of the terrain is left out of account."""
        middle = np.array([self.grid.frame.center])
        level = self.grid.frame.to_world(self.grid.frame.from_world(middle) + directions[:, :2]) - middle
        return np.concatenate([level, directions[:, 2:]], axis=1)


def make_terrain(gaussians: Gaussians, cameras: Sequence[Camera], grid: ExtensionGrid) -> Terrain:
    """The ground below what was photographed, in the grid's frame; the same whichever cells grow.

    Args:
        gaussians: Photographed ones only, in the world frame.
        cameras: Of the photographs.
        grid: Whose frame.
    """
    hull = grid.frame.from_world(grid.footprint)
    low, high = hull.min(0), hull.max(0)
    ground = [np.zeros((0, 3))]
    for camera in cameras[:: max(1, -(-len(cameras) // MAX_VIEWS))]:
        small = camera.scaled(min(1.0, TERRAIN_SIDE_PX / max(camera.width, camera.height)))
        view = render_depth_view(gaussians, small, grid.cell_edge / BINS_PER_EDGE)
        points = back_project(view.depth, small)[view.depth.numpy() > 0]
        uv = grid.frame.from_world(points)
        inside = ((uv >= low) & (uv <= high)).all(axis=1)
        ground.append(np.concatenate([uv, points[:, 2:]], axis=1)[inside])
    points = np.concatenate(ground)
    if len(points) < MIN_GROUND_POINTS:
        raise InputError("the photographs show too little solid ground to grow from")
    return fit_terrain(points, hull, bin_size=grid.cell_edge / 6, fade=grid.cell_edge)


def make_canvas(grid: ExtensionGrid, cells: Sequence[GridCell], spec: GeneratorSpec, terrain: Terrain) -> Canvas:
    """The box around some cells, with a cell of what is known on every side."""
    low = np.min(cells, axis=0) - 1
    count = np.max(cells, axis=0) + 1 - low
    voxel = grid.cell_edge / spec.block_voxels
    side = count * spec.stride_voxels + spec.block_voxels
    corner = np.array(grid.origin) + low * grid.stride
    windows = np.zeros((int(side[0]), int(side[1])), bool)
    for cell in cells:
        start = (np.array(cell) - low) * spec.stride_voxels
        stop = start + spec.block_voxels + AROUND_VOXELS
        start = np.maximum(start - AROUND_VOXELS, 0)
        windows[start[0] : stop[0], start[1] : stop[1]] = True
    box = VoxelBox(
        origin=np.array([*corner, spec.height_range[0] * grid.cell_edge]),
        shape=(int(side[0]), int(side[1]), spec.block_voxels),
        voxel_size=voxel,
        truncation=spec.truncation_voxels * voxel,
    )
    return Canvas(
        grid=grid,
        terrain=terrain,
        low_cell=(int(low[0]), int(low[1])),
        columns=windows,
        cells=tuple((i - int(low[0]), j - int(low[1])) for i, j in cells),
        box=box,
    )


def fuse_border(
    gaussians: Gaussians, cameras: Sequence[Camera], canvas: Canvas, *, reporter: Reporter = _QUIET
) -> VoxelField:
    """What photographs say about a canvas: free, surface and unknown, the ground below what was seen filled.

    Gaussians as large as background are left out: at the border of a scene they stand where nobody could tell how far
    away they are, and their surface leads up into the air.

    Args:
        gaussians: Photographed ones only, in the world frame.
        cameras: Of the photographs.
        canvas: Where.
        reporter: Hears of the progress.
    """
    chosen = choose_cameras(cameras, canvas)
    things = gaussians.select(gaussians.scales.amax(1) < MAX_SCALE_SHARE * canvas.grid.cell_edge)
    reporter.start("depth", len(chosen))
    views = []
    for step, camera in enumerate(chosen):
        views.append(render_depth_view(things, camera, canvas.box.voxel_size))
        reporter.advance("depth", step + 1)
    reporter.finish("depth")
    field = fuse_depth_views(
        views,
        canvas.box,
        lift=canvas.lift,
        columns=canvas.columns,
        min_parallax_deg=MIN_PARALLAX_DEG,
        reporter=reporter,
    )
    field = fill_below(measure_across_gaps(field), highest=SOLID_SHARE * canvas.grid.cell_edge)
    return drop_unsupported(drop_contradictions(field))


def choose_cameras(cameras: Sequence[Camera], canvas: Canvas) -> list[Camera]:
    """The cameras that see most of a canvas' ground, spread over it, in images no finer than the voxels ask for."""
    ground = _ground_points(canvas)
    sees = np.stack([_sees(camera, ground) for camera in cameras])  # [cameras, points]
    counts = np.zeros(len(ground))
    left = set(np.flatnonzero(sees.any(axis=1)).tolist())
    chosen: list[int] = []
    while left and len(chosen) < MAX_VIEWS:
        # Whoever sees most of what few have seen so far comes next.
        best = max(sorted(left), key=lambda index: float((sees[index] / (1 + counts) ** 2).sum()))
        counts += sees[best]
        chosen.append(best)
        left.remove(best)
    return [_scaled(cameras[index], canvas) for index in sorted(chosen)]


def measure_across_gaps(field: VoxelField) -> VoxelField:
    """Distances made anew as if gaps one voxel wide, between known voxels, were filled by what is around them.

    Beside such gaps, which the shadows of rays leave, distances are too long: the surface that passes through the gap
    is not seen, and free air seems to lie two voxels off where matter begins after one. The gaps stay unknown: nothing
    was photographed there.
    """
    gaps = binary_closing(np.pad(field.known, 1), np.ones((3, 3, 3)))[1:-1, 1:-1, 1:-1] & ~field.known
    if not gaps.any():
        return field
    share = np.maximum(uniform_filter(field.known.astype(np.float32), 3), 1e-6)
    mean = uniform_filter(np.where(field.known, field.sdf, 0), 3) / share
    rgb = paint_nearest(field.rgb, field.known & (np.abs(field.sdf) < field.truncation))
    closed = redistance(
        replace(
            field,
            sdf=np.where(gaps, mean, field.sdf).astype(field.sdf.dtype),
            rgb=rgb.astype(field.rgb.dtype),
            known=field.known | gaps,
        )
    )
    return forget(closed, gaps)


def fill_below(field: VoxelField, *, highest: float) -> VoxelField:
    """Unknown voxels below the lowest known one of their column are matter if it is: nobody looks into the ground.

    Low roofs seen from above stand on solid houses then, in which nothing grows.

    Args:
        field: Over level ground.
        highest: Above this height what is seen may as well hang in the air: fog at the border of a scene often does.
    """
    lowest = field.known.argmax(axis=2)
    column = np.take_along_axis(field.sdf, lowest[..., None], axis=2)[..., 0]
    height = field.origin[2] + (lowest + 0.5) * field.voxel_size
    solid = field.known.any(axis=2) & (column < 0) & (height <= highest)
    below = (np.arange(field.shape[2]) < lowest[..., None]) & solid[..., None]
    return replace(
        field,
        sdf=np.where(below, np.asarray(-field.truncation, field.sdf.dtype), field.sdf),
        known=field.known | below,
    )


def paste(field: VoxelField, other: VoxelField) -> VoxelField:
    """A field with what another says where it says nothing itself; both over the same flat ground."""
    places = other.to_voxels(field.centers()[~field.known]).T - 0.5
    # Trilinear between voxels that are all known; of aligned grids exactly their values.
    share = map_coordinates(other.known.astype(np.float32), places, order=1, mode="grid-constant")
    told = share > 0.999
    rows = np.argwhere(~field.known)[told]
    where = tuple(rows.T)
    sdf, rgb, known = field.sdf.copy(), field.rgb.copy(), field.known.copy()
    sdf[where] = map_coordinates(other.sdf, places[:, told], order=1, mode="nearest")
    for channel in range(3):
        rgb[(*where, channel)] = map_coordinates(other.rgb[..., channel], places[:, told], order=1, mode="nearest")
    known[where] = True
    return replace(field, sdf=sdf, rgb=rgb, known=known)


def _ground_points(canvas: Canvas) -> Float[np.ndarray, "n 3"]:
    box = canvas.box
    axes = [np.linspace(box.origin[axis], box.origin[axis] + box.shape[axis] * box.voxel_size, 24) for axis in (0, 1)]
    u, v = np.meshgrid(*axes, indexing="ij")
    return canvas.lift(np.stack([u.ravel(), v.ravel(), np.zeros(u.size)], axis=1))


def _sees(camera: Camera, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    local = points @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    depth = np.maximum(local[:, 2], 1e-9)
    pixel = (local @ camera.K.T)[:, :2] / depth[:, None]
    inside = (pixel >= 0).all(axis=1) & (pixel < (camera.width, camera.height)).all(axis=1)
    return np.asarray(inside & (local[:, 2] > 0))


def _scaled(camera: Camera, canvas: Canvas) -> Camera:
    """World units are medians of the depth: a voxel at depth 1 is `PIXELS_PER_VOXEL` wide."""
    wanted = PIXELS_PER_VOXEL / canvas.box.voxel_size / float(camera.K[0, 0])
    return camera.scaled(min(1.0, wanted, MAX_SIDE_PX / max(camera.width, camera.height)))
