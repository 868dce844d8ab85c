"""Owns the pictures of an extension: the map of cells, and the scene before and after, from above and from the side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from blocks.extension_border import Canvas
from blocks.extension_grid import ExtensionGrid
from blocks.extension_settings import GridCell
from blocks.map_canvas import BORDER_PX, HEADER_PX, INK, SOFT_INK, MapCanvas, MapWindow
from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.io.atomic import replace_file
from scene3d.io.images import write_image
from scene3d.render import render_view

PICTURE_WH = (1000, 750)
SIDE_ELEVATION_DEG = 30.0
FOCAL_SHARE = 1.2
"""Focal length of the pictures, in widths."""

PHOTOGRAPHED, GROWN, NEW = (92, 150, 214), (96, 178, 108), (240, 168, 60)


def draw_pictures(
    folder: Path,
    canvas: Canvas,
    before: Gaussians,
    after: Gaussians,
    cameras: Sequence[Camera],
) -> None:
    """Write `map.png` and `{before,after}_{above,side}.png`.

    Args:
        folder: Of the extension.
        canvas: Where it lies.
        before: The scene without it, world frame.
        after: The scene with it.
        cameras: Of the photographs, for the map.
    """
    grid, cells = canvas.grid, canvas.grid_cells
    draw_grid_map(folder / "map.png", grid, before, cameras, new=cells)
    corners = np.concatenate([grid.footprint, *(grid.corners(cell) for cell in cells)])
    for name, camera in overview_cameras(corners, canvas).items():
        for when, gaussians in (("before", before), ("after", after)):
            with torch.no_grad():
                image = render_view(gaussians, camera).image.clamp(0, 1)
            write_image(folder / f"{when}_{name}.png", image)


def overview_cameras(corners: Float[np.ndarray, "n 2"], canvas: Canvas) -> dict[str, Camera]:
    """A camera above and one at the side, which both see all of some ground."""
    middle = (corners.min(0) + corners.max(0)) / 2
    uv = canvas.grid.frame.from_world(middle[None])
    target = np.array([*middle, float(canvas.terrain.height(uv)[0])])
    radius = float(np.linalg.norm(corners - middle, axis=1).max())
    width, height = PICTURE_WH
    focal = FOCAL_SHARE * width
    K = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    elevation = np.radians(SIDE_ELEVATION_DEG)
    toward_side = np.array([0.0, -np.cos(elevation), np.sin(elevation)])
    distances = {"above": 2 * focal / height * radius, "side": 2.4 * focal / width * radius}
    directions = {"above": np.array([0.0, 0.0, 1.0]), "side": toward_side}
    return {
        name: Camera(
            width=width,
            height=height,
            K=K,
            cam_from_world=look_at(target + distances[name] * directions[name], target),
        )
        for name in ("above", "side")
    }


def draw_grid_map(
    path: Path,
    grid: ExtensionGrid,
    gaussians: Gaussians,
    cameras: Sequence[Camera] = (),
    *,
    new: Sequence[GridCell] = (),
) -> None:
    """Draw the cells over the scene: photographed, grown before, new, and where it can grow, each with its number.

    Args:
        path: A .png.
        grid: The cells.
        gaussians: The scene, world frame.
        cameras: Of the photographs.
        new: Cells that have just grown.
    """
    offered = [cell for cell in grid.possible if cell not in new]
    every = [*grid.photographed, *grid.grown, *new, *offered]
    ground = np.concatenate([grid.corners(cell) for cell in every])
    centers = np.array([camera.center for camera in cameras]).reshape(-1, 3)
    window = MapWindow.around(ground, centers[:0], grid.frame)
    canvas = MapCanvas(window.height_px)
    solid = gaussians.select(gaussians.opacities > 0.3)
    colors = (solid.sh[:, 0] * SH_C0 + 0.5).clamp(0, 1) * 255
    canvas.points(window.to_px(solid.means.double().numpy()), colors.byte().numpy())
    kinds = ((offered, SOFT_INK, 0), (grid.photographed, PHOTOGRAPHED, 26), (grid.grown, GROWN, 60), (new, NEW, 70))
    for cells, color, opacity in kinds:
        for cell in cells:
            corners = window.to_px(grid.corners(cell))
            if opacity:
                canvas.polygon(corners, (*color, opacity))
            canvas.outline(corners, color, width_px=1.5, dash_px=None if opacity else 5.0)
            canvas.label(corners, [[f"{cell[0]},{cell[1]}"]], color, avoid=np.zeros((0, 2)))
    canvas.outline(window.to_px(grid.footprint), INK, width_px=2.0)
    place = np.array([BORDER_PX, HEADER_PX / 2])
    place[0] = canvas.text(place, f"{len(grid.photographed)} cells photographed", PHOTOGRAPHED, size_px=18) + 24
    for count, what, color in (
        (len(grid.grown), "grown", GROWN),
        (len(new), "new", NEW),
        (len(offered), "can grow", SOFT_INK),
    ):
        if count:
            place[0] = canvas.text(place, f"{count} {what}", color, size_px=18) + 24
    image = canvas.finished()
    with replace_file(path) as temporary:
        image.save(temporary, format="PNG")
