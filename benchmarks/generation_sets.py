"""Owns the measures of single blocks: reconstruction, sets of them, layouts, diversity."""

from typing import Any

import numpy as np
from generation_places import Places, ground_layer, reconstruct
from generation_seams import draw

from scene3d.generation.comparison import (
    chamfer,
    f_score,
    field_of_values,
    figures_of_distances,
    pairwise_chamfer,
    sample_shape,
)
from scene3d.generation.generator import Generator
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.layout import layout_shares
from scene3d.generation.layout_match import class_iou, find_raised
from scene3d.generation.site_store import SiteSet
from scene3d.generation.sites import decode_values
from scene3d.seeding import make_numpy_generator
from scene3d.world.classes import SurfaceClass

POINTS = 2048
SET_POINTS = 512
WHOLE_POINTS = 4000
"""Of the whole surface, ground and all."""

F_THRESHOLDS = (0.02, 0.04)
"""In block edges. A voxel of 32 is 0.031."""

RISING = {"building": SurfaceClass.ROOF, "tree": SurfaceClass.TREE}


def shape_points(
    values: np.ndarray, places: Places, count: int, stream: str, *, above: float | None = None
) -> list[np.ndarray | None]:
    """Points on each block's surface above a height, else more than a voxel above ground; None where is nothing."""
    random = make_numpy_generator(0, stream)
    above = 1.0 / places.spec.block_voxels if above is None else above
    return [sample_shape(field_of_values(one, places.spec), count, random, above=above) for one in values]


def measure_reconstruction(generator: Generator, places: Places) -> dict[str, Any]:
    """What encoder and decoder lose, beside sampling the true surface twice."""
    truth = places.blocks(0, places.num_blocks)
    found = reconstruct(generator, truth)
    color = np.abs(found[..., 1:] - truth[..., 1:])[np.abs(truth[..., 0]) < 0.5].mean()
    return {"color_l1": float(color), **compare_shapes(found, truth, places)}


def compare_shapes(found: np.ndarray, truth: np.ndarray, places: Places) -> dict[str, Any]:
    """How far the surfaces of some blocks are from the true ones, beside sampling the true ones twice."""
    ground, unit = ground_layer(places.spec), places.spec.truncation
    real, again = (shape_points(truth, places, POINTS, stream) for stream in ("real", "again"))
    made = shape_points(found, places, POINTS, "made")
    both = [n for n in range(len(truth)) if real[n] is not None and made[n] is not None]
    record: dict[str, Any] = {
        "blocks": len(truth),
        "blocks_with_something_above_ground": sum(one is not None for one in real),
        "tsdf_l1": float(np.abs(found[..., 0] - truth[..., 0]).mean() * unit),
        "above_ground_iou": solid_iou(found, truth, ground + 1),
        "chamfer": mean(chamfer(made[n], real[n]) for n in both),
        "chamfer_floor": mean(chamfer(again[n], real[n]) for n in both),
    }
    whole = [
        [one for one in shape_points(blocks, places, WHOLE_POINTS, stream, above=-1.0) if one is not None]
        for blocks, stream in ((truth, "whole"), (truth, "whole again"), (found, "whole made"))
    ]
    record["chamfer_whole"] = mean(chamfer(one, other) for one, other in zip(whole[2], whole[0], strict=True))
    record["chamfer_whole_floor"] = mean(chamfer(one, other) for one, other in zip(whole[1], whole[0], strict=True))
    record["chamfer_whole_over_floor"] = record["chamfer_whole"] / record["chamfer_whole_floor"]
    for threshold in F_THRESHOLDS:
        record[f"f_score_{threshold}"] = mean(f_score(made[n], real[n], threshold) for n in both)
        record[f"f_score_{threshold}_floor"] = mean(f_score(again[n], real[n], threshold) for n in both)
    record["chamfer_over_floor"] = record["chamfer"] / record["chamfer_floor"]
    return record


