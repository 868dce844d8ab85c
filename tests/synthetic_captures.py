"""Small synthetic captures that several tests share; a test module imports the fixture it wants by name."""

from pathlib import Path

import pytest

from scene3d.data.synthetic import SyntheticSettings, make_capture

TINY = SyntheticSettings(num_views=12, width=64, height=48, extent_m=50.0, num_points=600)


def shared_capture(tmp_path_factory: pytest.TempPathFactory, name: str, settings: SyntheticSettings) -> Path:
    """A capture made once in a test run, however many modules ask for it. It is shared: copy it before changing it."""
    # A folder that already holds the capture of the same settings is left as it is.
    return make_capture(tmp_path_factory.getbasetemp() / "synthetic" / name, settings)


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve aerial photographs of 64 x 48 pixels with 600 points, exact poses and depth."""
    return shared_capture(tmp_path_factory, "tiny", TINY)
