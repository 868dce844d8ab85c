"""A stand-in for a generator: level ground in the mean colour of what is known, perhaps a house on each cell."""

from dataclasses import replace

import numpy as np

from scene3d.generation.detail import refine_field
from scene3d.generation.spec import GeneratorSpec


class FlatGrower:
    """Grows the same for any seed and layout."""

    weights_sha256 = "flat"

    def __init__(self, spec: GeneratorSpec | None = None, *, houses: bool = True) -> None:
        self.houses = houses
        self.spec = spec or GeneratorSpec()
        self.num_calls = 0

    def grow(self, known, cells, settings, *, layout=None, reporter=None):
        self.num_calls += 1
        known = refine_field(known, settings.detail)
        places = known.centers()
        size, stride = self.spec.block_voxels * settings.detail, self.spec.stride_voxels * settings.detail
        truncation = known.truncation
        wanted = np.zeros(known.shape, bool)
        houses = np.full(known.shape, np.inf)
        for i, j in cells:
            corner = np.array([i, j]) * stride
            wanted[corner[0] : corner[0] + size, corner[1] : corner[1] + size] = True
            middle = known.origin[:2] + (corner + size / 2) * known.voxel_size
            half = np.array([0.15, 0.12, 0.15]) * size * known.voxel_size
            q = np.abs(places - np.array([*middle, 0.0])) - half
            outside = np.linalg.norm(np.maximum(q, 0), axis=-1)
            if self.houses:
                houses = np.minimum(houses, outside + np.minimum(q.max(axis=-1), 0))
        sdf = np.clip(np.minimum(places[..., 2], houses), -truncation, truncation)
        near = known.known & (np.abs(known.sdf) < truncation / 2)
        color = known.rgb[near].mean(axis=0) if near.any() else np.array([0.4, 0.5, 0.3])
        rgb = np.broadcast_to(color, known.rgb.shape)
        new = wanted & ~known.known
        return replace(
            known,
            sdf=np.where(new, sdf, known.sdf).astype(np.float32),
            rgb=np.where(new[..., None], rgb, known.rgb).astype(np.float32),
            known=known.known | wanted,
        )