def measure_sets(generator: Generator, places: Places) -> dict[str, Any]:
    """Free blocks against real ones, by 10 steps and without any diffusion; and real against other real ones."""
    count, spec = places.num_blocks, places.spec
    shape = (count, spec.block_voxels, spec.block_voxels, spec.block_voxels)
    nothing = np.zeros((*shape, 4), np.float32), np.zeros(shape, bool)
    shares = np.zeros((count, len(spec.classes), spec.code_side, spec.code_side), np.float32)
    made = draw(generator, *nothing, shares, GrowSettings(seed=7))
    real, other = places.blocks(0, count), places.blocks(count, count)
    sets = {name: keep(shape_points(one, places, SET_POINTS, name)) for name, one in
            (("made", made), ("real", real), ("other", other), ("noise", draw_noise(generator, count)))}  # fmt: skip
    size = min(len(one) for one in sets.values())
    sets = {name: one[:size] for name, one in sets.items()}
    within_real = pairwise_chamfer(sets["real"], sets["real"])
    record: dict[str, Any] = {"blocks": count, "compared": size, "ground_is_flat": flat_share(made, places),
                              "ground_is_flat_real": flat_share(real, places)}  # fmt: skip
    for name, title in (("made", "made"), ("other", "real against real"), ("noise", "codes without diffusion")):
        within, between = pairwise_chamfer(sets[name], sets[name]), pairwise_chamfer(sets[name], sets["real"])
        record[title] = figures_of_distances(within, between, within_real)._asdict()
    return record


def measure_layout(generator: Generator, places: Places) -> dict[str, Any]:
    """How far blocks follow maps of real ones, beside the real ones after the auto-encoder and free blocks."""
    count, spec = places.num_pairs, places.spec
    truth = np.stack([places.window(n, 0, 0) for n in range(count)])
    layouts = [places.layout(n, 0, 0) for n in range(count)]
    shares = places.shares(0, 0, count)
    nothing = np.zeros_like(truth), np.zeros(truth.shape[:4], bool)
    sets = {
        "with layout": draw(generator, *nothing, shares, GrowSettings()),
        "with layout, guidance 2": draw(generator, *nothing, shares, GrowSettings(guidance=2.0)),
        "without": draw(generator, *nothing, np.zeros_like(shares), GrowSettings()),
        "auto-encoded truth": reconstruct(generator, truth),
        "truth": truth,
    }
    record: dict[str, Any] = {name: layout_figures(one, layouts, spec) for name, one in sets.items()}
    record["building painted on open land rises"] = painted_share(generator, places)
    return record


