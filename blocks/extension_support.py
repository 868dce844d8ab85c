"""Owns what of the known is believed: no distances that contradict each other, and no matter that hangs in the air."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from scene3d.fusion.redistancing import paint_nearest
from scene3d.geometry.voxels import VoxelField

MIN_ISLAND_COLUMNS = 48
"""Seen ground that is not connected to the rest counts from this many columns on: a twentieth of a cell."""

MIN_PART_VOXELS = 8
"""Smaller parts of matter than two voxels along each edge are noise wherever they are."""

MOST_SLOPE = 1.3
"""Distances of free air and matter near to each other may add up to so many times what lies between them."""

CONTRADICTION_REACH_VOXELS = 8.0
_ROUNDS = 2


def drop_contradictions(field: VoxelField) -> VoxelField:
    """Known voxels without those whose distances cannot both be true: those are unknown.

    Where a strip between free air and matter was not seen, both may tell the distance of a surface farther off,
    though one lies in the strip. What continued both would have to make a cliff there.

    Args:
        field: Any.
    """
    for _ in range(_ROUNDS):
        matter = field.known & (field.sdf < 0)
        doubtful = _contradicting(field, matter)
        if not doubtful.any():
            break
        field = forget(field, doubtful)
    return field


def drop_unsupported(field: VoxelField) -> VoxelField:
    """Known voxels without those that speak of matter in the air, or of small islands of ground: those are unknown.

    Matter stands if it is connected to the bottom of the box through matter or through what is unknown: a roof that
    was seen from above does, for nobody looked under it. What has free air all around hangs.

    Args:
        field: Over level ground.
    """
    matter = field.known & (field.sdf < 0)
    hanging = matter & ~_connected_to_bottom(matter | ~field.known)
    hanging |= matter & ~_large_parts(matter, MIN_PART_VOXELS)
    doubtful = _nearer_to(hanging, matter & ~hanging, field) | _small_islands(field)
    return forget(field, doubtful)


def forget(field: VoxelField, doubtful: Bool[np.ndarray, "x y z"]) -> VoxelField:
    """Some voxels made unknown."""
    return replace(
        field,
        sdf=np.where(doubtful, np.asarray(field.truncation, field.sdf.dtype), field.sdf),
        rgb=np.where(doubtful[..., None], np.asarray(0, field.rgb.dtype), field.rgb),
        known=field.known & ~doubtful,
    )


def remove_hanging(filled: VoxelField, known: VoxelField) -> tuple[VoxelField, int]:
    """A filled canvas without new matter that is connected neither to the ground nor to anything known.

    Args:
        filled: The canvas with new cells.
        known: The canvas as it was; its voxels stay what they are.

    Returns:
        The canvas, free air where the parts were, and how many parts those were.
    """
    matter = filled.known & (filled.sdf < 0)
    labels, _ = ndimage.label(matter)
    ground = labels[:, :, 0]
    standing = np.zeros(int(labels.max()) + 1, bool)
    for held in (ground, labels[known.known]):
        standing[np.unique(held)] = True
    standing[0] = False
    hanging = matter & ~standing[labels]
    if not hanging.any():
        return filled, 0
    left = matter & ~hanging
    freed = _nearer_to(hanging, left, filled) & ~known.known
    # Distances to what is left: whole voxels are near enough where no surface is any more.
    distance = np.minimum((ndimage.distance_transform_edt(~left) - 0.5) * filled.voxel_size, filled.truncation)
    colored = filled.known & ~hanging & (np.abs(filled.sdf) < filled.truncation)
    rgb = np.where(freed[..., None], paint_nearest(filled.rgb, colored), filled.rgb)
    field = replace(
        filled,
        sdf=np.where(freed, np.maximum(distance, filled.sdf), filled.sdf).astype(filled.sdf.dtype),
        rgb=rgb.astype(filled.rgb.dtype),
    )
    return field, len(np.unique(labels[hanging]))


def _contradicting(field: VoxelField, matter: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Voxels of free air and the nearest matter, or the other way round, whose distances do not fit between them."""
    free = field.known & ~matter
    doubtful = np.zeros_like(matter)
    if not matter.any() or not free.any():
        return doubtful
    for one, other in ((free, matter), (matter, free)):
        gap, nearest = ndimage.distance_transform_edt(~other, return_indices=True)
        beside = one & (gap < CONTRADICTION_REACH_VOXELS)
        across = tuple(axis[beside] for axis in nearest)
        steps = np.abs(field.sdf[beside] - field.sdf[across]) / field.voxel_size
        wrong = steps > MOST_SLOPE * gap[beside] + 0.1
        doubtful[tuple(rows[wrong] for rows in np.nonzero(beside))] = True
        doubtful[tuple(rows[wrong] for rows in across)] = True
    return doubtful


def _connected_to_bottom(possible: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    labels, count = ndimage.label(possible)
    stands = np.zeros(count + 1, bool)
    stands[np.unique(labels[:, :, 0])] = True
    stands[0] = False
    return np.asarray(stands[labels])


def _large_parts(matter: Bool[np.ndarray, "x y z"], least: int) -> Bool[np.ndarray, "x y z"]:
    labels, _ = ndimage.label(matter)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= least)[labels])


def _nearer_to(
    one: Bool[np.ndarray, "x y z"], other: Bool[np.ndarray, "x y z"], field: VoxelField
) -> Bool[np.ndarray, "x y z"]:
    """Voxels within the truncation of some matter, and nearer to it than to other matter."""
    if not one.any():
        return one
    reach = field.truncation / field.voxel_size
    gap = ndimage.distance_transform_edt(~one)
    away: Float[np.ndarray, "x y z"] = (
        ndimage.distance_transform_edt(~other) if other.any() else np.full(one.shape, np.inf)
    )
    return np.asarray((gap <= reach) & (gap < away))


def _small_islands(field: VoxelField) -> Bool[np.ndarray, "x y z"]:
    """Columns whose known surface is not connected to enough others."""
    surface = (field.known & (np.abs(field.sdf) < field.truncation)).any(axis=2)
    labels, _ = ndimage.label(surface, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    small = surface & (sizes < MIN_ISLAND_COLUMNS)[labels]
    return np.broadcast_to(small[:, :, None], field.shape)
