"""Owns what training needs of memory: an estimate before it begins, and the measured peak."""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

from scene3d.errors import LimitExceeded

BYTES_PER_VALUE = 4
COPIES = 4
"""A parameter, its gradient and two moments."""

DENSITY_ROUND_FACTOR = 1.6
"""At its peak a density round holds most of the old rows beside the new ones."""

RASTER_BYTES_PER_GAUSSIAN = 160
BYTES_PER_PIXEL = 120
"""Photograph, rendering, their differences and the windows of SSIM. Measured as this file's constants all are: resident
size around steps and rounds of 100,000 to 200,000 Gaussians of degree 1 and 3 in images of 0.1 to 3 megapixels."""

WORKING_BYTES = 80 << 20
"""What torch and the rasterizer touch of their own code and buffers once they work, whatever the scene."""

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Numbers of these options of glibc's `mallopt`."""

LARGE_BYTES = 1 << 17
"""Where memory is short, what is larger than this goes back to the system as soon as it is freed."""

MIN_PHOTO_BYTES = 64 << 20
"""Photographs get at least this: a cache that holds none would decode one per iteration."""


def bytes_per_gaussian(sh_degree: int) -> int:
    """Memory that one Gaussian takes while it is trained."""
    num_values = 11 + 3 * (sh_degree + 1) ** 2
    return int(num_values * BYTES_PER_VALUE * COPIES * DENSITY_ROUND_FACTOR) + RASTER_BYTES_PER_GAUSSIAN


def training_bytes(num_gaussians: int, sh_degree: int, image_pixels: int) -> int:
    """Memory that training takes beside decoded photographs, for images of this many pixels."""
    return WORKING_BYTES + num_gaussians * bytes_per_gaussian(sh_degree) + image_pixels * BYTES_PER_PIXEL


def affordable_gaussians(memory_bytes: int, sh_degree: int, image_pixels: int) -> int:
    """Most Gaussians that can be trained in this much memory; 0 where not even the images fit."""
    left = memory_bytes - MIN_PHOTO_BYTES - training_bytes(0, sh_degree, image_pixels)
    return max(0, left // bytes_per_gaussian(sh_degree))


def check_fits(memory_bytes: int, num_gaussians: int, sh_degree: int, image_pixels: int) -> None:
    """Refuse what cannot be trained in this much memory.

    Raises:
        LimitExceeded: With the figure that would do.
    """
    needed = training_bytes(num_gaussians, sh_degree, image_pixels) + MIN_PHOTO_BYTES
    if needed > memory_bytes:
        what = (
            f"{num_gaussians:,} Gaussians need {needed / 2**30:.2f} GB to train; {memory_bytes / 2**30:.2f} are given"
        )
        raise LimitExceeded(what, remedy="give more (--memory-gb), more blocks (--blocks), or a smaller --image-scale")


def photo_bytes(memory_bytes: int, num_gaussians: int, sh_degree: int, image_pixels: int) -> int:
    """What training leaves for decoded photographs."""
    check_fits(memory_bytes, num_gaussians, sh_degree, image_pixels)
    return memory_bytes - training_bytes(num_gaussians, sh_degree, image_pixels)


def peak_memory_bytes() -> int | None:
    """Largest resident size of this process since `forget_peak`, or ever; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_one_heap() -> None:
    """Lets all threads allocate from one heap, where the C library would give each its own (glibc).

    What one thread frees can then serve another: a third less memory in blocks, and no slower. Call it before threads
    are started.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def keep_little() -> None:
    """Lets every image and large tensor go back to the system once it is freed, where the C library would keep it.

    Measured in blocks of Boruszyn: a fifth less memory above the imports, for a half more processor time.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def release_memory() -> None:
    """Gives freed memory back to the system, where the C library (glibc) would keep it for later."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> None:
    """Lets the next peak be counted from what is resident now; does nothing where the system cannot."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
