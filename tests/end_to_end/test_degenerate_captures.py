"""Every degenerate capture a person may bring: an expected verdict in expected words, and never a foreign exception."""

import numpy as np
import pytest
import torch

from scene3d.data.capture import Capture
from scene3d.data.frame import estimate_frame
from scene3d.data.inspection import inspect_capture, worst_severity
from scene3d.data.loader import ImageLoader
from scene3d.data.reading import read_capture
from scene3d.data.split import split_views
from scene3d.errors import InputError, Scene3dError
from tests.end_to_end.degenerate_captures import CASES, OK, REFUSED, WARNING


def everything_found(capture: Capture) -> list:
    return [*capture.findings, *inspect_capture(capture, decode=True), *split_views(capture).findings]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.verdict == REFUSED])
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, name):
    CASES[name].make(tmp_path)
    with pytest.raises(Scene3dError) as caught:
        everything_found(read_capture(tmp_path))
    assert caught.value.exit_code in (4, 5)
    assert CASES[name].fragment in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.verdict != REFUSED])
def test_every_other_capture_gets_its_verdict(tmp_path, name):
    CASES[name].make(tmp_path)
    findings = everything_found(read_capture(tmp_path))
    told = "\n".join(f"{finding.severity.value}: {finding.what}" for finding in findings)
    assert worst_severity(findings) is CASES[name].verdict, told
    assert CASES[name].fragment in told


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.verdict in (OK, WARNING)])
def test_what_is_not_refused_can_be_trained_on(tmp_path, name):
    """Frame, split and pixels of every view are finite and fit together."""
    CASES[name].make(tmp_path)
    capture = read_capture(tmp_path)
    level = capture.transformed(estimate_frame(capture))
    assert np.isfinite(level.points.positions).all()
    assert np.abs([view.camera.center for view in level.views]).max() < 1e4
    split = split_views(level)
    assert split.train
    with ImageLoader(level.views) as loader:
        for index in split.train:
            try:
                photo = loader.load(index)
            except InputError:
                continue
            assert torch.isfinite(photo.image).all()
            assert photo.image.shape == (photo.camera.height, photo.camera.width, 3)
            assert 0 <= photo.image.min() <= photo.image.max() <= 1


def test_the_table_is_as_long_as_it_should_be():
    assert len(CASES) >= 48
