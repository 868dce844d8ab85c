"""Owns the way from a file to the pixels of a view: decode, mask, shrink, undistort."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from scene3d.cameras.camera import Camera
from scene3d.cameras.models import CameraModel
from scene3d.data.capture import View
from scene3d.data.masks import is_same_shape, read_view_mask
from scene3d.data.undistort import make_remap, undistort
from scene3d.errors import InputError
from scene3d.io.images import read_image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photo:
    """The pixels of a view in 8 bits, as its pinhole camera sees them."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"] | None
    camera: Camera


def read_photo(view: View, image_scale: float) -> Photo:
    """Decode a view at a share of its size.

    The mask joins transparency, the mask file and what the lens did not see. A photograph of another resolution than
    the camera but of the same shape is brought to the camera's.

    Raises:
        InputError: The photograph or its mask cannot be used; names the view.
    """
    try:
        return _read_photo(view, view.camera.scaled(image_scale))
    except InputError as error:
        raise InputError(f"view {view.name!r}: {error.what}", where=error.where, remedy=error.remedy) from error


def shrink(image: UInt8[np.ndarray, "h w 3"], width: int, height: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Antialiased resizing to whole pixels.

    Pillow's Hamming filter: nearly the mean over each new pixel's area, which is what a rendered pixel stands for.
    A box filter cuts at whole source pixels and so shifts edges at fractional ratios; bicubic and Lanczos overshoot at
    edges to values that no scene can have.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.HAMMING))


def shrink_mask(mask: Bool[np.ndarray, "h w"], width: int, height: int) -> Bool[np.ndarray, "h2 w2"]:
    """A new pixel may be used if nearly all it covers may be used."""
    if mask.shape == (height, width):
        return mask
    grey = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    return np.asarray(grey.resize((width, height), Image.Resampling.HAMMING)) > 250


def _read_photo(view: View, camera: Camera) -> Photo:
    decoded = read_image(view.image_path)
    expected = (view.camera if view.lens is None else view.lens).width, (view.lens or view.camera).height
    if not is_same_shape((decoded.width, decoded.height), expected):
        raise InputError(
            f"the photograph is {decoded.width} x {decoded.height} pixels, its camera {expected[0]} x {expected[1]}",
            where=view.image_path,
            remedy="use the photographs that the camera model was made from",
        )
    image, mask = decoded.image, decoded.mask
    if view.mask_path is not None:
        drawn = read_view_mask(view.mask_path, decoded.width, decoded.height)
        mask = drawn if mask is None else mask & drawn
    if view.lens is not None:
        image, mask = _undistorted(image, mask, view.lens, view.camera, camera)
    image = shrink(image, camera.width, camera.height)
    mask = None if mask is None else shrink_mask(mask, camera.width, camera.height)
    return Photo(image=image, mask=None if mask is None or mask.all() else mask, camera=camera)


def _undistorted(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"] | None,
    lens: CameraModel,
    full: Camera,
    target: Camera,
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], Bool[np.ndarray, "h2 w2"] | None]:
    """Undistorted at twice the target's size where the photograph is that large, so that shrinking hides the blur."""
    share = min(1.0, 2 * target.width / full.width)
    width, height = max(1, round(lens.width * share)), max(1, round(lens.height * share))
    image = shrink(image, width, height)
    mask = None if mask is None else shrink_mask(mask, width, height)
    return undistort(image, mask, make_remap(lens.resized(width, height), _model_of(full.scaled(share))))


def _model_of(camera: Camera) -> CameraModel:
    params = tuple(float(camera.K[row, column]) for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return CameraModel(name="PINHOLE", width=camera.width, height=camera.height, params=params)
