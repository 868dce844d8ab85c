"""Quality figures equal what their definitions say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scene3d.metrics import MAX_PSNR_DB, color_correct, psnr_db, ssim, ssim_map
from scene3d.seeding import make_generator


def make_photo(height: int = 40, width: int = 56, *, seed: int = 0) -> torch.Tensor:
    """A smooth colourful picture between 0.1 and 0.9."""
    coarse = torch.rand(1, 3, 6, 8, generator=make_generator(seed, "photo"))
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    return (0.1 + 0.8 * smooth.clamp(0, 1))[0].permute(1, 2, 0).contiguous()


def ssim_by_hand(x: np.ndarray, y: np.ndarray, row: int, column: int) -> float:
    """SSIM at one pixel of one channel, straight from the definition with zeros outside the image."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    a = np.pad(x, 5)[row : row + 11, column : column + 11]
    b = np.pad(y, 5)[row : row + 11, column : column + 11]
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    variance_a, variance_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
    covariance = (window * a * b).sum() - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    return luminance * (2 * covariance + 9e-4) / (variance_a + variance_b + 9e-4)


def test_psnr_of_a_constant_offset_is_known():
    photo = make_photo()
    assert psnr_db(photo + 0.1, photo) == pytest.approx(20.0, abs=1e-4)
    assert psnr_db(photo, photo) == MAX_PSNR_DB


def test_psnr_counts_only_masked_in_pixels():
    photo = make_photo()
    mask = torch.zeros(photo.shape[:2], dtype=torch.bool)
    mask[:, :20] = True
    wrong = photo.clone()
    wrong[:, 20:] = 0
    wrong[:, :20] += 0.01
    assert psnr_db(wrong, photo, mask) == pytest.approx(40.0, abs=1e-3)


def test_an_empty_mask_gives_no_number():
    photo = make_photo()
    mask = torch.zeros(photo.shape[:2], dtype=torch.bool)
    assert math.isnan(psnr_db(photo, photo, mask))
    assert math.isnan(ssim(photo, photo, mask))


def test_ssim_equals_the_definition_everywhere_even_at_the_border():
    photo, other = make_photo(14, 17), make_photo(14, 17, seed=1)
    similarity = ssim_map(photo, other)
    x, y = photo.double().numpy(), other.double().numpy()
    for row in range(14):
        for column in range(17):
            expected = ssim_by_hand(x[:, :, 1], y[:, :, 1], row, column)
            assert float(similarity[row, column, 1]) == pytest.approx(expected, abs=1e-4)


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_ssim_is_symmetric_bounded_and_one_for_equals(seed):
    photo, other = make_photo(20, 24, seed=seed), make_photo(20, 24, seed=seed + 1)
    assert ssim(photo, other) == pytest.approx(ssim(other, photo), abs=1e-6)
    assert -1 <= ssim(photo, other) < 1
    assert ssim(photo, photo) == pytest.approx(1, abs=1e-6)


def test_masked_ssim_ignores_what_is_masked_out():
    photo = make_photo()
    mask = torch.ones(photo.shape[:2], dtype=torch.bool)
    mask[10:20, 10:20] = False
    broken = photo + 0.05 * torch.rand(photo.shape, generator=make_generator(0))
    worse = broken.clone()
    worse[10:20, 10:20] = 7.0
    assert ssim(worse, photo, mask) == ssim(broken, photo, mask)
    assert ssim(worse, photo) < ssim(broken, photo) - 0.05


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_colour_correction_undoes_a_quadratic_recolouring(seed):
    photo = make_photo()
    generator = make_generator(seed, "recolouring")
    matrix = torch.eye(3) * 0.8 + 0.1 * torch.rand(3, 3, generator=generator)
    bend = 0.15 * torch.rand(3, generator=generator)
    recoloured = photo @ matrix.T
    recoloured = (recoloured - bend * recoloured * (1 - recoloured)).clamp(0, 1)
    assert psnr_db(recoloured, photo) < 35
    assert psnr_db(color_correct(recoloured, photo), photo) >= 45


def test_colour_correction_undoes_an_affine_recolouring_through_a_mask():
    photo = make_photo()
    mask = torch.ones(photo.shape[:2], dtype=torch.bool)
    mask[:12] = False
    recoloured = 0.7 * photo + torch.tensor([0.1, 0.0, 0.15])
    spoiled = recoloured.clone()
    spoiled[:12] = torch.rand(12, photo.shape[1], 3, generator=make_generator(1))
    assert psnr_db(color_correct(spoiled, photo, mask), photo, mask) >= 60
    assert psnr_db(color_correct(spoiled, photo), photo, mask) < 60


def test_saturated_pixels_do_not_bend_the_correction():
    photo = make_photo()
    photo[:10] = 1.0
    recoloured = 0.6 * photo + 0.1
    recoloured[:10] = 0.2
    assert psnr_db(color_correct(recoloured, photo)[10:], photo[10:]) >= 60


def test_colour_correction_cannot_hide_structure():
    photo = make_photo()
    noise = 0.1 * torch.randn(photo.shape, generator=make_generator(2))
    noisy = (photo + noise).clamp(0, 1)
    assert psnr_db(color_correct(noisy, photo), photo) < psnr_db(noisy, photo) + 3


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_images_survive_colour_correction(value):
    photo = make_photo()
    corrected = color_correct(torch.full_like(photo, value), photo)
    assert corrected.isfinite().all()
    assert corrected.shape == photo.shape
    flat = torch.full_like(photo, 0.3)
    assert color_correct(photo, flat).isfinite().all()
