"""Owns `.spz` files: the gzip container of versions 2 and 3, inflated only as far as its header was believed."""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scene3d.errors import InputError, LimitExceeded, SettingsError
from scene3d.events import Quiet, Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io import spz_packing
from scene3d.io.atomic import write_bytes
from scene3d.io.gaussian_checks import check_finite, opacity_logits_of_bytes, usable_gaussians
from scene3d.io.opening import read_file_bytes
from scene3d.limits import MAX_PLY_VERTICES, MAX_SH_DEGREE, MAX_SPLAT_FILE_BYTES, MAX_SPLAT_INFLATE_RATIO

_HEADER = struct.Struct("<4sIIBBBB")
_MAGIC = b"NGSP"
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31
_VERSION = 3
_ANTIALIASED, _EXTENSIONS = 1, 2
_SMALL_BYTES = 16 << 20
"""Below this the ratio of a bomb does no harm."""

_COMMON_FRACTION_BITS = 12
_MOST_FRACTION_BITS = 20
_STEPS_PER_SCALE = 16
_REMEDY = "it is damaged, cut short or no .spz file; export it again"
_QUIET = Quiet()


def read_spz(path: Path, *, reporter: Reporter = _QUIET) -> Gaussians:
    """Read an `.spz` of version 2 or 3, turned from its right-up-back axes to those of PLY files (right-down-front).

    Programs that copy numbers between PLY and SPZ without turning (gsply, Open3D) write files that come out upside
    down here, and read ours upside down: y and z of positions are negated, and what follows from that for rotations
    and spherical harmonics.

    Raises:
        InputError: Not such a file, damaged, another version, or a length that contradicts the header.
        LimitExceeded: It would inflate to more than is accepted, or too little memory.
    """
    try:
        packed = read_file_bytes(path, max_bytes=MAX_SPLAT_FILE_BYTES)
        header, body = _inflate(packed, path)
        return usable_gaussians(_unpack(header, body), path, reporter)
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to read this scene", where=path) from error


def write_spz(
    path: Path, gaussians: Gaussians, *, sh_bits: tuple[int, int] = (5, 4), antialiased: bool = False
) -> None:
    """Write an `.spz` of version 3 in its right-up-back axes, taking the Gaussians to be in those of a PLY.

    Positions are rounded to a sixteenth of the median Gaussian or finer where 24 bits allow it, the rest to bytes.

    Args:
        path: The file.
        gaussians: Spherical harmonics up to degree 3.
        sh_bits: Bits kept of the coefficients of degree 1 and of the higher ones, 1..8; fewer compress better.
        antialiased: Whether they were trained with the antialiased rasterizer.

    Raises:
        InputError: Gaussians that are not finite or too far apart, or a path that cannot be written.
        LimitExceeded: The disk is full.
        SettingsError: `sh_bits` outside 1..8.
    """
    if not all(1 <= bits <= 8 for bits in sh_bits):
        raise SettingsError(f"sh_bits are {sh_bits}; each must lie in 1..8")
    check_finite(gaussians, path)
    if gaussians.sh_degree > MAX_SH_DEGREE:
        what = f"the spherical harmonics have degree {gaussians.sh_degree}; an .spz holds up to {MAX_SH_DEGREE}"
        raise InputError(what, where=path, remedy="export a .ply")
    part = spz_packing.turned(gaussians.detach())
    bits = _fraction_bits(part, path)
    header = _HEADER.pack(_MAGIC, _VERSION, len(part), part.sh_degree, bits, _ANTIALIASED if antialiased else 0, 0)
    sections = [
        spz_packing.pack_positions(part.means, bits),
        spz_packing.pack_bytes(part.opacities * 255),
        spz_packing.pack_colors(part.sh[:, 0]),
        spz_packing.pack_log_scales(part.log_scales),
        spz_packing.pack_rotations(part.quats),
        spz_packing.pack_sh(part.sh[:, 1:], sh_bits),
    ]
    write_bytes(path, gzip.compress(header + b"".join(sections), compresslevel=6, mtime=0))


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    count: int
    degree: int
    fraction_bits: int
    has_extensions: bool
    """Other programs' records follow the Gaussians."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes a Gaussian takes among positions, opacities, colours, scales, rotations and harmonics."""
        return (9, 1, 3, 3, 4 if self.version >= 3 else 3, 3 * ((self.degree + 1) ** 2 - 1))


