"""Owns the real blocks that a generator is measured against: neighbouring pairs on places that training never saw."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from scene3d.generation.generator import Generator
from scene3d.generation.layout import layout_shares
from scene3d.generation.site_sources import find_source, load_sites
from scene3d.generation.sites import decode_values
from scene3d.generation.spec import GeneratorSpec

BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Values and class maps of whole sites, in the world's axes."""

    spec: GeneratorSpec
    values: Float32[np.ndarray, "n x y z 4"]
    class_id: Int[np.ndarray, "n x y"]
    num_pairs: int
    num_blocks: int

    def window(self, index: int, x: int, y: int) -> Float32[np.ndarray, "k k k 4"]:
        """The block of one site that begins at a column."""
        side = self.spec.block_voxels
        return self.values[index, x : x + side, y : y + side]

    def layout(self, index: int, x: int, y: int) -> Int[np.ndarray, "k k"]:
        """The class map of that block."""
        side = self.spec.block_voxels
        return self.class_id[index, x : x + side, y : y + side]

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The first blocks of all pairs, and their neighbours in x."""
        shift = self.spec.stride_voxels
        first = np.stack([self.window(n, 0, 0) for n in range(self.num_pairs)])
        return first, np.stack([self.window(n, shift, 0) for n in range(self.num_pairs)])

    def shares(self, x: int, y: int, count: int) -> Float32[np.ndarray, "n c s s"]:
        """Layouts of one window of many sites, as the denoiser takes them."""
        classes = len(self.spec.classes)
        return np.stack([layout_shares(self.layout(n, x, y), classes) for n in range(count)])

    def blocks(self, start: int, count: int) -> np.ndarray:
        """Blocks from different corners of the sites, none of them twice and none overlapping another."""
        last = self.values.shape[1] - self.spec.block_voxels
        corners = [(0, 0), (last, 0), (0, last), (last, last)]
        chosen = range(start, start + count)
        return np.stack([self.window(n // 4 % len(self.values), *corners[n % 4]) for n in chosen])


def make_places(spec: GeneratorSpec, num_pairs: int, num_blocks: int, seed: int, cache: Path) -> Places:
    """Enough sites for the pairs, and for two sets of blocks."""
    count = max(num_pairs, -(-2 * num_blocks // 4))  # two sets, of four blocks from each site
    sites = load_sites([find_source("world", spec, seed)], spec, count, cache=cache)
    values = decode_values(sites.tsdf.numpy(), sites.rgb.numpy())
    return Places(spec, values, sites.class_id.numpy().astype(np.int64), num_pairs, num_blocks)


def reconstruct(generator: Generator, values: np.ndarray) -> np.ndarray:
    """Blocks after encoder and decoder."""
    import torch

    with torch.no_grad():
        parts = [
            generator.decode(generator.encode(values[start : start + BATCH])) for start in range(0, len(values), BATCH)
        ]
    return np.concatenate(parts)


def ground_layer(spec: GeneratorSpec) -> int:
    """First layer of voxels above the ground, in the world's axes."""
    return round(-spec.height_range[0] * spec.block_voxels)
