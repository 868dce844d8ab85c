"""Owns fusing depth maps into a box of voxels: free, surface and unknown kept apart.

After Curless and Levoy 1996, with the distance measured across the surface instead of along the ray.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scene3d.errors import InputError, LimitExceeded
from scene3d.events import Quiet, Reporter
from scene3d.fusion.depth_views import DepthView, camera_rays
from scene3d.fusion.redistancing import paint_nearest, redistance
from scene3d.geometry.voxels import VoxelField
from scene3d.limits import MAX_VOXELS

BRICK = 32
"""Voxels along the edge of what is fused at once: its memory stays in the cache, and most views miss most bricks."""

MIN_VIEWS = 2
"""Voxels that fewer views speak of are unknown."""

_QUIET = Quiet()

Lift = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]]
"""World coordinates of points of the box, which may stand on a plane of its own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VoxelBox:
    """Where the voxels of a field shall be."""

    origin: Float[np.ndarray, "3"]
    """Outer corner of voxel (0, 0, 0), float64."""

    shape: tuple[int, int, int]
    voxel_size: float
    truncation: float

    def __post_init__(self) -> None:
        if min(self.shape) < 2:
            raise InputError(f"a box of {self.shape} voxels holds no surface")
        if np.prod(self.shape, dtype=np.int64) > MAX_VOXELS:
            raise LimitExceeded(
                f"a box of {' x '.join(map(str, self.shape))} voxels is more than {MAX_VOXELS:,}",
                remedy="use larger voxels or a smaller part of the scene",
            )


