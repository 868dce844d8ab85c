"""Owns which splats touch which tile of the image, for the tiled blend."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rasterizer.backends.reference.composite import Stack
from rasterizer.constants import ALPHA_MIN


@dataclass(frozen=True, slots=True)
class Grid:
    """The tiles of an image; those at the right and bottom may reach over its border."""

    width: int
    height: int
    tile_size: int

    @property
    def columns(self) -> int:
        return math.ceil(self.width / self.tile_size)

    @property
    def rows(self) -> int:
        return math.ceil(self.height / self.tile_size)

    def pixels(self, tiles: Int64[Tensor, "b"], like: Tensor) -> Float[Tensor, "b p 2"]:
        """Centres of the pixels of some tiles, row by row, in the dtype and on the device of `like`."""
        side = torch.arange(self.tile_size, device=tiles.device)
        rows, columns = torch.meshgrid(side, side, indexing="ij")
        within = torch.stack([columns, rows], dim=-1).reshape(1, -1, 2)
        corner = torch.stack([tiles % self.columns, tiles // self.columns], dim=-1)[:, None] * self.tile_size
        return (corner + within).to(like) + 0.5

    def inside(self, pixels: Float[Tensor, "b p 2"]) -> Bool[Tensor, "b p"]:
        """Which pixel centres lie in the image."""
        return (pixels[..., 0] < self.width) & (pixels[..., 1] < self.height)

    def to_image(self, tiles: Float[Tensor, "t p d"]) -> Float[Tensor, "h w d"]:
        """Joins all tiles and cuts off what reaches over the border."""
        side = self.tile_size
        blocks = tiles.reshape(self.rows, self.columns, side, side, -1).transpose(1, 2)
        image = blocks.reshape(self.rows * side, self.columns * side, tiles.shape[2])
        return image[: self.height, : self.width]


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Splats per tile: tile t holds `ids[starts[t] : starts[t] + counts[t]]`, nearest first; the last id is spare."""

    ids: Int64[Tensor, "i"]
    starts: Int64[Tensor, "t"]
    counts: Int64[Tensor, "t"]


@torch.no_grad()
def bin_splats(stack: Stack, grid: Grid) -> Bins:
    """Lists, for each tile, the splats whose bounding box meets it."""
    low, high = _tile_boxes(stack, grid)  # [m, 2] each, high exclusive
    spans = (high - low).clamp_min(0)
    per_splat = spans.prod(dim=1)
    splats = torch.arange(len(per_splat), device=low.device).repeat_interleave(per_splat)
    within = torch.arange(len(splats), device=low.device) - (per_splat.cumsum(0) - per_splat)[splats]
    columns = low[splats, 0] + within % spans[splats, 0]
    rows = low[splats, 1] + within // spans[splats, 0]
    # Stable, so that the depth order of the splats survives inside each tile.
    tiles, order = (rows * grid.columns + columns).sort(stable=True)
    counts = torch.bincount(tiles, minlength=grid.columns * grid.rows)
    return Bins(ids=torch.nn.functional.pad(splats[order], (0, 1)), starts=counts.cumsum(0) - counts, counts=counts)


def group_tiles(
    bins: Bins, max_cells: int, max_length: int, tile_pixels: int
) -> Iterator[tuple[Int64[Tensor, "b"], int]]:
    """Yields tiles of similar length together, fullest first, with the longest length among them.

    Tiles times pixels times length, of which no more than `max_length` is walked at once, stay within `max_cells`.
    At least one tile is yielded, be it empty, so that an image of nothing still has its (zero) derivatives.
    """
    counts, tiles = bins.counts.sort(descending=True, stable=True)
    occupied = max(1, int((counts > 0).sum()))
    start = 0
    while start < occupied:
        longest = max(1, int(counts[start]))
        size = max(1, max_cells // (min(longest, max_length) * tile_pixels))
        yield tiles[start : min(start + size, occupied)], longest
        start += size


def padded_ids(bins: Bins, tiles: Int64[Tensor, "b"], start: int, stop: int, padding: int) -> Int64[Tensor, "b k"]:
    """Places `start` to `stop` of the lists of some tiles, short lists filled up with `padding`."""
    place = torch.arange(start, stop, device=tiles.device)
    present = place < bins.counts[tiles, None]
    slots = torch.where(present, bins.starts[tiles, None] + place, 0)
    return torch.where(present, bins.ids[slots], padding)


def _tile_boxes(stack: Stack, grid: Grid) -> tuple[Int64[Tensor, "m 2"], Int64[Tensor, "m 2"]]:
    """The tiles that hold every pixel where a splat reaches ALPHA_MIN (as in StopThePop, appendix B.2)."""
    xx, xy, yy = stack.conics.double().unbind(dim=1)
    variances = torch.stack([yy, xx], dim=1) / (xx * yy - xy * xy)[:, None]
    reach = torch.sqrt(2 * torch.log(stack.opacities.double() / ALPHA_MIN)[:, None] * variances)
    # A conic that rounding made indefinite has no box: NaN stands for the whole image there. A splat too faint
    # to show anywhere has none either, and gets no tile.
    reach = torch.where(reach.isfinite(), reach, math.inf) * (1 + 1e-4) + 1e-3
    center = stack.means2d.double()
    limit = torch.tensor([grid.columns, grid.rows], dtype=torch.float64, device=center.device)
    low = ((center - reach) / grid.tile_size).floor().clamp_min(0).minimum(limit)
    high = ((center + reach) / grid.tile_size).ceil().clamp_min(0).minimum(limit)
    shown = (stack.opacities >= ALPHA_MIN)[:, None]
    return torch.where(shown, low, 0).long(), torch.where(shown, high, 0).long()
