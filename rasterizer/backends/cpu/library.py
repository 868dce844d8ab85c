"""Loads the CPU library and declares what crosses its border, field by field as in src/abi.h."""

import ctypes
import os
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

from torch import Tensor

from rasterizer.backends.cpu.build import BuildError, find_library
from rasterizer.errors import BackendUnavailable, RasterizerError

ABI_VERSION = 2

_STATUS = {
    1: "not enough memory",
    2: "more than 4,294,967,295 pairs of Gaussian and tile in one image; render in parts",
    3: "an argument the library does not know",
}


class ProjectArguments(Structure):
    """S3dProject."""

    _fields_ = (
        ("num_gaussians", c_int64),
        *((name, c_int32) for name in ("num_cameras", "width", "height", "num_threads")),
        *((name, c_float) for name in ("near_plane", "far_plane", "eps2d", "radius_clip")),
        *((name, c_void_p) for name in ("means", "quats", "scales", "opacities", "viewmats", "Ks")),
        *((name, c_void_p) for name in ("means2d", "depths", "conics", "compensations", "radii")),
        *((name, c_void_p) for name in ("v_means2d", "v_depths", "v_conics", "v_compensations")),
        *((name, c_void_p) for name in ("v_means", "v_quats", "v_scales", "v_viewmats")),
    )


class ShadeArguments(Structure):
    """S3dShade."""

    _fields_ = (
        ("num_gaussians", c_int64),
        *((name, c_int32) for name in ("num_cameras", "sh_degree", "num_bases", "num_threads")),
        *((name, c_void_p) for name in ("means", "sh", "camera_centers", "radii", "colors")),
        *((name, c_void_p) for name in ("v_colors", "v_means", "v_sh", "v_camera_centers")),
    )


class BlendArguments(Structure):
    """S3dBlend."""

    _fields_ = (
        ("num_gaussians", c_int64),
        *((name, c_int32) for name in ("num_cameras", "width", "height", "num_channels", "num_threads")),
        *((name, c_void_p) for name in ("means2d", "conics", "colors", "opacities", "depths", "radii", "backgrounds")),
        *((name, c_void_p) for name in ("image", "alphas", "weight_sum", "weight_max", "median_depth")),
        *((name, c_void_p) for name in ("v_image", "v_alphas")),
        *((name, c_void_p) for name in ("v_means2d", "v_conics", "v_colors", "v_opacities", "v_backgrounds")),
        ("v_means2d_abs", c_void_p),
    )


class L1SsimArguments(Structure):
    """S3dL1Ssim."""

    _fields_ = (
        *((name, c_int32) for name in ("width", "height", "num_channels", "num_threads")),
        ("ssim_weight", c_float),
        *((name, c_void_p) for name in ("rendered", "target", "mask")),
        ("loss", POINTER(c_double)),
        ("v_rendered", c_void_p),
    )


class AdamArguments(Structure):
    """S3dAdam."""

    _fields_ = (
        *((name, c_int64) for name in ("num_rows", "row_size", "num_corrections")),
        ("num_threads", c_int32),
        *((name, c_float) for name in ("beta1", "beta2", "eps")),
        *((name, c_void_p) for name in ("rates", "decays", "row_steps", "corrections1", "corrections2")),
        *((name, c_void_p) for name in ("params", "exp_avg", "exp_avg_sq", "grads", "mask")),
    )


class Library:
    """The loaded library; its calls release Python's global lock.

    Args:
        path: The shared library.
    """

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))
        self._dll.s3d_abi_version.restype = c_int
        found = self._dll.s3d_abi_version()
        if found != ABI_VERSION:
            raise BackendUnavailable("cpu", f"{path} speaks version {found} of the interface, not {ABI_VERSION}")
        self._dll.s3d_isa.restype = c_char_p
        for name in ("s3d_has_isa", "s3d_set_isa"):
            getattr(self._dll, name).argtypes = (c_char_p,)
        self._dll.s3d_blend_forward.argtypes = (POINTER(BlendArguments), POINTER(c_void_p))
        self._dll.s3d_blend_backward.argtypes = (POINTER(BlendArguments), c_void_p)
        self._dll.s3d_blend_free.argtypes = (c_void_p,)
        self._dll.s3d_blend_free.restype = None

    @property
    def isa(self) -> str:
        """The instruction set in use: baseline, v3 (AVX2) or v4 (AVX-512)."""
        return str(self._dll.s3d_isa().decode())

    @property
    def lanes(self) -> int:
        """Floats in one vector of the instruction set in use."""
        return int(self._dll.s3d_lanes())

    def has_isa(self, name: str) -> bool:
        """Whether the library holds kernels for this instruction set and the machine can run them."""
        return bool(self._dll.s3d_has_isa(name.encode()))

    def set_isa(self, name: str) -> None:
        """Use the kernels of this instruction set from now on, in all threads.

        Raises:
            RasterizerError: The library has no such kernels or this machine cannot run them.
        """
        if self._dll.s3d_set_isa(name.encode()) != 0:
            raise RasterizerError(f"instruction set '{name}' is not one this machine and library can use")

    def call(self, function: str, arguments: Structure) -> None:
        """Run a kernel.

        Raises:
            RasterizerError: The kernel reports that it could not finish.
        """
        self._check(getattr(self._dll, function)(ctypes.byref(arguments)))

    def blend_forward(self, arguments: BlendArguments, *, keep_state: bool) -> int | None:
        """Blend; with `keep_state` return the handle that `blend_backward` needs and `blend_free` ends."""
        handle = c_void_p()
        self._check(self._dll.s3d_blend_forward(ctypes.byref(arguments), ctypes.byref(handle) if keep_state else None))
        return handle.value

    def blend_backward(self, arguments: BlendArguments, handle: int) -> None:
        """Compute the gradients of a blend."""
        self._check(self._dll.s3d_blend_backward(ctypes.byref(arguments), handle))

    def blend_free(self, handle: int) -> None:
        """Give back the memory of a handle."""
        self._dll.s3d_blend_free(handle)

    @staticmethod
    def _check(status: int) -> None:
        if status != 0:
            raise RasterizerError(f"CPU kernel: {_STATUS.get(status, f'status {status}')}")


@cache
def load_library() -> Library:
    """Find, compile if need be, and load the library; once per process.

    SCENE3D_CPU_ISA chooses the instruction set: baseline, v3 or v4.

    Raises:
        BackendUnavailable: There is no library and none could be made.
    """
    try:
        library = Library(find_library())
    except (BuildError, OSError) as error:
        raise BackendUnavailable("cpu", str(error)) from error
    wanted = os.environ.get("SCENE3D_CPU_ISA")
    if wanted:
        library.set_isa(wanted)
    return library


def address(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor's data begins; null for None."""
    return None if tensor is None else tensor.data_ptr()


def contiguous(tensor: Tensor | None) -> Tensor | None:
    """The same numbers without gaps; None stays None."""
    return None if tensor is None else tensor.contiguous()
