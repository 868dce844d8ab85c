"""Owns the light: sun with cast shadows, sky with the shelter of what stands around, haze, and the sky itself."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from scene3d.world.noise import detail_noise
from scene3d.world.projection import Geometry, ParallelView, draw_parallel
from scene3d.world.terrain import Bounds

SHADOW_TEXEL_M = 0.25
SHELTER_TEXEL_M = 0.5
SHELTER_RADII_M = (1.0, 3.5, 9.0)
HAZE_M = 2600.0
"""Distance over which haze hides all but 1/e."""

_SUN = np.array([3.5, 3.15, 2.6])
_SKY = np.array([0.55, 0.72, 1.02])
_BOUNCE = np.array([0.2, 0.19, 0.15])
_HORIZON = np.array([1.0, 1.2, 1.42])
_ZENITH = np.array([0.22, 0.5, 1.15])
_CLOUD = np.array([1.9, 1.9, 1.9])


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """Light prepared for one crop: a map of what the sun sees, and smoothed maps of how high things are."""

    sun: Float[np.ndarray, "3"]
    """Unit vector towards the sun."""

    shadow_view: ParallelView
    shadow_map: Float[np.ndarray, "h w"]
    """Distance towards the sun of the surface that the sun sees."""

    shelter_bounds: Bounds
    shelter_maps: Float[np.ndarray, "k rows columns"]
    """Mean height of the topmost surface around each place, for each radius."""

    def shade(
        self,
        albedo: Float[np.ndarray, "n 3"],
        points: Float[np.ndarray, "n 3"],
        flat_normal: Float[np.ndarray, "n 3"],
        normal: Float[np.ndarray, "n 3"],
    ) -> Float[np.ndarray, "n 3"]:
        """Light that leaves a matt surface, linear.

        Args:
            albedo: Its colour.
            points: Where.
            flat_normal: Of the surface's real shape, which decides what is turned away from the sun.
            normal: For the shading.
        """
        facing = np.clip(normal @ self.sun, 0, 1) * np.clip(4.0 * (flat_normal @ self.sun) + 0.6, 0, 1)
        lit = self._sunlit(points, flat_normal) * facing
        upward = 0.5 + 0.5 * normal[:, 2]
        openness = self._openness(points, flat_normal)
        sky = upward * openness
        ground = (1.0 - upward) * (0.4 + 0.6 * openness)
        return albedo * (lit[:, None] * _SUN + sky[:, None] * _SKY + ground[:, None] * _BOUNCE * 2.0)

    def _sunlit(self, points: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Share of the sun that is seen, soft over one texel."""
        moved = points + 0.2 * normal
        position = self.shadow_view.to_pixels(moved) - 0.5
        height, width = self.shadow_map.shape
        low = np.floor(position).astype(np.int64)
        share = position - low
        inside = ((low >= 0) & (low < [width - 1, height - 1])).all(axis=1)
        low = np.clip(low, 0, [width - 2, height - 2])
        toward = moved @ self.sun + 0.12
        flat, corner = self.shadow_map.reshape(-1), low[:, 1] * width + low[:, 0]
        seen = [flat[corner + step] <= toward for step in (0, 1, width, width + 1)]
        near = seen[0] + (seen[1] * 1.0 - seen[0]) * share[:, 0]
        far = seen[2] + (seen[3] * 1.0 - seen[2]) * share[:, 0]
        return np.where(inside, near + (far - near) * share[:, 1], 1.0)

    def _openness(self, points: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Share of the sky that is not hidden, from how far the surroundings rise above the point."""
        openness = np.ones(len(points))
        _, height, width = self.shelter_maps.shape
        for radius, heights in zip(SHELTER_RADII_M, self.shelter_maps, strict=True):
            probe = points + 0.7 * radius * normal
            column = ((probe[:, 0] - self.shelter_bounds.x_min) / SHELTER_TEXEL_M).astype(np.int64)
            row = ((probe[:, 1] - self.shelter_bounds.y_min) / SHELTER_TEXEL_M).astype(np.int64)
            around = heights[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            rise = np.clip((around - points[:, 2]) / (1.4 * radius), 0, 1)
            openness *= 1.0 - 0.5 * rise * inside
        return openness


def make_light(
    geometry: Geometry, *, azimuth_deg: float = 215.0, elevation_deg: float = 47.0, bounds: Bounds | None = None
) -> Light:
    """Light for one crop.

    Args:
        geometry: The crop's surface.
        azimuth_deg: Of the sun, clockwise from north (+y).
        elevation_deg: Of the sun above the horizon.
        bounds: Where shadows are needed; the whole crop when not given.
    """
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    level = np.array([np.sin(azimuth), np.cos(azimuth), 0.0])
    sun = level * np.cos(elevation) + np.array([0.0, 0.0, np.sin(elevation)])
    bounds = geometry.crop.bounds if bounds is None else bounds
    right = np.cross([0.0, 0.0, 1.0], sun)
    right /= np.linalg.norm(right)
    # Seen from the sun, right x up = towards the eye, and down is minus up.
    view = _fit_view(geometry, bounds, right, -np.cross(sun, right), sun, SHADOW_TEXEL_M)
    buffer, shift = draw_parallel(geometry, view)
    shadow_map = np.where(buffer.index >= 0, buffer.key + shift, -np.inf).reshape(view.height, view.width)
    return Light(sun, view, shadow_map, bounds, _shelter_maps(geometry, bounds))


def sky_color(rays: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Light of the sky in some unit directions, with thin clouds."""
    up = np.clip(rays[:, 2], 0.0, 1.0)
    color = _HORIZON + (np.sqrt(up))[:, None] * (_ZENITH - _HORIZON)
    flat = rays[:, :2] / np.maximum(rays[:, 2:], 0.05)
    cloud = detail_noise(flat[:, 0], flat[:, 1] * 1.6, wavelength_m=1.1)
    cloud = cloud + 0.5 * detail_noise(flat[:, 0], flat[:, 1], wavelength_m=0.43)
    cloud = cloud + 0.25 * detail_noise(flat[:, 0], flat[:, 1], wavelength_m=0.17)
    share = np.clip(cloud - 0.05, 0, 0.8) * np.clip(6.0 * rays[:, 2] - 0.2, 0, 1)
    return color + share[:, None] * (_CLOUD - color)


def add_haze(color: Float[np.ndarray, "n 3"], distance: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 3"]:
    """Light after some metres of air."""
    clear = np.exp(-distance / HAZE_M)[:, None]
    return color * clear + _HORIZON * (1.0 - clear)


def _fit_view(
    geometry: Geometry,
    bounds: Bounds,
    right: Float[np.ndarray, "3"],
    down: Float[np.ndarray, "3"],
    toward: Float[np.ndarray, "3"],
    pixel_m: float,
) -> ParallelView:
    """A parallel view that holds the ground and everything on it inside a rectangle."""
    z = geometry.triangles[:, :, 2]
    corners = np.array(
        [
            [x, y, h]
            for x in (bounds.x_min, bounds.x_max)
            for y in (bounds.y_min, bounds.y_max)
            for h in (z.min(), z.max())
        ]
    )
    plane = np.stack([corners @ right, corners @ down], axis=1) / pixel_m
    # On whole texels, so that the shadow of a thing is the same in every crop.
    low, high = np.floor(plane.min(axis=0)) - 1, np.ceil(plane.max(axis=0)) + 1
    width, height = (int(side) for side in high - low)
    return ParallelView(
        right=right, down=down, toward=toward, origin=low * pixel_m, pixel_m=pixel_m, width=width, height=height
    )


def _shelter_maps(geometry: Geometry, bounds: Bounds) -> Float[np.ndarray, "k h w"]:
    width = int(np.ceil((bounds.x_max - bounds.x_min) / SHELTER_TEXEL_M))
    height = int(np.ceil((bounds.y_max - bounds.y_min) / SHELTER_TEXEL_M))
    above = ParallelView(
        right=np.array([1.0, 0.0, 0.0]),
        down=np.array([0.0, -1.0, 0.0]),
        toward=np.array([0.0, 0.0, 1.0]),
        origin=np.array([bounds.x_min, -(bounds.y_min + height * SHELTER_TEXEL_M)]),
        pixel_m=SHELTER_TEXEL_M,
        width=width,
        height=height,
    )
    buffer, shift = draw_parallel(geometry, above)
    heights = np.where(buffer.index >= 0, buffer.key + shift, 0.0).reshape(height, width)[::-1]
    sizes = [max(1, round(2 * radius / SHELTER_TEXEL_M)) for radius in SHELTER_RADII_M]
    return np.stack([ndimage.uniform_filter(heights, size, mode="nearest") for size in sizes])
