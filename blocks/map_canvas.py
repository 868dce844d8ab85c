"""Owns drawing on a map: which ground it shows, and smooth points, lines, dots and labels on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from blocks.cells import GroundFrame

MAP_WIDTH_PX = 1200
MAX_MAP_HEIGHT_PX = 1200
HEADER_PX, FOOTER_PX, BORDER_PX = 48, 48, 24
FINE = 2
"""Everything is drawn this many times as large and scaled down: Pillow draws without smoothing."""

CAMERA_REACH = 0.5
"""The map grows towards cameras outside the cells by at most this share of its longer side."""

PAPER, INK, SOFT_INK = (20, 24, 31), (240, 243, 247), (152, 163, 179)
POINT_BRIGHTNESS = 0.9
LABEL_SIZES_PX = (17, 15, 13, 11)

Color = tuple[int, ...]
"""Red, green, blue, and opacity where it is not full; 0 to 255."""

Place = Float[np.ndarray, "2"]
Places = Float[np.ndarray, "n 2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapWindow:
    """Which ground a map shows: along the axes of a frame, the longer side across."""

    frame: GroundFrame
    """Its u runs to the right of the map, its v upwards."""

    left: float
    top: float
    """u and v of the map's upper left corner."""

    px_per_unit: float
    height_px: int

    @classmethod
    def around(cls, ground: Places, cameras: Float[np.ndarray, "c 3"], frame: GroundFrame) -> "MapWindow":
        """The window that holds some ground, and the cameras as far as they are not far away.

        Args:
            ground: World x and y.
            frame: It may be turned by quarters.
        """
        frame = _landscape(frame, ground)
        corners = frame.from_world(ground)
        low, high = corners.min(0), corners.max(0)
        if len(cameras):
            reach = CAMERA_REACH * (high - low).max()
            places = frame.from_world(cameras).clip(low - reach, high + reach)
            low, high = np.minimum(low, places.min(0)), np.maximum(high, places.max(0))
        width, height = high - low
        scale = float(min((MAP_WIDTH_PX - 2 * BORDER_PX) / width, (MAX_MAP_HEIGHT_PX - 2 * BORDER_PX) / height))
        return cls(
            frame=frame,
            left=float((low[0] + high[0]) / 2 - MAP_WIDTH_PX / scale / 2),
            top=float(high[1]) + BORDER_PX / scale,
            px_per_unit=scale,
            height_px=round(height * scale) + 2 * BORDER_PX,
        )

    def to_px(self, points: Float[np.ndarray, "n d"]) -> Places:
        """Pixels of world points in the whole picture, header included."""
        uv = self.frame.from_world(points)
        across, down = (uv[:, 0] - self.left) * self.px_per_unit, (self.top - uv[:, 1]) * self.px_per_unit
        return np.stack([across, down + HEADER_PX], axis=1)


