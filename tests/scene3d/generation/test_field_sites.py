"""Sites out of an observed field keep its shape, turned by any angle, and what was not observed never counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scene3d.errors import InputError
from scene3d.generation.batches import crop_batch
from scene3d.generation.field_sites import FieldSites, find_places, sample_columns, turned_columns
from scene3d.generation.held_out import measure_held_out
from scene3d.generation.model import make_model
from scene3d.generation.objectives import autoencoder_loss, denoiser_loss
from scene3d.generation.site_store import SiteSet, stack_sites
from scene3d.generation.sites import site_columns
from scene3d.generation.training import train_generator
from scene3d.geometry.voxels import VoxelField
from tests.scene3d.generation.small import generator, nano, nano_spec

SIDE = 60


def make_field(known=None) -> VoxelField:
    """A dome on level ground, reddish on one side of the middle and bluish on the other."""
    spec = nano_spec()
    size, high = 0.5, spec.block_voxels
    origin = np.array([-SIDE / 2 * size, -SIDE / 2 * size, spec.height_range[0] * high * size])
    shape, truncation = (SIDE, SIDE, high), spec.truncation_voxels * size
    empty = VoxelField(
        sdf=np.zeros(shape, np.float32), rgb=np.zeros((*shape, 3), np.float32), known=np.ones(shape, bool),
        origin=origin, voxel_size=size, truncation=truncation,
    )  # fmt: skip
    places = empty.centers()
    sdf = np.minimum(places[..., 2], np.linalg.norm(places, axis=-1) - 4.0)
    color = np.where(places[..., :1] < 0, [0.8, 0.2, 0.2], [0.2, 0.2, 0.8])
    return replace(
        empty,
        sdf=np.clip(sdf, -truncation, truncation).astype(np.float32),
        rgb=np.where(np.abs(sdf)[..., None] < truncation, color, 0.0).astype(np.float32),
        known=empty.known if known is None else known,
    )


def half_known() -> np.ndarray:
    """All of one half, of the other one nothing; and nothing deep below the ground."""
    known = np.ones((SIDE, SIDE, nano_spec().block_voxels), bool)
    known[40:] = False
    known[:, :, 0] = False
    return known


def half_known_sites() -> SiteSet:
    sites = FieldSites(make_field(half_known()), nano_spec(), 0)
    return stack_sites([sites.make(number) for number in range(3)])


def changed(sites: SiteSet) -> SiteSet:
    """The same with other values where nothing is known."""
    return SiteSet(
        torch.where(sites.known, sites.tsdf, -77).to(torch.int8),
        torch.where(sites.known[..., None], sites.rgb, 200).to(torch.uint8),
        sites.class_id,
        sites.known,
    )


def test_columns_that_are_not_turned_are_the_fields_own():
    field = make_field()
    columns = turned_columns(20, np.array([30.0, 25.0]), 0.0)
    values = np.concatenate([field.sdf[..., None], field.rgb], axis=-1)
    found, known = sample_columns(values, field.known, columns)
    assert np.allclose(found[..., 0], field.sdf[20:40, 15:35], atol=1e-6)
    assert known.all()


def test_a_turned_site_shows_the_same_dome():
    """Its profile over the ground does not depend on the angle, and colours are those of the field."""
    spec, field = nano_spec(), make_field()
    middle = np.array([SIDE / 2, SIDE / 2])
    values = np.concatenate([field.sdf[..., None] / field.truncation, field.rgb], axis=-1).astype(np.float32)
    straight, _ = sample_columns(values, field.known, turned_columns(30, middle, 0.0))
    turned, _ = sample_columns(values, field.known, turned_columns(30, middle, 0.7))
    assert np.abs(straight[..., 0] - turned[..., 0]).max() < 0.15
    near = np.abs(turned[..., 0]) < 0.8
    assert near.sum() > 500
    colors = turned[near][:, 1:]
    assert ((colors[:, 0] > 0.75) | (colors[:, 2] > 0.75)).mean() > 0.85
    assert (colors.sum(axis=1) > 1.1).all()
    assert spec.block_voxels == turned.shape[2]


def test_sites_stand_where_the_field_is_known_and_are_the_same_each_time():
    sites = FieldSites(make_field(half_known()), nano_spec(), 0)
    one, again, other = sites.make(0), sites.make(0), sites.make(1)
    assert one.known is not None
    assert one.known.any(axis=2).mean() > 0.4
    assert not one.known.all()
    assert np.array_equal(one.tsdf, again.tsdf)
    assert not np.array_equal(one.tsdf, other.tsdf)
    assert one.tsdf.shape == (site_columns(nano_spec()),) * 2 + (nano_spec().block_voxels,)
    assert (one.class_id == -1).all()
    assert find_places(half_known(), nano_spec())[:, 0].max() < 40


def test_a_field_that_shows_too_little_is_refused():
    known = np.zeros((SIDE, SIDE, nano_spec().block_voxels), bool)
    known[10:22, 10:22] = True
    with pytest.raises(InputError, match="too little ground"):
        FieldSites(make_field(known), nano_spec(), 0)
    low = make_field()
    low = replace(low, sdf=low.sdf[:, :, :8], rgb=low.rgb[:, :, :8], known=low.known[:, :, :8])
    with pytest.raises(InputError, match="8 voxels high"):
        FieldSites(low, nano_spec(), 0)


def test_blocks_are_cropped_where_most_is_known():
    shares = crop_batch(half_known_sites(), nano_spec(), 64, generator(1)).known.float().mean(dim=(1, 2, 3, 4))
    assert float(shares.min()) >= 0.5
    assert float(shares.min()) < 0.95


@pytest.mark.parametrize("objective", [autoencoder_loss, denoiser_loss])
def test_what_is_not_known_does_not_count_in_the_loss(objective):
    model, sites = make_model(nano().config, 1), half_known_sites()
    losses = []
    for one in (sites, changed(sites)):
        batch = crop_batch(one, nano_spec(), 8, generator(2))
        assert not batch.known.all()
        losses.append(float(objective(model, batch, nano(), generator(3))[0].detach()))
    assert losses[0] == losses[1]
    moved = SiteSet(torch.where(sites.known, -sites.tsdf, sites.tsdf), sites.rgb, sites.class_id, sites.known)
    batch = crop_batch(moved, nano_spec(), 8, generator(2))
    assert float(objective(model, batch, nano(), generator(3))[0].detach()) != losses[0]


def test_what_is_not_known_does_not_count_in_the_figures():
    model, sites = make_model(nano().config, 1), half_known_sites()
    assert measure_held_out(model, sites, nano()) == measure_held_out(model, changed(sites), nano())


def test_a_site_of_which_nothing_is_known_is_refused():
    sites = half_known_sites()
    nothing = SiteSet(sites.tsdf, sites.rgb, sites.class_id, torch.zeros_like(sites.known))
    with pytest.raises(InputError, match="nothing is known"):
        crop_batch(nothing, nano_spec(), 4, generator(0))


def test_a_partly_known_set_trains_as_if_its_unknown_voxels_were_not_there(tmp_path):
    settings = replace(nano(), autoencoder_steps=3, denoiser_steps=3)
    states = [
        train_generator(settings, sites, tmp_path / str(number))
        for number, sites in enumerate((half_known_sites(), changed(half_known_sites())))
    ]
    first, second = (state.to_tensors() for state in states)
    assert all(torch.equal(first[name], second[name]) for name in first)
