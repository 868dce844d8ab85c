"""Tests of the box of voxels."""

import numpy as np
import pytest

from scene3d.errors import InputError
from scene3d.geometry.voxels import VoxelField


def make_field(shape: tuple[int, int, int] = (2, 3, 4), **changes: object) -> VoxelField:
    parts: dict[str, object] = {
        "sdf": np.zeros(shape, np.float32),
        "rgb": np.zeros((*shape, 3), np.float32),
        "known": np.ones(shape, bool),
        "origin": np.array([1.0, -2.0, 3.0]),
        "voxel_size": 0.5,
        "truncation": 1.0,
    }
    return VoxelField(**{**parts, **changes})  # type: ignore[arg-type]


def test_centers_and_voxels_undo_each_other() -> None:
    field = make_field()
    indices = np.stack(np.meshgrid(*[np.arange(count) for count in field.shape], indexing="ij"), axis=-1)
    assert np.allclose(field.to_voxels(field.centers().reshape(-1, 3)), indices.reshape(-1, 3) + 0.5, atol=1e-12)
    assert np.allclose(field.centers()[0, 0, 0], [1.25, -1.75, 3.25])


def test_parts_of_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="do not agree"):
        make_field(known=np.ones((2, 3, 5), bool))


def test_a_voxel_has_a_size() -> None:
    with pytest.raises(InputError, match="must be positive"):
        make_field(voxel_size=0.0)
