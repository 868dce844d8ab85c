"""Owns pictures of a crop: colour, depth and class for each pixel of a camera, and maps from straight above."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from scene3d.cameras.camera import Camera
from scene3d.world.crop import Crop, PartKind
from scene3d.world.light import Light, add_haze, make_light, sky_color
from scene3d.world.patches import Patches, find_patches
from scene3d.world.projection import Geometry, ParallelView, draw_camera, draw_parallel, make_geometry
from scene3d.world.surfaces import SurfacePoints, paint_surface
from scene3d.world.terrain import Bounds

EXPOSURE = 0.62
PATCHES_AT_ONCE = 65_536
"""Patches painted together: few enough that what is computed on the way stays in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Studio:
    """A crop made ready to be photographed many times."""

    geometry: Geometry
    light: Light

    @property
    def crop(self) -> Crop:
        """The crop."""
        return self.geometry.crop


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What each pixel centre sees."""

    depth: Float[np.ndarray, "h w"]
    """Along z, metres; 0 where there is only sky."""

    class_id: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True, eq=False)
class LayoutMap:
    """A crop from straight above; row 0 is the northern edge."""

    height: Float[np.ndarray, "h w"]
    """Of the topmost surface, metres."""

    class_id: UInt8[np.ndarray, "h w"]


def make_studio(crop: Crop, *, azimuth_deg: float = 215.0, elevation_deg: float = 47.0) -> Studio:
    """Prepare a crop's geometry and light.

    Args:
        crop: What to photograph.
        azimuth_deg: Of the sun, clockwise from north (+y).
        elevation_deg: Of the sun above the horizon.
    """
    geometry = make_geometry(crop)
    return Studio(geometry, make_light(geometry, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg))


def photograph(
    studio: Studio, camera: Camera, *, samples_per_side: int = 2, gain: float = 1.0
) -> Float32[np.ndarray, "h w 3"]:
    """A picture, sRGB-encoded 0..1.

    Args:
        studio: The prepared crop.
        camera: Where from.
        samples_per_side: Each pixel is the mean of the square of this.
        gain: Exposure of this picture: light is multiplied by it.
    """
    return encode(_trace_light(studio, camera, samples_per_side) * gain)


def trace(studio: Studio, camera: Camera) -> Trace:
    """Exact depth and class at each pixel's centre."""
    buffer = draw_camera(studio.geometry, camera)
    hit = np.flatnonzero(buffer.index >= 0)
    depth, class_id = np.zeros(len(buffer.index)), np.zeros(len(buffer.index), np.uint8)
    depth[hit] = 1.0 / buffer.key[hit]
    rays = _rays(camera, _pixel_centers(camera)[hit])
    surface = _seen_surface(studio, camera, rays, buffer.key[hit], buffer.index[hit])
    class_id[hit] = paint_surface(studio.crop, surface).class_id
    shape = (camera.height, camera.width)
    return Trace(depth.reshape(shape), class_id.reshape(shape))


def trace_depth(studio: Studio, camera: Camera) -> Float[np.ndarray, "h w"]:
    """Exact depth at each pixel's centre, metres; 0 where there is only sky."""
    buffer = draw_camera(studio.geometry, camera)
    seen = buffer.index >= 0
    depth = np.where(seen, 1.0 / np.where(seen, buffer.key, 1.0), 0.0)
    return depth.reshape(camera.height, camera.width)


def make_layout(geometry: Geometry, bounds: Bounds, pixel_m: float) -> LayoutMap:
    """Height and class of the topmost surface; two maps of the same pixel grid agree where they overlap."""
    width = round((bounds.x_max - bounds.x_min) / pixel_m)
    height = round((bounds.y_max - bounds.y_min) / pixel_m)
    view = ParallelView(
        right=np.array([1.0, 0.0, 0.0]),
        down=np.array([0.0, -1.0, 0.0]),
        toward=np.array([0.0, 0.0, 1.0]),
        origin=np.array([bounds.x_min, -bounds.y_max]),
        pixel_m=pixel_m,
        width=width,
        height=height,
    )
    buffer, shift = draw_parallel(geometry, view)
    row, column = np.divmod(np.arange(width * height), width)
    x, y = bounds.x_min + (column + 0.5) * pixel_m, bounds.y_max - (row + 0.5) * pixel_m
    z = np.where(buffer.index >= 0, buffer.key + shift, 0.0)
    surface = _describe(geometry, buffer.index, np.stack([x, y, z], axis=1), np.full(len(z), pixel_m))
    class_id = paint_surface(geometry.crop, surface).class_id
    return LayoutMap(z.reshape(height, width), class_id.reshape(height, width))


