"""Owns the lens models of the COLMAP family: names, parameters, projection, and the pinhole that replaces them."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from scene3d.cameras.distortion import Distortion
from scene3d.errors import InputError

PARAMETER_NAMES: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "THIN_PRISM_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "SIMPLE_FISHEYE": ("f", "cx", "cy"),
    "FISHEYE": ("fx", "fy", "cx", "cy"),
}
"""Parameter names of each supported model, in COLMAP's order."""

MAX_HALF_FIELD_DEG = 60.0
"""Widest half angle an undistorted image keeps to each side; past it a pinhole only stretches its borders."""

MAX_GROWTH = 2.0
"""An undistorted side is at most this many times the photograph's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraModel:
    """A lens as calibrated: COLMAP's model name, image size and parameter list."""

    name: str
    width: int
    height: int
    params: tuple[float, ...]

    def __post_init__(self) -> None:
        names = PARAMETER_NAMES.get(self.name)
        if names is None:
            raise InputError(
                f"camera model {self.name!r} is not supported (known: {', '.join(PARAMETER_NAMES)})",
                remedy="undistort the photographs with COLMAP's image_undistorter, or calibrate with a known model",
            )
        if len(self.params) != len(names):
            raise InputError(f"camera model {self.name} takes {len(names)} parameters, {len(self.params)} are given")
        if self.width < 1 or self.height < 1:
            raise InputError(f"a camera's image is {self.width} x {self.height} pixels")
        if not np.isfinite(self.params).all():
            raise InputError(f"camera model {self.name} holds parameters that are not finite: {self.params}")
        if min(self.focal) <= 0:
            raise InputError(f"a camera's focal lengths are {self.focal}; they must be positive")

    def parameter(self, name: str) -> float:
        """The value of a named parameter; zero where the model has none of that name."""
        names = PARAMETER_NAMES[self.name]
        return float(self.params[names.index(name)]) if name in names else 0.0

    @property
    def focal(self) -> tuple[float, float]:
        """Focal lengths (fx, fy), pixels."""
        first = float(self.params[0])
        return (first, first) if PARAMETER_NAMES[self.name][0] == "f" else (first, float(self.params[1]))

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """Intrinsic matrix, without the distortion."""
        K = np.eye(3)
        K[0, 0], K[1, 1] = self.focal
        K[0, 2], K[1, 2] = self.parameter("cx"), self.parameter("cy")
        return K

    @property
    def distortion(self) -> Distortion:
        """What the lens does between the ideal image plane and the sensor."""
        fisheye = "FISHEYE" in self.name
        radial = [self.parameter(f"k{i}") for i in range(1, 7)]
        rational = self.name == "FULL_OPENCV"
        return Distortion(
            fisheye=fisheye,
            numerator=tuple(radial[:3] if rational else radial[:4]),
            denominator=tuple(radial[3:]) if rational else (),
            tangential=(self.parameter("p1"), self.parameter("p2")),
            prism=(self.parameter("sx1"), self.parameter("sy1")),
        )

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight: a perspective model whose distortion is zero."""
        return self.distortion.is_identity

    def resized(self, width: int, height: int) -> "CameraModel":
        """The same lens in front of an image of another size; a single focal length needs an unchanged aspect."""
        x_ratio, y_ratio = width / self.width, height / self.height
        # The models with one focal length cannot hold two; the mean is exact when the aspect is kept to a pixel.
        factors = {"f": (x_ratio + y_ratio) / 2, "fx": x_ratio, "fy": y_ratio, "cx": x_ratio, "cy": y_ratio}
        names = PARAMETER_NAMES[self.name]
        params = tuple(value * factors.get(name, 1.0) for name, value in zip(names, self.params, strict=True))
        return replace(self, width=width, height=height, params=params)


def project(model: CameraModel, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Pixels of points given in the camera's frame.

    A point the lens cannot see (behind a perspective camera, or past the angle at which the distortion polynomial turns
    back) gives NaN: without that test such points would land inside the image as ghosts.

    Args:
        points: OpenCV camera coordinates (+z forward); their length does not matter.
    """
    K = model.K
    return model.distortion.plane_from_rays(points) @ K[:2, :2].T + K[:2, 2]


def unproject(model: CameraModel, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Unit viewing directions of pixels in the camera's frame; NaN where no direction maps to the pixel."""
    K = model.K
    return model.distortion.rays_from_plane((pixels - K[:2, 2]) / np.diagonal(K)[:2])


def pinhole_of(model: CameraModel) -> CameraModel:
    """The undistorted camera that replaces a lens, as a PINHOLE model.

    The focal lengths stay, so that the image centre keeps its resolution, and so does the optical axis. The borders are
    the largest that leave no blank pixel, as COLMAP's undistorter has them with `blank_pixels=0`, but each side on its
    own: the principal point follows from the borders and need not be central. Fields wider than `MAX_HALF_FIELD_DEG`
    are cut there; corners of a wide lens that still see nothing are for the validity mask. A lens without distortion
    keeps its size and principal point exactly.
    """
    fx, fy = model.focal
    if model.is_pinhole:
        params = (fx, fy, model.parameter("cx"), model.parameter("cy"))
        return CameraModel(name="PINHOLE", width=model.width, height=model.height, params=params)
    left, right, top, bottom = _inner_borders(model)
    width, x_offset = _whole_pixels(left * fx, right * fx, MAX_GROWTH * model.width)
    height, y_offset = _whole_pixels(top * fy, bottom * fy, MAX_GROWTH * model.height)
    return CameraModel(name="PINHOLE", width=width, height=height, params=(fx, fy, x_offset, y_offset))


@lru_cache(maxsize=1024)
def _inner_borders(model: CameraModel) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of the largest blank-free rectangle on the plane z = 1, bounded in angle."""
    xs, ys = np.arange(model.width) + 0.5, np.arange(model.height) + 0.5
    limit = np.tan(np.radians(MAX_HALF_FIELD_DEG))

    def on_plane(x: float | Float[np.ndarray, "n"], y: float | Float[np.ndarray, "n"]) -> Float[np.ndarray, "m 2"]:
        rays = unproject(model, np.stack(np.broadcast_arrays(x, y), axis=-1))
        # A border pixel without a forward direction lies outside the field; it does not limit the rectangle.
        rays = rays[rays[:, 2] > 1e-6]
        return rays[:, :2] / rays[:, 2:]

    left = np.max(on_plane(0.5, ys)[:, 0], initial=-limit)
    right = np.min(on_plane(model.width - 0.5, ys)[:, 0], initial=limit)
    top = np.max(on_plane(xs, 0.5)[:, 1], initial=-limit)
    bottom = np.min(on_plane(xs, model.height - 0.5)[:, 1], initial=limit)
    if left > right or top > bottom:
        raise InputError(
            f"the distortion of this {model.name} camera folds the whole image: {model.params}",
            remedy="calibrate again; the parameters do not describe a lens",
        )
    return float(left), float(right), float(top), float(bottom)


def _whole_pixels(low_px: float, high_px: float, max_side: float) -> tuple[int, float]:
    """Number of pixels whose centres fit between two borders relative to the axis, and where the axis then lies."""
    # A millionth of a pixel of slack: rounding must not cost a row.
    fitting = int(np.floor(high_px - low_px + 1e-6)) + 1
    side = min(fitting, int(max_side))
    cut = (high_px - low_px) - (side - 1)
    return side, 0.5 - (low_px + cut / 2)
