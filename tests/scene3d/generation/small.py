"""The small generator and the sites that the tests of generation share."""

from functools import cache

import numpy as np
import torch

from scene3d.generation.generator import Generator
from scene3d.generation.palette import default_classes
from scene3d.generation.site_store import SiteSet, stack_sites
from scene3d.generation.sites import Site, cut_world_site, make_site, site_columns
from scene3d.generation.spec import GeneratorSpec
from scene3d.generation.train_settings import TrainSettings, make_preset
from scene3d.world.crop import World

SEED = 3


def nano() -> TrainSettings:
    return make_preset("nano", default_classes())


def nano_spec() -> GeneratorSpec:
    return nano().config.spec


@cache
def untrained() -> Generator:
    return Generator.untrained(nano().config, 1)


@cache
def town_site() -> Site:
    """A site in the middle of a town."""
    world = World(SEED)
    x, y = world.find_town()
    return cut_world_site(nano_spec(), world, (x, y))


def made_up_site(seed: int) -> Site:
    """Flat ground with boxes on it, made in no time."""
    spec, random = nano_spec(), np.random.default_rng(seed)
    side, high = site_columns(spec), spec.block_voxels
    ground = round(-spec.height_range[0] * high)
    solid = np.zeros((side, side, high), bool)
    solid[:, :, :ground] = True
    layout = np.full((side, side), 1)
    for _ in range(12):
        x, y = random.integers(0, side - 6, 2)
        w, d, h = random.integers(3, 7, 3)
        solid[x : x + w, y : y + d, : ground + h] = True
        layout[x : x + w, y : y + d] = 8
    from scipy import ndimage

    inside, outside = (ndimage.distance_transform_edt(part) for part in (solid, ~solid))
    tsdf = (outside - inside - np.where(solid, -0.5, 0.5)) / spec.truncation_voxels
    rgb = np.where((layout == 8)[:, :, None, None], [0.7, 0.3, 0.2], [0.3, 0.5, 0.2]) * np.ones((1, 1, high, 1))
    return make_site(tsdf, rgb, layout)


@cache
def made_up_sites() -> SiteSet:
    return stack_sites([made_up_site(seed) for seed in range(3)])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