def encode(light: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Linear light to sRGB through a curve with a soft shoulder."""
    exposed = np.maximum(light * EXPOSURE, 0.0)
    # A toe that keeps shadows deep, and a shoulder that keeps white walls from clipping.
    curved = exposed * (exposed + 0.06) / (exposed + 0.12)
    shoulder = curved * (1.0 + curved / 9.0) / (1.0 + curved * 0.5)
    clipped = np.clip(shoulder, 0.0, 1.0).astype(np.float32)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** np.float32(1 / 2.4) - 0.055)


def _trace_light(studio: Studio, camera: Camera, per_side: int) -> Float[np.ndarray, "h w 3"]:
    """Linear light of each pixel."""
    fine = camera.resized(camera.width * per_side, camera.height * per_side)
    patches = find_patches(draw_camera(studio.geometry, fine), per_side)
    light = np.zeros((len(patches.pixel), 3))
    seen, missed = np.flatnonzero(patches.index >= 0), np.flatnonzero(patches.index < 0)
    for start in range(0, len(seen), PATCHES_AT_ONCE):
        some = seen[start : start + PATCHES_AT_ONCE]
        light[some] = _reflected_light(studio, camera, patches, some)
    if len(missed):
        away = _rays(camera, patches.position[missed])
        light[missed] = sky_color(away / np.sqrt((away**2).sum(axis=1, keepdims=True)))
    light *= patches.share[:, None]
    pixels = camera.width * camera.height
    channels = [np.bincount(patches.pixel, light[:, channel], minlength=pixels) for channel in range(3)]
    return np.stack(channels, axis=1).reshape(camera.height, camera.width, 3)


def _reflected_light(
    studio: Studio, camera: Camera, patches: Patches, some: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    rays = _rays(camera, patches.position[some])
    surface = _seen_surface(studio, camera, rays, patches.key[some], patches.index[some])
    surface = replace(surface, footprint=surface.footprint * np.sqrt(patches.share[some]))
    paint = paint_surface(studio.crop, surface)
    color = studio.light.shade(paint.albedo, surface.points, surface.normal, paint.normal)
    shiny = np.flatnonzero(paint.gloss > 0)
    color[shiny] += _mirrored_sky(rays[shiny], paint.normal[shiny], paint.gloss[shiny])
    return add_haze(color, np.sqrt(np.einsum("ij,ij->i", rays, rays)) / patches.key[some])


def _rays(camera: Camera, position: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """World directions with depth one through places of the picture."""
    x = (position[:, 0] - camera.K[0, 2]) / camera.K[0, 0]
    y = (position[:, 1] - camera.K[1, 2]) / camera.K[1, 1]
    return np.stack([x, y, np.ones(len(x))], axis=1) @ camera.cam_from_world[:3, :3]


def _pixel_centers(camera: Camera) -> Float[np.ndarray, "n 2"]:
    row, column = np.divmod(np.arange(camera.width * camera.height), camera.width)
    return np.stack([column, row], axis=1) + 0.5


def _seen_surface(
    studio: Studio,
    camera: Camera,
    rays: Float[np.ndarray, "n 3"],
    key: Float[np.ndarray, "n"],
    index: Int[np.ndarray, "n"],
) -> SurfacePoints:
    """The surface points that rays of a camera end at."""
    depth = 1.0 / key
    points = camera.center + depth[:, None] * rays
    surface = _describe(studio.geometry, index, points, depth / camera.K[0, 0])
    length = np.sqrt(np.einsum("ij,ij->i", rays, rays))
    facing = np.clip(-np.einsum("ij,ij->i", rays, surface.normal) / length, 0.1, 1.0)
    # The geometric mean of the two sides of a slanted patch.
    return replace(surface, footprint=surface.footprint / np.sqrt(facing))


def _describe(
    geometry: Geometry,
    index: Int[np.ndarray, "n"],
    points: Float[np.ndarray, "n 3"],
    footprint: Float[np.ndarray, "n"],
) -> SurfacePoints:
    """Surface points by the buffer index of what was hit."""
    num_triangles = len(geometry.triangles)
    triangle = np.minimum(index, num_triangles - 1)
    normal, kind = geometry.normals[triangle], geometry.kind[triangle]
    owner, face = geometry.owner[triangle], geometry.face[triangle]
    on_ball = np.flatnonzero(index >= num_triangles)
    ball = index[on_ball] - num_triangles
    balls = geometry.crop.balls
    normal[on_ball] = (points[on_ball] - balls.center[ball]) / balls.radius[ball, None]
    kind[on_ball], owner[on_ball], face[on_ball] = PartKind.BALL, ball, 0
    return SurfacePoints(points=points, normal=normal, kind=kind, owner=owner, face=face, footprint=footprint)


def _mirrored_sky(
    rays: Float[np.ndarray, "n 3"], normal: Float[np.ndarray, "n 3"], gloss: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    """Sky seen in a shiny surface, stronger at grazing angles."""
    view = rays / np.sqrt((rays**2).sum(axis=1, keepdims=True))
    facing = np.clip(-(view * normal).sum(axis=1), 0, 1)
    mirrored = view + 2.0 * facing[:, None] * normal
    mirrored[:, 2] = np.abs(mirrored[:, 2])
    fresnel = gloss * (0.35 + 0.65 * (1.0 - facing) ** 3)
    return fresnel[:, None] * sky_color(mirrored)
