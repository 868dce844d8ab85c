"""Which new Gaussians may stay, so that photographs keep showing what they show."""

import numpy as np
import pytest
import torch

from blocks.old_views import LEAST_PSNR_DB, keep_photographs
from scene3d.events import Quiet
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view
from tests.blocks.two_blocks import gaussians_at, make_cameras, make_town

CAMERAS = make_cameras()[::6]


def make_new(places: list[list[float]]) -> Gaussians:
    means = torch.tensor(places)
    return gaussians_at(means, torch.full((len(means), 3), 0.9), scale=0.05)


def test_what_hangs_before_known_ground_goes_and_what_no_view_shows_stays() -> None:
    new = make_new([[0.0, 0.0, 0.5], [0.2, 0.0, 0.4], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    kept, figures = keep_photographs(
        make_town(), new, CAMERAS, lambda points: np.ones(len(points), bool), reporter=Quiet()
    )
    assert kept.tolist() == [False, False, True, True]
    assert figures.kept_psnr_db is None or figures.kept_psnr_db >= LEAST_PSNR_DB


def test_what_stands_behind_another_new_one_goes_too() -> None:
    new = make_new([[0.0, 0.0, 0.50 - 0.02 * step] for step in range(10)])
    kept, figures = keep_photographs(
        make_town(), new, CAMERAS, lambda points: np.ones(len(points), bool), reporter=Quiet()
    )
    assert not kept.any()
    assert figures.kept_psnr_db is None


def test_ground_that_is_not_well_known_may_be_grown_over() -> None:
    new = make_new([[0.0, 0.0, 0.5], [-1.0, 0.0, 0.5]])
    kept, figures = keep_photographs(make_town(), new, CAMERAS, lambda points: points[:, 0] < -0.5, reporter=Quiet())
    assert kept.tolist() == [True, False]
    assert figures.whole_psnr_db is not None
    assert figures.whole_psnr_db < 40


def test_without_a_word_on_what_is_known_every_pixel_counts() -> None:
    town, new = make_town(), make_new([[1.9, 0.0, 0.0], [2.1, 0.3, 0.1], [30.0, 0.0, 0.0]])
    kept, figures = keep_photographs(town, new, CAMERAS, None, reporter=Quiet())
    assert kept[2]
    assert figures.kept_share == pytest.approx(1.0)
    after = Gaussians.concatenate([town, new.select(kept)])
    for camera in CAMERAS:
        error = (render_view(after, camera).image - render_view(town, camera).image).square().mean()
        assert error <= 10 ** (-LEAST_PSNR_DB / 10)
