"""Owns the smooth shift that leads what was drawn up to what is known."""

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

_WIDTHS_VOXELS = (1.0, 2.0, 4.0)
"""Deviations of the bells: the narrowest says what happens at the border, wider ones what farther out."""

_WIDER_COUNTS = 1e-3
"""Weight of a bell against that of one half as wide: it only matters where the narrower one sees nothing."""

_CUT_DEVIATIONS = 3.0


def spread_shift(
    missed: Float[np.ndarray, "x y z c"],
    fixed: Bool[np.ndarray, "x y z"],
    free: Bool[np.ndarray, "x y z"],
    *,
    fade_voxels: float,
) -> Float32[np.ndarray, "x y z c"]:
    """What to add to free voxels so that they meet the fixed ones without a step.

    The mean of what was missed nearby (a normalised convolution, Knutsson and Westin 1993), which falls off with the
    distance from the fixed voxels. Taking over the nearest voxel's instead makes creases between neighbours whose
    nearest differ; a membrane held at the fixed voxels falls off too steeply beside single ones.

    Args:
        missed: The shift at fixed voxels.
        fixed: Where it is given.
        free: Where it is wanted.
        fade_voxels: Nothing is shifted from so far on.

    Returns:
        The shift at free voxels, 0 elsewhere.
    """
    result = np.zeros(missed.shape, np.float32)
    if not fixed.any():
        return result
    far = ndimage.distance_transform_edt(~fixed)
    wanted = free & (far < fade_voxels)
    if not wanted.any():
        return result
    box = _bounds(wanted, margin=int(_CUT_DEVIATIONS * max(_WIDTHS_VOXELS)))
    fixed, wanted, far, missed = fixed[box], wanted[box], far[box], missed[box]
    given = np.concatenate([missed, np.ones((*fixed.shape, 1))], axis=-1, dtype=np.float32) * fixed[..., None]
    sums = np.zeros((int(wanted.sum()), given.shape[-1]), np.float64)
    for step, width in enumerate(_WIDTHS_VOXELS):
        for channel in range(given.shape[-1]):
            spread = ndimage.gaussian_filter(given[..., channel], width, truncate=_CUT_DEVIATIONS, mode="constant")
            sums[:, channel] += _WIDER_COUNTS**step * spread[wanted]
    fade = np.cos(0.5 * np.pi * far[wanted] / fade_voxels) ** 2
    mean = sums[:, :-1] / np.maximum(sums[:, -1:], 1e-12)
    result[box][wanted] = fade[:, None] * mean
    return result


def _bounds(mask: Bool[np.ndarray, "x y z"], margin: int) -> tuple[slice, slice, slice]:
    """The box around what is set, and a margin."""
    first, second, third = (
        slice(max(int(rows.min()) - margin, 0), int(rows.max()) + margin + 1) for rows in np.nonzero(mask)
    )
    return first, second, third
