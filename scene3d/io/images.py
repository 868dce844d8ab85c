"""Owns reading photographs and masks of any kind into RGB bytes, and writing pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from scene3d.errors import InputError, LimitExceeded, Scene3dError
from scene3d.io.atomic import replace_file
from scene3d.io.opening import check_plain_file
from scene3d.limits import IMAGE_FORMATS, MAX_IMAGE_FILE_BYTES, MAX_IMAGE_PIXELS

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})
_SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_WRITTEN_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """One photograph, upright, in 8-bit RGB."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"] | None
    """Where the alpha channel is over one half; None when there is none or it hides nothing."""

    @property
    def width(self) -> int:
        """Width of the upright image, pixels."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Height of the upright image, pixels."""
        return int(self.image.shape[0])


def read_image(path: Path) -> DecodedImage:
    """Decode a PNG, JPEG, WebP or TIFF to upright RGB.

    The EXIF turn is applied. Grey, palette, CMYK and bilevel become RGB; 16 bits are scaled by 65535, floating point
    must lie in 0..1; of several frames the first is taken; colour profiles are not applied. The colours below a
    transparent pixel are kept as stored.

    Raises:
        InputError: Not such an image, cut short or damaged.
        LimitExceeded: More pixels or bytes than an image may have.
    """
    with _opened(path) as image:
        image.load()
        return _rgb_and_mask(ImageOps.exif_transpose(image), path)


def read_image_size(path: Path) -> tuple[int, int]:
    """Width and height after the EXIF turn, from the header alone.

    Raises:
        InputError: Not a PNG, JPEG, WebP or TIFF.
        LimitExceeded: More pixels or bytes than an image may have.
    """
    with _opened(path) as image:
        width, height = image.size
        # Pillow reports a TIFF's size already turned.
        turned = image.format != "TIFF" and image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS
        return (height, width) if turned else (width, height)


def read_mask(path: Path) -> Bool[np.ndarray, "h w"]:
    """Decode a mask file: True where any channel is nonzero and the pixel is not transparent.

    Raises:
        InputError: Not an image, cut short or damaged.
        LimitExceeded: More pixels or bytes than an image may have.
    """
    decoded = read_image(path)
    mask = np.asarray(decoded.image.any(axis=2))
    return mask if decoded.mask is None else np.logical_and(mask, decoded.mask)


def write_image(path: Path, image: Float[Tensor, "h w 3"] | Float[np.ndarray, "h w 3"]) -> None:
    """Write an RGB image of values 0..1 as PNG or JPEG, by the suffix; values are clamped and rounded to 8 bits.

    Raises:
        InputError: Another suffix, numbers that are not finite, or a path that cannot be written.
        LimitExceeded: The disk is full.
    """
    image_format = _WRITTEN_FORMATS.get(path.suffix.lower())
    if image_format is None:
        raise InputError(f"cannot write a {path.suffix or 'suffix-less'} image", where=path, remedy="use .png or .jpg")
    values = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    if not np.isfinite(values).all():
        raise InputError("the image holds numbers that are not finite", where=path)
    picture = Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))
    options = {"quality": _JPEG_QUALITY, "subsampling": 0} if image_format == "JPEG" else {}
    with replace_file(path) as temporary:
        picture.save(temporary, image_format, **options)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    check_plain_file(path, max_bytes=MAX_IMAGE_FILE_BYTES)
    try:
        # A stream, not the path: Pillow maps a TIFF given by path into memory and then shears one that lies sideways.
        with path.open("rb") as stream, Image.open(stream, formats=IMAGE_FORMATS) as image:
            _check_pixels(image.width * image.height, path)
            yield image
    except Scene3dError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error)) from error
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to decode this image", where=path) from error
    except UnidentifiedImageError as error:
        remedy = "convert it to one of these"
        raise InputError("is not a PNG, JPEG, WebP or TIFF image", where=path, remedy=remedy) from error
    except Exception as error:  # Decoders raise whatever their parsers stumble over; the person needs one kind.
        remedy = "it is damaged, cut short or of a rare kind; copy or export it again"
        raise InputError(f"cannot be decoded: {error}", where=path, remedy=remedy) from error


def _check_pixels(num_pixels: int, path: Path) -> None:
    if num_pixels > MAX_IMAGE_PIXELS:
        raise _too_large(path, f"has {num_pixels:,} pixels")
    if num_pixels < 1:
        raise InputError("has no pixels", where=path)


def _too_large(path: Path, what: str) -> LimitExceeded:
    return LimitExceeded(f"{what}; at most {MAX_IMAGE_PIXELS:,} are decoded", where=path, remedy="scale the image down")


def _rgb_and_mask(image: Image.Image, path: Path) -> DecodedImage:
    if image.mode in _SIXTEEN_BIT_MODES or image.mode == "F":
        grey = _eight_bits(np.asarray(image), path)
        return DecodedImage(np.repeat(grey[:, :, None], 3, axis=2), None)
    if not (image.has_transparency_data or image.mode == "La"):
        return DecodedImage(np.array(image.convert("RGB")), None)
    rgba = np.asarray((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
    mask = rgba[:, :, 3] > 127
    return DecodedImage(np.ascontiguousarray(rgba[:, :, :3]), None if mask.all() else mask)


def _eight_bits(values: np.ndarray, path: Path) -> UInt8[np.ndarray, "h w"]:
    white = 1.0 if values.dtype.kind == "f" else 65535.0
    if not (values.min() >= 0 and values.max() <= white):  # NaN fails this too
        remedy = "save it with 8 or 16 bits per channel"
        raise InputError(f"holds values outside 0..{white:g}", where=path, remedy=remedy)
    return np.asarray(np.rint(values.astype(np.float32) * (255 / white)), np.uint8)
