"""Owns how `.spz` squeezes each parameter of a Gaussian into bytes, and its axes."""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scene3d.gaussians.gaussians import Gaussians

_COLOR_SCALE = 0.15
_LOG_SCALE_STEPS = 16
_LOG_SCALE_LOWEST = -10
_LARGEST_SMALL = math.sqrt(0.5)
"""No component of a unit quaternion but the largest can be larger."""

_MAGNITUDE_BITS = 9
_MAGNITUDES = (1 << _MAGNITUDE_BITS) - 1


def turned(gaussians: Gaussians) -> Gaussians:
    """The Gaussians with y and z negated, half a turn about x: from PLY axes to SPZ axes, or back."""
    signs = torch.tensor([_harmonic_sign(k) for k in range(gaussians.sh.shape[1])]).to(gaussians.sh)
    return Gaussians(
        means=gaussians.means * gaussians.means.new_tensor([1, -1, -1]),
        quats=gaussians.quats * gaussians.quats.new_tensor([1, 1, -1, -1]),
        log_scales=gaussians.log_scales,
        opacity_logits=gaussians.opacity_logits,
        sh=gaussians.sh * signs[None, :, None],
    )


def _harmonic_sign(index: int) -> int:
    """What the k-th real spherical harmonic is multiplied with when y and z change sign."""
    degree = math.isqrt(index)
    order = index - degree * degree - degree
    # It is odd in z when degree + |order| is odd, and odd in y when its order is negative.
    return -1 if (degree + abs(order) + (order < 0)) % 2 else 1


def pack_positions(means: Float[Tensor, "n 3"], fraction_bits: int) -> bytes:
    """Three signed 24-bit numbers each, little-endian."""
    fixed = np.rint(means.double().cpu().numpy() * (1 << fraction_bits)).astype("<i4")
    return np.ascontiguousarray(fixed.view(np.uint8).reshape(-1, 3, 4)[:, :, :3]).tobytes()


def unpack_positions(packed: UInt8[np.ndarray, "n 9"], fraction_bits: int) -> Float[np.ndarray, "n 3"]:
    """The inverse of `pack_positions`."""
    wide = np.zeros((len(packed), 3, 4), np.uint8)
    wide[:, :, 1:] = packed.reshape(-1, 3, 3)
    # The number stands in the upper three bytes, so shifting down extends its sign.
    fixed = wide.reshape(-1, 12).view("<i4") >> 8
    return (fixed / (1 << fraction_bits)).astype(np.float32)


def pack_colors(dc: Float[Tensor, "n 3"]) -> bytes:
    """Constant harmonics, in a range wider than that of colours."""
    return pack_bytes(dc * (_COLOR_SCALE * 255) + 127.5)


def unpack_colors(packed: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The inverse of `pack_colors`."""
    return ((packed.astype(np.float32) / 255 - 0.5) / _COLOR_SCALE).astype(np.float32)


def pack_log_scales(log_scales: Float[Tensor, "n 3"]) -> bytes:
    """Sixteenths, from e^-10 to e^5.9."""
    return pack_bytes((log_scales - _LOG_SCALE_LOWEST) * _LOG_SCALE_STEPS)


def unpack_log_scales(packed: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The inverse of `pack_log_scales`."""
    return (packed / np.float32(_LOG_SCALE_STEPS) + _LOG_SCALE_LOWEST).astype(np.float32)


def pack_rotations(quats: Float[Tensor, "n 4"]) -> bytes:
    """Index of the largest component (xyzw) in 2 bits, then sign and 9 bits of each other one."""
    xyzw = torch.nn.functional.normalize(quats.double(), dim=1)[:, [1, 2, 3, 0]].cpu().numpy()
    largest = np.abs(xyzw).argmax(axis=1)
    # q and -q are the same rotation; the largest component is stored as positive.
    xyzw = xyzw * np.where(np.take_along_axis(xyzw, largest[:, None], 1) < 0, -1, 1)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        magnitude = np.rint(np.abs(xyzw[:, axis]) * (_MAGNITUDES / _LARGEST_SMALL)).astype(np.uint32)
        field = np.minimum(magnitude, _MAGNITUDES) | ((xyzw[:, axis] < 0).astype(np.uint32) << _MAGNITUDE_BITS)
        packed = np.where(largest == axis, packed, (packed << (_MAGNITUDE_BITS + 1)) | field)
    return packed.astype("<u4").tobytes()


def unpack_rotations(packed: UInt8[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """The inverse of `pack_rotations`: unit quaternions wxyz."""
    bits = np.ascontiguousarray(packed).view("<u4")[:, 0].astype(np.int64)
    largest = bits >> 30
    xyzw = np.zeros((len(bits), 4))
    for axis in (3, 2, 1, 0):
        magnitude = (bits & _MAGNITUDES) * (_LARGEST_SMALL / _MAGNITUDES)
        value = np.where((bits >> _MAGNITUDE_BITS) & 1, -magnitude, magnitude)
        xyzw[:, axis] = np.where(largest == axis, 0, value)
        bits = np.where(largest == axis, bits, bits >> (_MAGNITUDE_BITS + 1))
    rest = np.sqrt(np.maximum(0, 1 - (xyzw**2).sum(axis=1)))
    np.put_along_axis(xyzw, largest[:, None], rest[:, None], 1)
    return xyzw[:, [3, 0, 1, 2]].astype(np.float32)


def unpack_rotations_v2(packed: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Rotations of version 2: x, y, z in bytes, w positive; wxyz."""
    xyz = packed / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(axis=1, keepdims=True)))
    return np.concatenate([w, xyz], axis=1).astype(np.float32)


def pack_sh(rest: Float[Tensor, "n k 3"], bits: tuple[int, int]) -> bytes:
    """Coefficients above the constant one, -1..1 in bytes, colour fastest, rounded to the bits of their degree."""
    num_first = 3
    steps = torch.full((rest.shape[1],), float(1 << (8 - bits[1])))
    steps[:num_first] = 1 << (8 - bits[0])
    steps = steps[None, :, None].to(rest)
    return pack_bytes(((rest * 128 + 128) / steps).round() * steps)


def unpack_sh(packed: UInt8[np.ndarray, "n k 3"]) -> Float[np.ndarray, "n k 3"]:
    """The inverse of `pack_sh`."""
    return (packed.astype(np.float32) - 128) / 128


def pack_bytes(values: Float[Tensor, "..."]) -> bytes:
    """Rounded and clamped to bytes."""
    return values.round().clamp(0, 255).to(torch.uint8).cpu().numpy().tobytes()
