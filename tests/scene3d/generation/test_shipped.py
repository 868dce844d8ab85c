"""What the generator that comes with the program can do, on places that it never saw.

The limits leave room to what `benchmarks/generation.py` measures on more places; docs/generation.md has its figures.
"""

from functools import cache

import numpy as np
import pytest
import torch

from scene3d.generation.generator import Generator, make_canvas
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.layout import layout_shares
from scene3d.generation.layout_match import class_iou, find_raised
from scene3d.generation.model_files import PACKAGED, read_model
from scene3d.generation.seams import boundary_edges, compare_overlap, cut_contrast, mean_figures
from scene3d.generation.sites import Site, cut_world_site
from scene3d.geometry.isosurface import extract_mesh
from scene3d.world.classes import SurfaceClass
from scene3d.world.crop import World

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PACKAGED.is_file(), reason="the program came without a trained generator"),
]
PAIRS = 6


@cache
def shipped() -> Generator:
    return Generator.load()


@cache
def sites() -> list[Site]:
    """Two neighbouring blocks each, in towns of other seeds than training's."""
    spec = shipped().spec
    columns = (spec.stride_voxels + spec.block_voxels, spec.block_voxels)
    worlds = [World(770_000 + number) for number in range(PAIRS)]
    return [cut_world_site(spec, world, world.find_town(), columns=columns) for world in worlds]


def windows(first: int) -> np.ndarray:
    side = shipped().spec.block_voxels
    return np.stack([site.values()[first : first + side] for site in sites()])


def layouts(first: int) -> list[np.ndarray]:
    side = shipped().spec.block_voxels
    return [site.class_id[first : first + side].astype(np.int64) for site in sites()]


@cache
def decoded(first: int) -> np.ndarray:
    with torch.no_grad():
        return shipped().decode(shipped().encode(windows(first)))


def ground() -> int:
    spec = shipped().spec
    return round(-spec.height_range[0] * spec.block_voxels)


def draw(values: np.ndarray, known: np.ndarray, shares: np.ndarray, settings: GrowSettings) -> np.ndarray:
    streams = [str(number) for number in range(len(values))]
    with torch.no_grad():
        return shipped().draw_blocks(values.astype(np.float32), known, shares.astype(np.float32), settings, streams)


def shares_of(maps: list[np.ndarray]) -> np.ndarray:
    return np.stack([layout_shares(one, len(shipped().spec.classes)) for one in maps])


def neighbours(settings: GrowSettings) -> np.ndarray:
    """Blocks beside the decoded first ones, which they know by the overlap."""
    spec = shipped().spec
    overlap = spec.block_voxels - spec.stride_voxels
    known = np.zeros(windows(0).shape[:4], bool)
    known[:, :overlap] = True
    values = np.where(known[..., None], np.roll(decoded(0), -spec.stride_voxels, axis=1), 0.0)
    if settings.mode == "independent":
        known[:] = False
    return draw(values, known, np.zeros_like(shares_of(layouts(0))), settings)


def seam(second: np.ndarray):
    spec = shipped().spec
    overlap = spec.block_voxels - spec.stride_voxels
    return mean_figures(
        [
            compare_overlap(
                one[-overlap:, ..., 0], other[:overlap, ..., 0], truncation=spec.truncation, ground=ground()
            )
            for one, other in zip(decoded(0), second, strict=True)
        ]
    )


def above_ground_iou(found: np.ndarray, wanted: np.ndarray) -> float:
    one, other = (part[..., ground() + 1 :, 0] < 0 for part in (found, wanted))
    return float((one & other).sum() / (one | other).sum())


def test_it_fits_into_the_program_and_says_how_it_was_made():
    assert PACKAGED.with_suffix(".safetensors").stat().st_size <= 8_000_000
    file = read_model(PACKAGED)
    assert file.training["data"] == "world"
    assert all(value.isfinite().all() for value in file.tensors.values())


def test_blocks_come_back_from_their_codes():
    # 0.83 over the benchmark's 32 blocks; these few hold little, and little things are what is lost.
    assert above_ground_iou(decoded(0), windows(0)) >= 0.7


def test_a_grown_neighbour_continues_a_known_block():
    floor, grown, free = (seam(one) for one in (decoded(shipped().spec.stride_voxels), neighbours(GrowSettings()),
                                                neighbours(GrowSettings(mode="independent"))))  # fmt: skip
    assert grown.difference <= 0.35 * free.difference
    assert grown.difference <= 1.5 * floor.difference
    # Near the surface and at the cut 1.1 and 1.2 times over the benchmark's places; here 1.29 and 1.24.
    assert grown.near_surface <= 1.4 * floor.near_surface
    assert grown.cut_jump <= 1.4 * floor.cut_jump
    # An overlap of 0.75 is asked for; encoding the true neighbour gives 0.70 there and 0.63 here.
    assert grown.solid_iou >= 0.75 * floor.solid_iou
    assert grown.solid_iou >= 5.0 * free.solid_iou


def test_five_steps_are_enough_for_the_seam():
    assert seam(neighbours(GrowSettings(steps=5))).difference <= 1.3 * seam(neighbours(GrowSettings())).difference


def test_a_known_block_comes_back():
    known = np.ones(windows(0).shape[:4], bool)
    back = draw(decoded(0), known, np.zeros_like(shares_of(layouts(0))), GrowSettings())
    with torch.no_grad():
        floor = np.abs(shipped().decode(shipped().encode(decoded(0))) - decoded(0))[..., 0].mean()
    assert np.abs(back - decoded(0))[..., 0].mean() <= 1.2 * floor


def test_buildings_stand_where_the_layout_wants_them():
    nothing = np.zeros(windows(0).shape), np.zeros(windows(0).shape[:4], bool)
    shares = shares_of(layouts(0))
    others = (int(SurfaceClass.TREE), int(SurfaceClass.OBJECT), int(SurfaceClass.CAR), int(SurfaceClass.WALL))

    def match(blocks: np.ndarray) -> float:
        return float(np.nanmean([class_iou(find_raised(block[..., 0], ground()), layout, int(SurfaceClass.ROOF), others)
                                 for block, layout in zip(blocks, layouts(0), strict=True)]))  # fmt: skip

    told, free = (match(draw(*nothing, one, GrowSettings())) for one in (shares, np.zeros_like(shares)))
    # 0.87 over the benchmark's places; here 0.69.
    assert told >= 0.6
    assert told >= 3.0 * free


def test_two_completions_agree_where_known_and_differ_where_not():
    spec = shipped().spec
    overlap = spec.block_voxels - spec.stride_voxels
    one, other = (neighbours(GrowSettings(seed=seed))[..., ground() :, 0] for seed in (1, 2))
    difference = np.abs(one - other)
    assert difference[:, overlap:].mean() > 2.0 * difference[:, :overlap].mean()


def test_a_grown_place_is_one_closed_surface():
    spec = shipped().spec
    canvas = make_canvas(spec, (2, 2))
    cells = [(i, j) for i in range(2) for j in range(2)]
    grown = shipped().grow(canvas, cells, GrowSettings(seed=2, steps=5))
    mesh = extract_mesh(grown)
    low, high = grown.origin + 1.5 * grown.voxel_size, grown.origin + (np.array(grown.shape) - 1.5) * grown.voxel_size
    assert boundary_edges(mesh, low, high) == 0
    cuts = np.array([spec.stride_voxels, spec.block_voxels])
    assert max(cut_contrast(grown.sdf, cuts, axis=axis, ground=ground()) for axis in (0, 1)) <= 1.5
