"""Owns what a photograph says of itself: camera, focal length, GPS position."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import GPS, IFD, Base

from scene3d.errors import InputError
from scene3d.limits import IMAGE_FORMATS, MAX_IMAGE_PIXELS

FULL_FRAME_WIDTH_MM = 36.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoTags:
    """Size and EXIF facts of one photograph."""

    width: int
    """Stored width, pixels, before any turning."""

    height: int
    orientation: int
    format: str
    mode: str
    camera: str
    """Make and model, empty if unknown."""

    focal_px: float | None
    """Focal length in pixels from the 35 mm equivalent."""

    latitude_deg: float | None
    longitude_deg: float | None
    altitude_m: float | None

    @property
    def has_gps(self) -> bool:
        """Whether a position is given."""
        return self.latitude_deg is not None and self.longitude_deg is not None


def read_photo_tags(path: Path) -> PhotoTags:
    """Reads the header only.

    Raises:
        InputError: The file is no image of an allowed format, or too large.
    """
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            exif = image.getexif()
            size, form, mode = image.size, image.format or "", image.mode
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"not a readable photograph ({error})", where=path, remedy="take it out") from error
    if size[0] * size[1] > MAX_IMAGE_PIXELS:
        raise InputError(f"{size[0]} x {size[1]} pixels are more than {MAX_IMAGE_PIXELS:,}", where=path)
    details, gps = exif.get_ifd(IFD.Exif), exif.get_ifd(IFD.GPSInfo)
    focal_mm = _number(details.get(Base.FocalLengthIn35mmFilm))
    latitude = _degrees(gps, GPS.GPSLatitude, GPS.GPSLatitudeRef, "S", 90.0)
    longitude = _degrees(gps, GPS.GPSLongitude, GPS.GPSLongitudeRef, "W", 180.0)
    altitude = _number(gps.get(GPS.GPSAltitude))
    below_sea = gps.get(GPS.GPSAltitudeRef) in (1, b"\x01")
    camera = f"{exif.get(Base.Make, '')} {exif.get(Base.Model, '')}"
    return PhotoTags(
        width=size[0],
        height=size[1],
        orientation=int(exif.get(Base.Orientation, 1) or 1),
        format=form,
        mode=mode,
        camera=" ".join(camera.replace("\x00", " ").split()),
        focal_px=focal_mm / FULL_FRAME_WIDTH_MM * max(size) if focal_mm and focal_mm > 0 else None,
        latitude_deg=latitude,
        longitude_deg=longitude,
        altitude_m=-altitude if altitude is not None and below_sea else altitude,
    )


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _degrees(gps: Mapping[int, Any], tag: int, reference: int, negative: str, limit: float) -> float | None:
    """Degrees from EXIF's degrees, minutes, seconds; None when absent or impossible."""
    parts = gps.get(tag)
    if not isinstance(parts, tuple) or len(parts) != 3:
        return None
    numbers = [_number(part) for part in parts]
    if any(number is None for number in numbers):
        return None
    degrees = sum((number or 0.0) / 60**power for power, number in enumerate(numbers))
    # Cameras without a fix write exact zeros.
    if degrees == 0 or abs(degrees) > limit:
        return None
    return -degrees if str(gps.get(reference, "")).upper().startswith(negative) else degrees
