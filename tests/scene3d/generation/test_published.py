"""The published way: planes fit blocks closely, gradients are right, and codes of planes give the blocks back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scene3d.errors import SettingsError
from scene3d.generation.autoencoder import Posterior
from scene3d.generation.batches import crop_batch
from scene3d.generation.held_out import ground_level, solid_iou
from scene3d.generation.plane_autoencoder import CODE_SPREAD, PlaneAutoEncoder, code_divergence
from scene3d.generation.plane_fit import FitSettings, PlaneHead, differences, fit_loss, fit_planes, query_planes
from scene3d.generation.plane_samples import PlaneSamples, read_distances, sample_blocks
from scene3d.generation.published import PublishedSettings, published_settings, train_published
from scene3d.generation.triplane import sample_planes
from tests.scene3d.generation.small import generator, made_up_sites, nano, nano_spec

SETTINGS = replace(
    published_settings(nano(), steps=60),
    fit=FitSettings(steps=48, points=128, width=24), samples=1024, head_blocks=4, fit_batch=4, batch=4,
)  # fmt: skip


def blocks(count=4, seed=2) -> torch.Tensor:
    return crop_batch(made_up_sites(), nano_spec(), count, generator(seed)).voxels[:, 0].contiguous()


def samples(count=4) -> PlaneSamples:
    return sample_blocks(blocks(count), nano_spec(), 1024, np.random.default_rng(0))


@pytest.fixture(scope="module")
def fitted():
    head = PlaneHead(SETTINGS.fit, generator(1))
    planes = fit_planes(samples(), head, nano_spec(), SETTINGS.fit, generator(2), train_head=True)
    return head, planes


@pytest.fixture(scope="module")
def codec():
    return train_published(blocks(12), SETTINGS)


def test_surface_points_lie_on_the_surface_and_normals_point_out_of_matter():
    found, spec = samples(), nano_spec()
    assert found.has_surface.tolist() == [1.0] * 4
    tsdf = blocks()
    assert float(read_distances(tsdf, found.surface).abs().mean()) < 0.05
    assert torch.allclose(found.normals.norm(dim=-1), torch.ones(4, 1024), atol=1e-5)
    step = 0.4 * spec.truncation * found.normals
    outside, inside = (read_distances(tsdf, found.surface + sign * step) for sign in (1, -1))
    assert float((outside > inside).float().mean()) > 0.98
    assert torch.allclose(found.sdf, read_distances(tsdf, found.places) * spec.truncation)
    assert float((found.sdf.abs() < spec.truncation).float().mean()) > 0.4


def test_a_block_without_surface_has_no_say_about_surfaces():
    tsdf = torch.stack([torch.ones(16, 16, 16), blocks(1)[0]])
    found = sample_blocks(tsdf, nano_spec(), 256, np.random.default_rng(0))
    assert found.has_surface.tolist() == [0.0, 1.0]
    head = PlaneHead(SETTINGS.fit, generator(1))
    planes = torch.randn(2, 3, SETTINGS.fit.channels, 16, 16, generator=generator(2))
    moved = found._replace(surface=found.surface + torch.tensor([0.3, 0.0])[:, None, None])
    with torch.no_grad():
        one, other = (fit_loss(planes, head, part, nano_spec(), generator(3)) for part in (found, moved))
    assert float(one) == pytest.approx(float(other))


def test_differences_are_the_slopes_of_the_field():
    """Against autograd, where the network is smooth over a pixel."""
    head = PlaneHead(SETTINGS.fit, generator(1)).double()
    planes = torch.zeros(1, 3, SETTINGS.fit.channels, 16, 16, dtype=torch.float64)
    ramp = torch.linspace(-1, 1, 16, dtype=torch.float64)
    planes[0, 0, 0] += ramp[:, None]
    planes[0, 1, 1] += ramp[None]
    points = 0.5 * torch.rand(1, 20, 3, generator=generator(4), dtype=torch.float64)
    points.requires_grad_(True)
    (wanted,) = torch.autograd.grad(head(planes, points).sum(), points)
    steps = torch.eye(3, dtype=torch.float64) * 1e-3
    ends = torch.stack([head(planes, points + step) - head(planes, points - step) for step in steps], dim=-1) / 2e-3
    assert torch.allclose(ends, wanted, atol=1e-3)
    found = differences(planes.float(), head.float(), points.detach().float(), 1e-2)
    assert torch.allclose(found.double(), wanted, atol=0.05)


def test_each_plane_is_read_along_its_own_axes():
    planes = torch.randn(1, 3, 2, 8, 8, generator=generator(5))
    only_xz = planes * torch.tensor([0.0, 1.0, 0.0])[None, :, None, None, None]
    points = torch.tensor([[[0.1, -0.7, 0.3], [0.1, 0.6, 0.3]]])
    found = sample_planes(only_xz, points)
    assert torch.equal(found[0, 0], found[0, 1])


def test_planes_fit_their_blocks(fitted):
    head, planes = fitted
    found, wanted, spec = query_planes(planes, head, nano_spec()), blocks(), nano_spec()
    assert planes.shape == (4, 3, 8, 16, 16)
    assert float((found - wanted).abs().mean()) < 0.10
    assert solid_iou(found, wanted, from_level=ground_level(spec)) > 0.75
    unfitted = query_planes(torch.zeros_like(planes), head, spec)
    assert float((found - wanted).abs().mean()) < 0.4 * float((unfitted - wanted).abs().mean())


def test_a_frozen_head_does_not_change_and_fits_other_blocks(fitted):
    head, _ = fitted
    before = [weights.clone() for weights in head.parameters()]
    other = blocks(2, seed=9)
    taken = sample_blocks(other, nano_spec(), 1024, np.random.default_rng(1))
    planes = fit_planes(taken, head, nano_spec(), SETTINGS.fit, generator(3))
    assert all(torch.equal(one, now) for one, now in zip(before, head.parameters(), strict=True))
    assert solid_iou(query_planes(planes, head, nano_spec()), other) > 0.8


def test_planes_grow_from_coarse_to_fine():
    assert FitSettings(side=128).sides == (4, 8, 16, 32, 64, 128)
    with pytest.raises(SettingsError, match="power of two"):
        FitSettings(side=24)
    with pytest.raises(SettingsError, match="at least 1"):
        FitSettings(steps=0)


def test_codes_of_planes_give_the_blocks_back(codec):
    """The auto-encoder's loss through the frozen network: what comes back has the block's shape."""
    tsdf = blocks(4, seed=2)
    planes = codec.fit(tsdf)
    codes = codec.encode(planes)
    sizes = SETTINGS.sizes
    assert codes.shape == (4, 3, sizes.code_channels, 8, 8)
    found = codec.decode(codes)
    assert solid_iou(found, tsdf) > 0.7
    shuffled = codec.decode(codes.roll(1, dims=0))
    assert float((found - tsdf).abs().mean()) < float((shuffled - tsdf).abs().mean())


def test_the_same_seed_gives_the_same_codec():
    short = replace(SETTINGS, fit=replace(SETTINGS.fit, steps=6), steps=3)
    first, second = (train_published(blocks(), short).autoencoder.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_planes_are_scaled_to_their_range():
    network = PlaneAutoEncoder(SETTINGS.fit, SETTINGS.sizes)
    planes = 5.0 + 3.0 * torch.randn(6, 3, SETTINGS.fit.channels, 16, 16, generator=generator(6))
    network.set_ranges(planes)
    scaled = network.normalise(planes)
    assert torch.allclose(scaled.amax(dim=(0, 3, 4)), torch.ones(3, SETTINGS.fit.channels))
    assert torch.allclose(scaled.amin(dim=(0, 3, 4)), -torch.ones(3, SETTINGS.fit.channels))
    with torch.no_grad():
        found = network.decode(torch.randn(2, 3, SETTINGS.sizes.code_channels, 8, 8, generator=generator(7)))
    assert bool((found >= network.low - 1e-4).all())
    assert bool((found <= network.high + 1e-4).all())


def test_codes_are_held_to_a_narrow_normal_distribution():
    mean = torch.zeros(2, 3, 4, 8, 8)
    narrow = Posterior(mean, torch.full_like(mean, 2 * np.log(CODE_SPREAD)))
    assert float(code_divergence(narrow)) == pytest.approx(0.0, abs=1e-6)
    assert float(code_divergence(Posterior(mean + CODE_SPREAD, narrow.log_variance))) == pytest.approx(0.5)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match="do not fit blocks of 16"):
        PublishedSettings(spec=nano_spec(), fit=FitSettings(side=32))
    with pytest.raises(SettingsError, match="positive"):
        replace(SETTINGS, steps=0)
