"""The estimate of memory, and the cap that follows from it."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scene3d.errors import LimitExceeded
from scene3d.training.memory import (
    MIN_PHOTO_BYTES,
    affordable_gaussians,
    bytes_per_gaussian,
    check_fits,
    forget_peak,
    peak_memory_bytes,
    photo_bytes,
    training_bytes,
)


@given(st.integers(0, 10**10), st.integers(0, 3), st.integers(1, 10**8))
def test_what_is_affordable_fits_and_one_more_does_not(memory: int, degree: int, pixels: int) -> None:
    most = affordable_gaussians(memory, degree, pixels)
    if most > 0:
        check_fits(memory, most, degree, pixels)
        left = photo_bytes(memory, most, degree, pixels)
        assert MIN_PHOTO_BYTES <= left < MIN_PHOTO_BYTES + bytes_per_gaussian(degree)
        assert left + training_bytes(most, degree, pixels) == memory
    with pytest.raises(LimitExceeded, match="Gaussians need"):
        check_fits(memory, most + 1, degree, pixels)


def test_a_refusal_names_the_figure_that_would_do() -> None:
    with pytest.raises(LimitExceeded, match=r"1,000,000 Gaussians need 1\.70 GB to train; 1\.00 are given") as caught:
        check_fits(2**30, 1_000_000, 3, 100)
    assert "--memory-gb" in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    large = np.ones(40 << 20, np.uint8)
    del large
    forget_peak()
    quiet = peak_memory_bytes()
    large = np.ones(60 << 20, np.uint8)
    loud = peak_memory_bytes()
    assert quiet is not None
    assert loud is not None
    assert 55 << 20 <= loud - quiet <= 70 << 20
    assert large[0] == 1
