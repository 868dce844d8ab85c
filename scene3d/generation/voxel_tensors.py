"""Owns the passage between a box of voxels in world units and the numbers that the networks see.

Values are [x, y, z, 4] in the world's axes: signed distance over the truncation, cut to -1..1, and colour 0..1.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from scene3d.generation.autoencoder import near_surface
from scene3d.generation.block_frame import block_from_world, world_from_block
from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.voxels import VoxelField

_SATURATED = 0.999


def values_from_field(field: VoxelField, spec: GeneratorSpec) -> Float32[np.ndarray, "x y z 4"]:
    """A field as values; a distance that the field cut off counts as cut off, whatever its truncation was."""
    unit = spec.truncation_voxels * field.voxel_size
    far = np.abs(field.sdf) >= _SATURATED * field.truncation
    tsdf = np.where(far, np.sign(field.sdf), np.clip(field.sdf / unit, -1.0, 1.0))
    return np.concatenate([tsdf[..., None], field.rgb], axis=-1, dtype=np.float32)


def field_from_values(
    values: Float32[np.ndarray, "x y z 4"], filled: Bool[np.ndarray, "x y z"], canvas: VoxelField, spec: GeneratorSpec
) -> VoxelField:
    """Values as a field in the place of `canvas`, whose known voxels stay what they are to the last bit."""
    tsdf = values[..., 0].astype(np.float64)
    unit = spec.truncation_voxels * canvas.voxel_size
    far = np.abs(tsdf) >= _SATURATED
    made = np.where(far, np.sign(tsdf) * canvas.truncation, np.clip(tsdf * unit, -canvas.truncation, canvas.truncation))
    made = np.where(filled, made, canvas.truncation)
    rgb = np.where(filled[..., None], np.clip(values[..., 1:], 0.0, 1.0), 0.0)
    return VoxelField(
        sdf=np.where(canvas.known, canvas.sdf, made).astype(canvas.sdf.dtype),
        rgb=np.where(canvas.known[..., None], canvas.rgb, rgb).astype(canvas.rgb.dtype),
        known=canvas.known | filled,
        origin=canvas.origin,
        voxel_size=canvas.voxel_size,
        truncation=canvas.truncation,
    )


def tensor_from_values(values: Float32[np.ndarray, "b x y z 4"]) -> Float[Tensor, "b 4 _x _y _z"]:
    """Values in the block's axes, channels first; colour fades with the distance from the surface."""
    turned = torch.from_numpy(np.ascontiguousarray(block_from_world(np.moveaxis(values, -1, 1))))
    tsdf = turned[:, :1]
    return torch.cat([tsdf, turned[:, 1:] * near_surface(tsdf)], dim=1)


def values_from_tensor(tensor: Float[Tensor, "b 4 _x _y _z"]) -> Float32[np.ndarray, "b x y z 4"]:
    """Block voxels, channels first, in the world's axes."""
    return np.ascontiguousarray(np.moveaxis(world_from_block(tensor.numpy()), 1, -1))


def mask_tensor(known: Bool[np.ndarray, "b x y z"]) -> Bool[Tensor, "b _x _y _z"]:
    """What is known, in the block's axes."""
    return torch.from_numpy(np.ascontiguousarray(block_from_world(known)))
