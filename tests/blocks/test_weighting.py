"""Weights of blocks: the published figures, budgets that add up, and quality measured where training looks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blocks.weighting import (
    MAX_PROBES,
    PROBE_EVERY,
    Quality,
    block_weights,
    choose_probes,
    measure_quality,
    split_budget,
)
from scene3d.metrics import psnr_db, ssim
from scene3d.render import render_view
from scene3d.training.exposure import Exposure
from tests.blocks.two_blocks import Photographs, make_cameras, make_model, make_town

BEST = Quality(psnr_db=30.0, ssim=0.9)
WEIGHTS = st.dictionaries(st.integers(0, 50), st.floats(1.0, 2.0), min_size=1, max_size=12)


@pytest.mark.parametrize(("lag_db", "lag_ssim", "weight"), [(3.0, 0.05, 1.055), (6.0, 0.1, 1.204)])
def test_a_lag_weighs_what_was_published(lag_db: float, lag_ssim: float, weight: float) -> None:
    behind = Quality(psnr_db=BEST.psnr_db - lag_db, ssim=BEST.ssim - lag_ssim)
    weights = block_weights({0: BEST, 1: behind}, [0, 1], sigma=9.0)
    assert weights[0] == 1.0
    assert weights[1] == pytest.approx(weight, abs=1e-3)


def test_the_best_psnr_and_the_best_ssim_may_be_of_different_blocks() -> None:
    sharp, clean = Quality(psnr_db=25.0, ssim=0.95), Quality(psnr_db=30.0, ssim=0.8)
    weights = block_weights({0: sharp, 1: clean}, [0, 1], sigma=10.0)
    assert min(weights.values()) > 1


def test_a_block_that_was_never_measured_weighs_one() -> None:
    assert block_weights({0: BEST}, [0, 7], sigma=10.0)[7] == 1.0
    assert block_weights({}, [0, 1], sigma=10.0) == {0: 1.0, 1: 1.0}


def test_a_block_that_takes_no_part_sets_no_standard() -> None:
    poor = Quality(psnr_db=20.0, ssim=0.5)
    assert block_weights({0: BEST, 1: poor}, [1], sigma=10.0) == {1: 1.0}


@given(WEIGHTS, st.integers(0, 10_000))
def test_shares_add_up_to_the_budget_and_follow_the_weights(weights: dict[int, float], budget: int) -> None:
    shares = split_budget(budget, weights)
    assert sum(shares.values()) == budget
    total = sum(weights.values())
    for block, weight in weights.items():
        assert abs(shares[block] - budget * weight / total) < 1 + 1e-6


def test_each_measurement_moves_the_estimate_by_a_tenth() -> None:
    after = BEST.blended(Quality(psnr_db=20.0, ssim=0.4))
    assert after.psnr_db == pytest.approx(29.0)
    assert after.ssim == pytest.approx(0.85)


@pytest.mark.parametrize(("num_views", "num_probes"), [(1, 1), (10, 1), (11, 2), (1000, MAX_PROBES)])
def test_every_tenth_view_is_a_probe(num_views: int, num_probes: int) -> None:
    probes = choose_probes(range(num_views))
    assert len(probes) == num_probes
    assert all(probe % PROBE_EVERY == 0 and probe < num_views for probe in probes)


class NamedPhotographs(Photographs):
    def view_name(self, index: int) -> str:
        return f"{index}"


def test_quality_is_the_mean_of_the_probes_as_exposed() -> None:
    town, cameras = make_town(), make_cameras()
    photos, views = NamedPhotographs(town, cameras), list(range(5, 17))
    model = make_model(town, 1)
    affine = torch.eye(3, 4).repeat(len(views), 1, 1)
    affine[10, :, :3] *= 0.9
    exposure = Exposure.fixed(affine)
    quality = measure_quality(model, exposure, photos, views, backend=None)
    expected = []
    for position in (0, 10):
        view = views[position]
        image = (affine[position, 0, 0] * render_view(model, cameras[view]).image).clamp(0, 1)
        expected.append((psnr_db(image, photos.images[view]), ssim(image, photos.images[view])))
    assert quality.psnr_db == pytest.approx(sum(each[0] for each in expected) / 2, abs=1e-4)
    assert quality.ssim == pytest.approx(sum(each[1] for each in expected) / 2, abs=1e-5)
