"""Fitting GPS positions: the truth is found again, outliers lose, nonsense is refused."""

import numpy as np
import pytest

from scene3d.data.sfm.georeference import east_north_up, find_inliers, fit_level_similarity


def _flight(seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, 6), np.linspace(-0.7, 0.7, 5))
    return np.stack([x.ravel(), y.ravel(), 0.8 + 0.02 * generator.standard_normal(30)], 1)


def _moved(centers: np.ndarray, scale: float, heading_deg: float, offset: np.ndarray) -> np.ndarray:
    angle = np.radians(heading_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return scale * centers @ turn.T + offset


@pytest.mark.parametrize("heading_deg", [0, 37, 180, -90])
def test_an_exact_flight_is_found_again(heading_deg: float) -> None:
    centers = _flight()
    enu = _moved(centers, 55.0, heading_deg, np.array([10.0, -20.0, 3.0]))
    fit = fit_level_similarity(centers, enu)
    assert fit is not None
    np.testing.assert_allclose(fit[0].apply(centers), enu, atol=1e-6)


def test_wild_positions_lose_their_weight() -> None:
    centers = _flight()
    truth = _moved(centers, 55.0, 20, np.zeros(3))
    enu = truth + np.random.default_rng(1).normal(0, 0.5, truth.shape)
    enu[:4] += 80
    fit = fit_level_similarity(centers, enu)
    assert fit is not None
    assert abs(fit[0].scale - 55) < 1
    inliers = find_inliers(fit[1])
    assert not inliers[:4].any()
    assert inliers[4:].mean() > 0.9


def test_positions_that_do_not_belong_to_the_cameras_are_refused() -> None:
    enu = np.random.default_rng(2).uniform(-50, 50, (30, 3))
    assert fit_level_similarity(_flight(), enu) is None


def test_one_place_gives_no_scale() -> None:
    assert fit_level_similarity(np.zeros((10, 3)), np.random.default_rng(0).normal(0, 1, (10, 3))) is None


def test_a_second_of_arc_is_thirty_metres() -> None:
    second = 1 / 3600
    enu = east_north_up(np.array([45.0, 45.0, 45 + second]), np.array([7.0, 7.0 + second, 7.0]), np.zeros(3))
    assert enu[1, 0] - enu[0, 0] == pytest.approx(21.9, abs=0.2)
    assert enu[2, 1] - enu[0, 1] == pytest.approx(30.87, abs=0.1)
