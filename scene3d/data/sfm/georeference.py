"""Owns the frame of a prepared capture: metres east, north, up where GPS allows it, else level with arbitrary scale."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from scene3d.geometry.similarity import Similarity

WGS84_RADIUS_M = 6_378_137.0
WGS84_FLATTENING = 1 / 298.257223563
MIN_POSITIONS = 4
MAX_RESIDUAL_SHARE = 0.35
"""A fit whose typical residual is more than this share of the flight's extent is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Georeference:
    """How a capture's frame hangs on the Earth."""

    latitude_deg: float
    """Origin of the local frame: x east, y north, z up, metres (WGS 84)."""

    longitude_deg: float
    altitude_m: float
    residual_m: float
    """Median horizontal distance between camera and GPS position."""

    num_positions: int
    num_inliers: int


def east_north_up(
    latitudes_deg: Float[np.ndarray, "n"], longitudes_deg: Float[np.ndarray, "n"], altitudes_m: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    """Metres from the median position; the curvature inside one capture is far below GPS noise."""
    latitude, longitude = np.radians(np.median(latitudes_deg)), np.median(longitudes_deg)
    eccentricity2 = WGS84_FLATTENING * (2 - WGS84_FLATTENING)
    root = np.sqrt(1 - eccentricity2 * np.sin(latitude) ** 2)
    radius_east = WGS84_RADIUS_M / root
    radius_north = WGS84_RADIUS_M * (1 - eccentricity2) / root**3
    east = np.radians(longitudes_deg - longitude) * radius_east * np.cos(latitude)
    north = np.radians(latitudes_deg - np.median(latitudes_deg)) * radius_north
    return np.stack([east, north, altitudes_m - np.median(altitudes_m)], 1)


def fit_level_similarity(
    level_centers: Float[np.ndarray, "n 3"], enu: Float[np.ndarray, "n 3"]
) -> tuple[Similarity, Float[np.ndarray, "n"]] | None:
    """Scale, heading and offset that bring level camera centres onto GPS positions.

    Only the horizontal plane is fitted: GPS heights of small cameras are too poor to tell which way is up, while the
    ground and the cameras themselves tell it well. The height offset is a median. Outliers lose their weight
    (iterated least squares with Cauchy weights).

    Returns:
        The similarity and the horizontal residuals in metres, or None when the positions do not span a plane or do not
        agree with the cameras.
    """
    if len(enu) < MIN_POSITIONS:
        return None
    source = level_centers[:, 0] + 1j * level_centers[:, 1]
    target = enu[:, 0] + 1j * enu[:, 1]
    weights = np.ones(len(enu))
    factor, offset = 1 + 0j, 0j
    for _ in range(50):
        share = weights / weights.sum()
        source_mean, target_mean = (share * source).sum(), (share * target).sum()
        spread = (share * np.abs(source - source_mean) ** 2).sum()
        if spread <= 0:
            return None
        factor = (share * (target - target_mean) * np.conj(source - source_mean)).sum() / spread
        offset = target_mean - factor * source_mean
        residuals = np.abs(factor * source + offset - target)
        typical = max(float(np.median(residuals)), 1e-6)
        weights = 1 / (1 + (residuals / (2 * typical)) ** 2)
    extent = float(np.median(np.abs(target - np.median(target.real) - 1j * np.median(target.imag))))
    if abs(factor) <= 0 or not np.isfinite(abs(factor)) or np.median(residuals) > MAX_RESIDUAL_SHARE * extent:
        return None
    angle = np.angle(factor)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    height = float(np.median(enu[:, 2] - abs(factor) * level_centers[:, 2]))
    translation = np.array([offset.real, offset.imag, height])
    return Similarity(float(abs(factor)), rotation, translation), residuals


def find_inliers(residuals: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Positions within three typical residuals."""
    return residuals <= 3 * 1.4826 * np.median(residuals) + 1e-9
