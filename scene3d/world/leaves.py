"""Owns how leaves look: ruffled light and colour over crowns and hedges."""

import numpy as np
from jaxtyping import Float

from scene3d.world.noise import detail_noise, detail_noise_3d


def paint_leaves(
    points: Float[np.ndarray, "n 3"],
    normal: Float[np.ndarray, "n 3"],
    color: Float[np.ndarray, "n 3"],
    level: Float[np.ndarray, "n"],
    footprint: Float[np.ndarray, "n"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Albedo and ruffled normal of leafy surfaces.

    Args:
        points: On the surface.
        normal: Of the smooth surface.
        color: Mean colour of the leaves, linear light.
        level: Height within the crown, 0 at its foot and 1 at its top; low leaves hang in the shade of others.
        footprint: Side of the patch that each point stands for, metres.
    """
    x, y, z = points.T
    clumps = detail_noise_3d(points, wavelength_m=0.7, footprint_m=footprint)
    leaves = detail_noise_3d(points, wavelength_m=0.24, footprint_m=footprint)
    fine = detail_noise_3d(points, wavelength_m=0.09, footprint_m=footprint)
    other = detail_noise(x - 0.47 * y, z + 0.38 * y, wavelength_m=0.4, footprint_m=footprint)
    gaps = np.clip(0.9 * leaves + 0.5 * clumps + 1.1 * fine, -1.3, 1.2)
    shade = (0.85 + 0.5 * gaps) * (0.55 + 0.45 * np.clip(level, 0, 1))
    warm = 1.0 + 0.18 * other[:, None] * [1.0, 0.35, -0.6]
    ruffled = normal + 0.9 * np.stack([leaves + 0.5 * clumps, other + fine, 0.8 * clumps + fine], axis=1)
    ruffled /= np.sqrt(np.einsum("ij,ij->i", ruffled, ruffled))[:, None] + 1e-9
    return color * warm * shade[:, None], ruffled