def painted_share(generator: Generator, places: Places) -> float:
    """Share of seeds in which a building painted into a meadow raises the ground there more than elsewhere."""
    spec, count = places.spec, 20
    side, middle = spec.block_voxels, slice(spec.block_voxels // 3, 2 * spec.block_voxels // 3)
    layout = np.full((side, side), int(SurfaceClass.GRASS))
    painted = layout.copy()
    painted[middle, middle] = int(SurfaceClass.ROOF)
    shape = (count, side, side, side)
    nothing = np.zeros((*shape, 4), np.float32), np.zeros(shape, bool)
    rises = []
    for one in (layout, painted):
        shares = np.repeat(layout_shares(one, len(spec.classes))[None], count, axis=0)
        blocks = draw(generator, *nothing, shares, GrowSettings(seed=11))
        ground = ground_layer(spec)
        rises.append([find_raised(block[..., 0], ground)[middle, middle].mean() for block in blocks])
    return float((np.array(rises[1]) > np.array(rises[0])).mean())


def measure_diversity(generator: Generator, places: Places) -> dict[str, Any]:
    """How different two completions of the same strip are, beside two real blocks."""
    spec = places.spec
    overlap, ground, unit = spec.block_voxels - spec.stride_voxels, ground_layer(spec), spec.truncation
    first, second = places.pairs()
    known = np.zeros(second.shape[:4], bool)
    known[:, :overlap] = True
    values = np.where(known[..., None], second, 0.0).astype(np.float32)
    shares = np.zeros_like(places.shares(0, 0, len(first)))
    one, other = (draw(generator, values, known, shares, GrowSettings(seed=seed)) for seed in (1, 2))
    free = (slice(None), slice(overlap, None), slice(None), slice(ground, None), 0)
    real = np.abs(second[free] - np.roll(second, 1, axis=0)[free]).mean() * unit
    made = np.abs(one[free] - other[free]).mean() * unit
    strip = (slice(None), slice(0, overlap), slice(None), slice(ground, None), 0)
    return {
        "free_part": float(made),
        "known_strip": float(np.abs(one[strip] - other[strip]).mean() * unit),
        "two_real_blocks": float(real),
        "free_over_real": float(made / real),
    }


def measure_memorisation(generator: Generator, places: Places, training: SiteSet) -> dict[str, Any]:
    """Distance of free blocks to the nearest block of the training's sites, beside that of real blocks it never saw."""
    count, spec = places.num_blocks, places.spec
    shape = (count, spec.block_voxels, spec.block_voxels, spec.block_voxels)
    nothing = np.zeros((*shape, 4), np.float32), np.zeros(shape, bool)
    shares = np.zeros((count, len(spec.classes), spec.code_side, spec.code_side), np.float32)
    made = draw(generator, *nothing, shares, GrowSettings(seed=7))
    seen = Places(spec, decode_values(training.tsdf.numpy(), training.rgb.numpy()), places.class_id, 0, 0)
    shown = keep(shape_points(seen.blocks(0, 4 * len(seen.values)), places, SET_POINTS, "seen"))
    figures = {}
    for name, blocks in (("made", made), ("held_out", places.blocks(0, count))):
        points = keep(shape_points(blocks, places, SET_POINTS, name))
        figures[name] = float(pairwise_chamfer(points, shown).min(axis=1).mean())
    return figures | {"made_over_held_out": figures["made"] / figures["held_out"], "training_blocks": len(shown)}


def draw_noise(generator: Generator, count: int) -> np.ndarray:
    """Blocks of codes that are plain noise."""
    import torch

    sizes = generator.model.config.sizes
    side = generator.spec.code_side
    noise = torch.randn((count, 3, sizes.code_channels, side, side), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return generator.decode(generator.model.denormalise(noise))


def layout_figures(blocks: np.ndarray, layouts: list[np.ndarray], spec: Any) -> dict[str, float]:
    """Mean overlap of what rises with what the map wants, by class."""
    ground = ground_layer(spec)
    record = {}
    for name, wanted in RISING.items():
        others = tuple(int(one) for one in (*RISING.values(), SurfaceClass.OBJECT, SurfaceClass.CAR, SurfaceClass.WALL)
                       if one != wanted)  # fmt: skip
        found = [class_iou(find_raised(block[..., 0], ground), layout, int(wanted), others)
                 for block, layout in zip(blocks, layouts, strict=True)]  # fmt: skip
        record[name] = float(np.nanmean(found))
    return record


def flat_share(blocks: np.ndarray, places: Places) -> float:
    """Share of blocks whose lowest free layer lies within a voxel of the ground over most columns."""
    ground = ground_layer(places.spec)
    below = blocks[:, :, :, ground - 2, 0] < 0
    return float((below.mean(axis=(1, 2)) > 0.95).mean())


def solid_iou(found: np.ndarray, wanted: np.ndarray, layer: int) -> float:
    """Matter of both over matter of either, from a layer upwards."""
    one, other = found[:, :, :, layer:, 0] < 0, wanted[:, :, :, layer:, 0] < 0
    return float((one & other).sum() / max((one | other).sum(), 1))


def keep(shapes: list[np.ndarray | None]) -> list[np.ndarray]:
    """Those that are there."""
    return [shape for shape in shapes if shape is not None]


def mean(values: Any) -> float:
    """Of an iterable."""
    return float(np.mean(list(values)))
