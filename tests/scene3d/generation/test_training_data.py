"""Sites hold the truth of the world, are the same each time, and blocks cut from them keep it."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from scene3d.errors import InputError, SettingsError
from scene3d.generation.batches import crop_batch, disturb, make_known_masks
from scene3d.generation.block_frame import block_from_world
from scene3d.generation.layout import layout_shares
from scene3d.generation.site_sources import SiteSource, find_source, load_sites
from scene3d.generation.site_store import describe_source, find_sites, join_sets, stack_sites, write_sites
from scene3d.generation.sites import make_world_site, site_columns
from scene3d.world.classes import SurfaceClass
from scene3d.world.crop import World
from tests.scene3d.generation.small import (
    SEED,
    generator,
    made_up_site,
    made_up_sites,
    nano_spec,
    town_site,
)

pytestmark = pytest.mark.timeout(240)


def test_a_site_is_solid_below_and_free_above_with_things_in_between():
    site = town_site()
    spec = nano_spec()
    solid = site.tsdf < 0
    assert site.tsdf.shape == (site_columns(spec), site_columns(spec), spec.block_voxels)
    assert solid[:, :, 0].all()
    assert not solid[:, :, -1].any()
    assert 0.003 < solid[:, :, 5:].mean() < 0.5
    assert {SurfaceClass.ROOF, SurfaceClass.ROAD} <= {SurfaceClass(one) for one in np.unique(site.class_id)}


def test_distances_of_a_site_are_those_of_the_world():
    """Over level ground the voxels lie where the world is asked."""
    spec, world = nano_spec(), World(SEED)
    low = world.find_town()
    site = town_site()
    size = spec.voxel_m
    x, y, z = np.array([3, 20, 31]), np.array([5, 17, 30]), np.array([4, 6, 9])
    xy = np.stack([low[0] + (x + 0.5) * size, low[1] + (y + 0.5) * size], axis=1)
    heights = (spec.height_range[0] * spec.block_voxels + z + 0.5) * size
    # The level is a smooth surface through the land; find it from the site itself, at columns of bare ground.
    grid = np.stack(np.meshgrid(*[np.arange(site_columns(spec))] * 2, indexing="ij"), -1).reshape(-1, 2)
    places = np.array(low) + (grid + 0.5) * size
    land = world.height(places)
    centred = (places - places.mean(0)) / 30
    terms = np.stack(
        [np.ones(len(land)), *centred.T, centred[:, 0] ** 2, centred[:, 0] * centred[:, 1], centred[:, 1] ** 2], axis=1
    )
    level = (terms @ np.linalg.lstsq(terms, land, rcond=None)[0]).reshape([site_columns(spec)] * 2)
    points = np.concatenate([xy, (level[x, y] + heights)[:, None]], axis=1)
    wanted = np.clip(world.distance(points) / (spec.truncation_voxels * size), -1, 1)
    assert np.abs(site.tsdf[x, y, z] / 127.0 - wanted).max() < 0.01


def test_another_process_makes_the_same_site():
    code = (
        "from hashlib import sha256\n"
        "from tests.scene3d.generation.small import town_site\n"
        "site = town_site()\n"
        "print(sha256(site.tsdf.tobytes() + site.rgb.tobytes() + site.class_id.tobytes()).hexdigest())"
    )
    root = Path(__file__).parents[3]
    options = {"capture_output": True, "text": True, "check": True, "cwd": root}
    printed = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(root)}, **options).stdout
    site = town_site()
    assert printed.strip() == sha256(site.tsdf.tobytes() + site.rgb.tobytes() + site.class_id.tobytes()).hexdigest()


def test_blocks_of_one_site_agree_where_they_overlap():
    spec, values = nano_spec(), town_site().values()
    side, stride = spec.block_voxels, spec.stride_voxels
    first, second = values[:side, :side], values[stride : stride + side, :side]
    assert np.array_equal(first[stride:], second[: side - stride])


def test_the_class_map_lies_over_the_voxels():
    """Where the map says roof, matter rises; where it says road, it does not."""
    site = town_site()
    raised = (site.tsdf[:, :, 4:] < 0).any(axis=2)
    inner = np.zeros_like(raised)
    inner[1:-1, 1:-1] = True
    roof, road = site.class_id == SurfaceClass.ROOF, site.class_id == SurfaceClass.ROAD
    assert raised[roof & inner].mean() > 0.9
    assert raised[road & inner].mean() < 0.2


def test_another_number_is_another_place():
    spec = nano_spec()
    one, other = make_world_site(spec, 0, 1), make_world_site(spec, 0, 2)
    assert (one.tsdf != other.tsdf).mean() > 0.02


def test_blocks_are_cut_out_of_sites_in_the_blocks_axes():
    spec, sites = nano_spec(), stack_sites([made_up_site(0)])
    batch = crop_batch(sites, spec, 4, generator(2), turn=False)
    tsdf = batch.voxels[:, 0].numpy()
    whole = block_from_world(made_up_site(0).tsdf / np.float32(127.0))
    side, layouts = spec.block_voxels, made_up_site(0).class_id.astype(np.int64)
    for block, layout in zip(tsdf, batch.layout.numpy(), strict=True):
        places = [
            (x, z)
            for x in range(whole.shape[0] - side + 1)
            for z in range(whole.shape[2] - side + 1)
            if np.array_equal(block, whole[x : x + side, :, z : z + side])
        ]
        assert len(places) == 1
        x, z = places[0]
        wanted = layout_shares(layouts[z : z + side, x : x + side], len(spec.classes))
        assert np.array_equal(layout, wanted)


def test_turned_blocks_stay_upright():
    batch = crop_batch(made_up_sites(), nano_spec(), 16, generator(3))
    solid = batch.voxels[:, 0] < 0
    assert bool(solid[:, :, 0].all())
    assert not bool(solid[:, :, -1].any())


def test_masks_of_what_is_known_come_in_every_shape():
    voxels = crop_batch(made_up_sites(), nano_spec(), 200, generator(4)).voxels
    shares = make_known_masks(voxels, generator(5)).float().mean(dim=(1, 2, 3, 4))
    assert 0.2 < float((shares == 0).float().mean()) < 0.6
    assert int(((shares > 0.15) & (shares < 0.3)).sum()) > 20
    assert int((shares > 0.6).sum()) > 3


def test_disturbing_leaves_the_shape_in_place():
    voxels = crop_batch(made_up_sites(), nano_spec(), 8, generator(6)).voxels
    changed = disturb(voxels, generator(7))
    assert changed.shape == voxels.shape
    assert 0.005 < float((changed[:, :1] - voxels[:, :1]).abs().mean()) < 0.2
    assert float((changed[:, :1] * voxels[:, :1] < 0).float().mean()) < 0.1


def test_a_set_is_kept_and_found_again_only_for_the_same_settings(tmp_path):
    spec = nano_spec()
    description = describe_source(spec, {"kind": "world", "count": 3})
    assert find_sites(tmp_path, description) is None
    write_sites(tmp_path, made_up_sites(), description)
    found = find_sites(tmp_path, description)
    assert found is not None
    assert torch.equal(found.tsdf, made_up_sites().tsdf)
    assert torch.equal(found.known, made_up_sites().known)
    assert find_sites(tmp_path, describe_source(spec, {"kind": "world", "count": 4})) is None
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(InputError, match="SHA-256"):
        find_sites(tmp_path, description)


def test_sets_are_split_joined_and_must_be_of_one_size():
    seen, held_out = made_up_sites().split(1)
    assert (len(seen), len(held_out)) == (2, 1)
    assert torch.equal(join_sets([seen, held_out]).rgb, made_up_sites().rgb)
    with pytest.raises(InputError, match="different sizes"):
        stack_sites([])


@pytest.mark.parametrize("source", ["photos", "meshes", "meshes:", "world:here"])
def test_an_unknown_source_is_refused(source, tmp_path):
    with pytest.raises(SettingsError, match="no data source"):
        find_source(source, nano_spec(), 0)


def test_two_sources_take_turns_and_are_made_once(tmp_path):
    made = []

    def source(first):
        def make(number):
            made.append(first + number)
            return made_up_site(first + number)

        return SiteSource(identity={"kind": "test", "first": first}, prepare=lambda reporter: make)

    sources = [source(0), source(10)]
    sites = load_sites(sources, nano_spec(), 5, cache=tmp_path)
    assert made == [0, 1, 2, 10, 11]
    wanted = stack_sites([made_up_site(seed) for seed in (0, 10, 1, 11, 2)])
    assert torch.equal(sites.tsdf, wanted.tsdf)
    assert torch.equal(load_sites(sources, nano_spec(), 5, cache=tmp_path).class_id, wanted.class_id)
    assert len(made) == 5
    with pytest.raises(SettingsError, match="cannot come from 2 sources"):
        load_sites(sources, nano_spec(), 1, cache=tmp_path)