def _inflate(packed: bytes, path: Path) -> tuple[_Header, bytes]:
    if packed.startswith(_MAGIC):
        raise InputError("is an .spz of version 4 or later", where=path, remedy="convert it to version 3 or to .ply")
    if not packed.startswith(_GZIP_MAGIC):
        raise InputError("is no .spz file (it is not gzip-compressed)", where=path, remedy=_REMEDY)
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        head = inflater.decompress(packed, _HEADER.size)
        header = _parse_header(head, path)
        needed = header.count * sum(header.widths)
        if needed > max(_SMALL_BYTES, MAX_SPLAT_INFLATE_RATIO * len(packed)):
            what = f"claims to inflate {len(packed):,} bytes to {needed:,}"
            raise LimitExceeded(what, where=path, remedy=_REMEDY)
        # One byte more than needed shows a file that is too long without inflating all of it.
        body = inflater.decompress(inflater.unconsumed_tail, needed + 1)
    except zlib.error as error:
        raise InputError(f"cannot be inflated: {error}", where=path, remedy=_REMEDY) from error
    whole = len(body) >= needed if header.has_extensions else len(body) == needed and inflater.eof
    if not whole:
        what = f"its header declares {header.count:,} Gaussians, {needed:,} bytes; it holds {len(body):,}"
        raise InputError(what, where=path, remedy=_REMEDY)
    return header, body[:needed]


def _parse_header(head: bytes, path: Path) -> _Header:
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        raise InputError("is no .spz file", where=path, remedy=_REMEDY)
    _, version, count, degree, bits, flags, _ = _HEADER.unpack(head)
    if version not in (2, 3):
        raise InputError(f"is an .spz of version {version}", where=path, remedy="convert it to version 3 or to .ply")
    if degree > MAX_SH_DEGREE or not 1 <= bits <= 24:
        what = f"its header declares harmonics of degree {degree} and {bits} fractional bits"
        raise InputError(what, where=path, remedy=_REMEDY)
    if count > MAX_PLY_VERTICES:
        what = f"declares {count:,} Gaussians; at most {MAX_PLY_VERTICES:,} are read"
        raise LimitExceeded(what, where=path, remedy="split the scene")
    return _Header(version, count, degree, bits, bool(flags & _EXTENSIONS))


def _unpack(header: _Header, body: bytes) -> Gaussians:
    ends = np.cumsum(header.widths) * header.count
    sections = np.split(np.frombuffer(body, np.uint8), ends[:-1])
    positions, opacities, colors, scales, rotations, harmonics = (
        section.reshape(header.count, width) for section, width in zip(sections, header.widths, strict=True)
    )
    unpack = spz_packing.unpack_rotations if header.version >= 3 else spz_packing.unpack_rotations_v2
    rest = spz_packing.unpack_sh(harmonics.reshape(header.count, (header.degree + 1) ** 2 - 1, 3))
    dc = spz_packing.unpack_colors(colors)
    return spz_packing.turned(
        Gaussians(
            means=torch.from_numpy(spz_packing.unpack_positions(positions, header.fraction_bits)),
            quats=torch.from_numpy(unpack(rotations)),
            log_scales=torch.from_numpy(spz_packing.unpack_log_scales(scales)),
            opacity_logits=opacity_logits_of_bytes(opacities[:, 0]),
            sh=torch.from_numpy(np.concatenate([dc[:, None], rest], axis=1)),
        )
    )


def _fraction_bits(gaussians: Gaussians, path: Path) -> int:
    if len(gaussians) == 0:
        return _COMMON_FRACTION_BITS
    median_scale = float(gaussians.log_scales.mean(dim=1).median().exp())
    wanted = math.ceil(math.log2(_STEPS_PER_SCALE / max(median_scale, 1e-9)))
    farthest = float(gaussians.means.abs().max())
    possible = math.floor(math.log2((2**23 - 1) / max(farthest, 1e-9)))
    if possible < 1:
        what = f"a Gaussian lies {farthest:,.0f} units from the origin; an .spz reaches {2**22:,}"
        raise InputError(what, where=path, remedy="export a .ply, or move the scene to the origin")
    return min(possible, max(_COMMON_FRACTION_BITS, min(wanted, _MOST_FRACTION_BITS)))