class MapCanvas:
    """A picture with a map between a header and a footer; all places and sizes are pixels of the finished picture."""

    def __init__(self, map_height_px: int) -> None:
        self.map_height_px = map_height_px
        size = (MAP_WIDTH_PX * FINE, (HEADER_PX + map_height_px + FOOTER_PX) * FINE)
        self._image = Image.new("RGB", size, PAPER)
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def finished(self) -> Image.Image:
        """The picture at its size."""
        return self._image.resize((self._image.width // FINE, self._image.height // FINE), Image.Resampling.BOX)

    def shows(self, places: Places) -> Bool[np.ndarray, "n"]:
        """Which places lie on the map, between header and footer."""
        end = (MAP_WIDTH_PX, HEADER_PX + self.map_height_px)
        return np.asarray(((places >= (0, HEADER_PX)) & (places < end)).all(axis=1))

    def points(self, places: Places, colors: UInt8[np.ndarray, "n 3"]) -> None:
        """A density image of points; those outside the map are left out."""
        inside = self.shows(places)
        if inside.any():
            size_hw = (self.map_height_px, MAP_WIDTH_PX)
            density, side = density_image(places[inside] - (0, HEADER_PX), colors[inside], size_hw)
            image = Image.fromarray(density)
            size = (image.width * side * FINE, image.height * side * FINE)
            end = (MAP_WIDTH_PX * FINE, self.map_height_px * FINE)
            self._image.paste(image.resize(size, Image.Resampling.BICUBIC).crop((0, 0, *end)), (0, HEADER_PX * FINE))

    def polygon(self, corners: Places, fill: Color) -> None:
        """A filled area."""
        self._draw.polygon(_fine(corners), fill=fill)

    def outline(self, corners: Places, color: Color, *, width_px: float, dash_px: float | None = None) -> None:
        """A closed line, whole or dashed."""
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            pieces = 1 if dash_px is None else max(1, round(float(np.linalg.norm(end - start)) / dash_px))
            for piece in range(0, pieces, 2):
                ends = np.stack([start + (end - start) * each / pieces for each in (piece, piece + 1)])
                self.line(ends, color, width_px)

    def line(self, places: Places, color: Color, width_px: float) -> None:
        """An open line."""
        self._draw.line(_fine(places), fill=color, width=round(width_px * FINE), joint="curve")

    def dot(self, place: Place, toward: Place, radius_px: float, fill: Color) -> None:
        """A camera: a dot with a pale rim and a tick in a direction, which may be none."""
        length = float(np.linalg.norm(toward))
        if length > 1e-9:
            ends = place + np.outer((1.0, 2.7), radius_px / length * toward)
            self.line(ends, INK, max(1.0, radius_px / 2.5))
        box = _fine(np.stack([place - radius_px, place + radius_px]))
        self._draw.ellipse(box, fill=fill, outline=INK, width=max(1, round(radius_px * FINE / 3)))

    def label(
        self, corners: Places, choices: Sequence[Sequence[str]], ink: Color, *, avoid: Float[np.ndarray, "c 2"]
    ) -> None:
        """Lines inside an upright area: the first choice that fits in some size; none where the area is too small.

        Args:
            avoid: Places that stay free where the area's upright axis offers a spot.
        """
        room = (np.ptp(corners, axis=0) - 20) * FINE
        for lines, size in ((lines, size) for lines in choices for size in LABEL_SIZES_PX):
            font, text, spacing = _font(size), "\n".join(lines), size * FINE // 4
            box = np.array(self._draw.multiline_textbbox((0, 0), text, font=font, spacing=spacing, align="center"))
            if (box[2:] - box[:2] <= room).all():
                break
        else:
            return
        half = (box[2:] - box[:2]) / FINE / 2 + 6
        middle = _free_place(corners, half, avoid)
        self._draw.rounded_rectangle(_fine(np.stack([middle - half, middle + half])), 5 * FINE, fill=(*PAPER, 215))
        x, y = ((middle - half + 6) * FINE - box[:2]).tolist()
        self._draw.multiline_text((x, y), text, fill=ink, font=font, spacing=spacing, align="center")

    def text(self, place: Place, text: str, ink: Color, *, size_px: int) -> float:
        """A line of text, its left middle at a place; returns where it ends."""
        x, y = (place * FINE).tolist()
        self._draw.text((x, y), text, fill=ink, font=_font(size_px), anchor="lm")
        return float(place[0] + self._draw.textlength(text, font=_font(size_px)) / FINE)


def density_image(
    places: Places, colors: UInt8[np.ndarray, "n 3"], size_hw: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "h w 3"], int]:
    """A coarse picture of points, their mean colour brighter the more of them there are, and the side of its bins.

    Args:
        places: Pixels, all inside the picture.
        size_hw: Of the picture, which the bins cover.
    """
    # Two bins for each point of an even spread: finer ones would leave dust, coarser ones no shape.
    side = int(np.clip(round(math.sqrt(size_hw[0] * size_hw[1] / len(places) / 2)), 2, 6))
    height, width = -(-size_hw[0] // side), -(-size_hw[1] // side)
    across, down = (places // side).astype(np.int64).T
    bins = down * width + across
    counts = np.bincount(bins, minlength=height * width)
    sums = np.stack([np.bincount(bins, weights=colors[:, c], minlength=height * width) for c in range(3)], axis=1)
    full = np.log1p(np.quantile(counts[counts > 0], 0.9))
    share = POINT_BRIGHTNESS * np.clip(0.3 + 0.7 * np.log1p(counts) / full, 0, 1) * (counts > 0)
    mixed = share[:, None] * sums / np.maximum(counts, 1)[:, None] + (1 - share[:, None]) * np.array(PAPER)
    return np.rint(mixed).astype(np.uint8).reshape(height, width, 3), side


def _free_place(area: Places, half: Place, avoid: Float[np.ndarray, "c 2"]) -> Place:
    """Where on the upright axis of an area a box covers the fewest places, near the middle rather than far from it."""
    middle, slack = area.mean(0), max(0.0, float(np.ptp(area[:, 1])) / 2 - float(half[1]) - 12)
    tries = [middle + np.array([0, share * slack]) for share in (0, -0.25, 0.25, -0.5, 0.5, -0.75, 0.75, -1, 1)]
    covered = [int((np.abs(avoid - place) <= half + 6).all(axis=1).sum()) for place in tries]
    return np.asarray(tries[covered.index(min(covered))])


def _landscape(frame: GroundFrame, ground: Places) -> GroundFrame:
    """The frame turned by quarters: the longer side runs to the right, and the world's y rather up than down."""
    extent = np.ptp(frame.from_world(ground), axis=0)
    angle = frame.angle_rad + (math.pi / 2 if extent[1] > extent[0] else 0.0)
    return GroundFrame(center=frame.center, angle_rad=angle if math.cos(angle) > -1e-9 else angle + math.pi)


def _fine(places: Places) -> list[float]:
    return [float(each) for each in (places * FINE).ravel()]


@lru_cache(maxsize=16)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px * FINE)
