"""What several tests share: where the real captures are, and small scenes."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SCENE3D_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared_data(name: str) -> Path:
    """A folder of the real test data, or a skip that says which one is missing."""
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"real test data '{name}' is not here (looked below SCENE3D_SHARED or ../shared)")
    return folder


def shared_weights(name: str) -> Path:
    """A file of the LPIPS weights, or a skip."""
    path = SHARED / "weights" / "lpips" / name
    if not path.is_file():
        pytest.skip(f"weights '{name}' are not here (looked below SCENE3D_SHARED or ../shared)")
    return path