def fuse_depth_views(
    views: Sequence[DepthView],
    box: VoxelBox,
    *,
    lift: Lift | None = None,
    columns: Bool[np.ndarray, "x y"] | None = None,
    near_surfaces: bool = False,
    min_parallax_deg: float = 0.0,
    reporter: Reporter = _QUIET,
) -> VoxelField:
    """The signed distance field that several views agree on, with exact distances near the surface.

    A voxel before a view's surface is free, one behind it by less than the truncation is matter, one farther behind
    is not spoken of. Weights are alpha cos / z^2. What fewer than `MIN_VIEWS` views speak of stays unknown.

    Args:
        views: Of one scene, in its world.
        box: Voxels, in the world or in a frame of its own.
        lift: World coordinates of the box's points, if the frame is its own; nearly rigid.
        columns: Where the field is needed; elsewhere bricks may stay unknown.
        near_surfaces: Leave the voxels unknown that lie bricks away from every surface: a mesh does not need them.
        min_parallax_deg: Voxels whose views look from directions less far apart stay unknown too: what is wrong in
            one photograph is as wrong in the next one beside it.
        reporter: Hears of the progress.
    """
    sdf = np.full(box.shape, box.truncation, np.float32)
    rgb = np.zeros((*box.shape, 3), np.float32)
    known = np.zeros(box.shape, bool)
    colored = np.zeros(box.shape, bool)
    bricks = list(_bricks(box.shape))
    if columns is not None:
        bricks = [brick for brick in bricks if columns[brick[0], brick[1]].any()]
    if near_surfaces:
        taken = _bricks_with_surface(views, box)
        bricks = [brick for brick in bricks if taken[tuple(part.start // BRICK for part in brick)]]
    reporter.start("fuse", len(bricks))
    for step, brick in enumerate(bricks):
        sums = _fuse_brick(views, box, brick, lift)
        shape = tuple(part.stop - part.start for part in brick)
        enough = (sums.count >= MIN_VIEWS) & (sums.weight > 0)
        if min_parallax_deg > 0:
            enough &= _looked_around(sums, min_parallax_deg)
        known[brick] = enough.reshape(shape).numpy()
        value = (sums.distance / sums.weight.clamp_min(1e-12)).where(enough, box.truncation)
        sdf[brick] = value.reshape(shape).numpy()
        colored[brick] = (enough & (sums.color_weight > 0)).reshape(shape).numpy()
        rgb[brick] = (sums.color / sums.color_weight.clamp_min(1e-12)[:, None]).reshape(*shape, 3).numpy()
        reporter.advance("fuse", step + 1)
    reporter.finish("fuse", known=int(known.sum()))
    rgb = paint_nearest(rgb, colored)
    field = VoxelField(
        sdf=sdf, rgb=rgb, known=known, origin=box.origin, voxel_size=box.voxel_size, truncation=box.truncation
    )
    return redistance(field)


@dataclass(slots=True, eq=False)
class _Sums:
    """Weighted sums over views, of each voxel of a brick."""

    distance: Tensor
    weight: Tensor
    count: Tensor
    color: Tensor
    color_weight: Tensor
    direction: Tensor
    """Of unit vectors towards the cameras."""


def _bricks(shape: tuple[int, int, int]) -> Iterator[tuple[slice, slice, slice]]:
    starts = [range(0, count, BRICK) for count in shape]
    for x in starts[0]:
        for y in starts[1]:
            for z in starts[2]:
                low = (x, y, z)
                first, second, third = (slice(a, min(a + BRICK, count)) for a, count in zip(low, shape, strict=True))
                yield first, second, third


def view_points(view: DepthView) -> Float[np.ndarray, "n 3"]:
    """World points of the pixels whose depth is trusted."""
    rays = camera_rays(view.camera).double()
    trusted = view.depth > 0
    points = (rays[trusted] * view.depth[trusted].double()[:, None]).numpy()
    return np.asarray(points @ view.camera.cam_from_world[:3, :3] + view.camera.center)


def _bricks_with_surface(views: Sequence[DepthView], box: VoxelBox) -> Bool[np.ndarray, "x y z"]:
    """Which bricks hold a point that a view sees, or lie within the truncation of one."""
    counts = -(-np.array(box.shape) // BRICK)
    taken = np.zeros(counts, bool)
    for view in views:
        places = (view_points(view) - box.origin) / box.voxel_size
        for shift in product((-1, 1), repeat=3):
            moved = np.floor((places + np.array(shift) * box.truncation / box.voxel_size) / BRICK).astype(int)
            inside = ((moved >= 0) & (moved < counts)).all(axis=1)
            taken[tuple(moved[inside].T)] = True
    return taken


def _fuse_brick(
    views: Sequence[DepthView], box: VoxelBox, brick: tuple[slice, slice, slice], lift: Lift | None
) -> _Sums:
    axes = [
        box.origin[axis] + (np.arange(part.start, part.stop) + 0.5) * box.voxel_size for axis, part in enumerate(brick)
    ]
    centers = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if lift is not None:
        centers = lift(centers)
    middle = centers.mean(axis=0)
    radius = float(np.linalg.norm(centers - middle, axis=1).max()) + box.voxel_size
    zeros = torch.zeros(len(centers))
    sums = _Sums(
        distance=zeros,
        weight=zeros.clone(),
        count=torch.zeros(len(centers), dtype=torch.int32),
        color=torch.zeros(len(centers), 3),
        color_weight=zeros.clone(),
        direction=torch.zeros(len(centers), 3),
    )
    local = torch.from_numpy((centers - middle).astype(np.float32))
    for view in views:
        rotation = view.camera.cam_from_world[:3, :3]
        place = rotation @ middle + view.camera.cam_from_world[:3, 3]
        if _may_see(view, place, radius):
            points = local @ torch.from_numpy(rotation.T).float() + torch.from_numpy(place).float()
            rows = _add_view(sums, view, points, box.truncation)
            toward = torch.from_numpy((view.camera.center - middle).astype(np.float32)) - local[rows]
            sums.direction.index_add_(0, rows, torch.nn.functional.normalize(toward, dim=1))
    return sums


def _looked_around(sums: _Sums, min_parallax_deg: float) -> Bool[Tensor, "n"]:
    """Which voxels were looked at from directions so far apart.

    The mean of two unit vectors at an angle is as long as the cosine of half of it; of more vectors it is as long as
    that of two which are spread as widely.
    """
    length = sums.direction.norm(dim=1) / sums.count.clamp_min(1)
    return length <= float(np.cos(np.radians(min_parallax_deg) / 2))


def _may_see(view: DepthView, place: Float[np.ndarray, "3"], radius: float) -> bool:
    """Whether a ball before a camera may reach into its image."""
    if place[2] < -radius:
        return False
    K = view.camera.K
    # The planes through the camera's centre and the image's edges, normals inward.
    left = np.array([K[0, 0], 0.0, K[0, 2]])
    right = np.array([-K[0, 0], 0.0, view.camera.width - K[0, 2]])
    top = np.array([0.0, K[1, 1], K[1, 2]])
    bottom = np.array([0.0, -K[1, 1], view.camera.height - K[1, 2]])
    return all(normal @ place >= -radius * np.linalg.norm(normal) for normal in (left, right, top, bottom))


def _add_view(sums: _Sums, view: DepthView, points: Float[Tensor, "n 3"], truncation: float) -> Int[Tensor, "m"]:
    """Adds what one view says of the voxels at some points of its camera's frame, and returns the rows it speaks of."""
    K = view.camera.K
    z = points[:, 2]
    safe = z.clamp_min(1e-6)
    x, y = points[:, 0] / safe, points[:, 1] / safe
    column = (x * float(K[0, 0]) + float(K[0, 2])).floor()
    row = (y * float(K[1, 1]) + float(K[1, 2])).floor()
    seen = (z > 1e-6) & (column >= 0) & (column < view.camera.width) & (row >= 0) & (row < view.camera.height)
    rows = seen.nonzero()[:, 0]
    pixel = row[rows].long() * view.camera.width + column[rows].long()
    depth, cosine = view.depth.flatten()[pixel], view.cosine.flatten()[pixel]
    along = (1 + x[rows] ** 2 + y[rows] ** 2).sqrt()
    beyond = (depth - z[rows]) * along
    distance = beyond * cosine
    # Far behind a surface that the ray grazes the tangent plane may be near, but says nothing any more.
    told = (depth > 0) & (distance >= -truncation) & (beyond >= -2 * truncation)
    rows, pixel, distance, depth, cosine = (part[told] for part in (rows, pixel, distance, depth, cosine))
    weight = view.alpha.flatten()[pixel] * cosine / depth**2
    sums.distance.index_add_(0, rows, weight * distance.clamp_max(truncation))
    sums.weight.index_add_(0, rows, weight)
    sums.count.index_add_(0, rows, torch.ones_like(rows, dtype=torch.int32))
    near = distance.abs() < truncation / 2
    sums.color.index_add_(0, rows[near], weight[near, None] * view.image.reshape(-1, 3)[pixel[near]])
    sums.color_weight.index_add_(0, rows[near], weight[near])
    return rows
