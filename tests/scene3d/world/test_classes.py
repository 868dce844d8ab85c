"""The classes and their palette."""

import numpy as np

from scene3d.world.classes import PALETTE, SurfaceClass, paint_classes, read_palette


def test_every_class_has_a_colour_of_its_own():
    assert set(PALETTE) == set(SurfaceClass)
    colors = np.array(list(PALETTE.values()), np.int64)
    gaps = np.abs(colors[:, None] - colors[None]).sum(-1) + 1000 * np.eye(len(colors), dtype=np.int64)
    assert gaps.min() > 40


def test_a_painted_layout_can_be_read_back():
    class_ids = np.random.default_rng(0).integers(0, len(SurfaceClass), (13, 17)).astype(np.uint8)
    picture = paint_classes(class_ids)
    assert np.array_equal(read_palette(picture), class_ids)
    noisy = np.clip(picture.astype(np.int64) + np.random.default_rng(1).integers(-9, 10, picture.shape), 0, 255)
    assert np.array_equal(read_palette(noisy.astype(np.uint8)), class_ids)
