"""Owns the measures of blocks that continue known ones: strips, corners and holes."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from generation_places import BATCH, Places, ground_layer, reconstruct

from scene3d.generation.generator import Generator
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.seams import SeamFigures, compare_overlap, mean_figures

METHODS: dict[str, tuple[GrowSettings, bool]] = {
    "independent": (GrowSettings(mode="independent"), False),
    "independent, layout": (GrowSettings(mode="independent"), True),
    "published, resampled 5x, layout": (GrowSettings(mode="published", steps=50, jump_length=5, jump_samples=5), True),
    "published, once, layout": (GrowSettings(mode="published", steps=50, jump_samples=1), True),
    "geometry+strips": (GrowSettings(), False),
    "geometry+strips, layout": (GrowSettings(), True),
    "geometry+strips, layout, 5 steps": (GrowSettings(steps=5), True),
}


def measure_seams(generator: Generator, places: Places) -> dict[str, Any]:
    """A block beside a known one (its decoded overlap), by every method."""
    spec = places.spec
    overlap = spec.block_voxels - spec.stride_voxels
    first, second = places.pairs()
    known_block = reconstruct(generator, first)
    strip = known_block[:, -overlap:]

    def figures(blocks: np.ndarray) -> dict[str, float]:
        return compare(places, strip, blocks[:, :overlap])._asdict()

    record: dict[str, Any] = {
        "pairs": len(first),
        "floor (true neighbour, encoded)": figures(reconstruct(generator, second)),
        "ceiling (random real block)": figures(reconstruct(generator, np.roll(second, 1, axis=0))),
    }
    known = np.zeros(second.shape[:4], bool)
    known[:, :overlap] = True
    values = np.where(known[..., None], np.roll(known_block, -spec.stride_voxels, axis=1), 0.0).astype(np.float32)
    shares = places.shares(spec.stride_voxels, 0, len(first))
    for name, (settings, told) in METHODS.items():
        before, started_s = generator.num_evaluations, time.process_time()
        blocks = draw(generator, values, known, shares if told else np.zeros_like(shares), settings)
        batches = -(-len(first) // BATCH)
        record[name] = figures(blocks) | {
            "evaluations": (generator.num_evaluations - before) / batches,
            "processor_s_per_block": (time.process_time() - started_s) / len(first),
        }
    return record


def measure_shapes(generator: Generator, places: Places) -> dict[str, Any]:
    """Known corners of three neighbours, known blocks with a hole, and blocks of which everything is known."""
    spec = places.spec
    side, overlap = spec.block_voxels, spec.block_voxels - spec.stride_voxels
    _, truth = places.pairs()
    decoded = reconstruct(generator, truth)
    corner, hole, whole = (np.zeros((side, side, side), bool) for _ in range(3))
    corner[:overlap] = corner[:, :overlap] = True
    hole[:] = True
    hole[side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = False
    whole[:] = True
    record: dict[str, Any] = {}
    for name, mask in (("corner", corner), ("hole", hole), ("all known", whole)):
        known = np.broadcast_to(mask, truth.shape[:4]).copy()
        values = np.where(known[..., None], decoded, 0.0).astype(np.float32)
        shares = np.zeros_like(places.shares(0, 0, len(truth)))
        for mode in ("geometry+strips", "independent"):
            blocks = draw(generator, values, known, shares, GrowSettings(mode=mode))
            record[f"{name}, {mode}"] = masked_figures(places, decoded, blocks, mask)
        record[f"{name}, floor"] = masked_figures(places, decoded, reconstruct(generator, decoded), mask)
    return record


def draw(
    generator: Generator, values: np.ndarray, known: np.ndarray, shares: np.ndarray, settings: GrowSettings
) -> np.ndarray:
    """Blocks in batches, each with its own randomness."""
    known = np.zeros_like(known) if settings.mode == "independent" else known
    parts = []
    with torch.no_grad():
        for start in range(0, len(values), BATCH):
            some = slice(start, start + BATCH)
            streams = [f"block {start + n}" for n in range(len(values[some]))]
            parts.append(generator.draw_blocks(values[some], known[some], shares[some], replace(settings), streams))
    return np.concatenate(parts)


def compare(places: Places, first: np.ndarray, second: np.ndarray) -> SeamFigures:
    """Mean figures of overlaps."""
    spec = places.spec
    ground = ground_layer(spec)
    return mean_figures(
        [
            compare_overlap(one[..., 0], other[..., 0], truncation=spec.truncation, ground=ground)
            for one, other in zip(first, second, strict=True)
        ]
    )


def masked_figures(places: Places, wanted: np.ndarray, found: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Mean difference above the ground where it was known, there near the surface, and overlap of matter."""
    spec = places.spec
    layers = slice(ground_layer(spec), None)
    one, other = (part[:, :, :, layers, 0] * spec.truncation for part in (wanted, found))
    inside = np.broadcast_to(mask[:, :, layers], one.shape)
    near = inside & (np.abs(one) < 0.1)
    solid, other_solid = (one < 0) & inside, (other < 0) & inside
    return {
        "difference": float(np.abs(one - other)[inside].mean()),
        "near_surface": float(np.abs(one - other)[near].mean()),
        "solid_iou": float((solid & other_solid).sum() / max((solid | other_solid).sum(), 1)),
    }
