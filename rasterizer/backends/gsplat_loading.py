"""Owns whether gsplat can run here: looked up without importing it, loaded only where CUDA really is."""

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from packaging.version import InvalidVersion, Version

from rasterizer.backends.cpu.cache import cache_folder, locked

OLDEST_VERSION = "1.5.3"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of one attempt to load gsplat: the module, or the reason why there is none."""

    module: ModuleType | None
    reason: str


def find_version() -> str | None:
    """The installed version, from the package's metadata; None where gsplat is not installed."""
    try:
        return importlib.metadata.version("gsplat")
    except importlib.metadata.PackageNotFoundError:
        return None


def why_not() -> str | None:
    """One line that says why gsplat cannot run here, None where nothing speaks against it. Imports nothing of it."""
    try:
        return _why_no_package() or _why_no_cuda() or _why_no_extension()
    except Exception as error:
        # Broken drivers and half-installed packages raise anything at all; a list of backends must survive it.
        return _one_line("looking for gsplat failed", error)


@cache
def load() -> Loaded:
    """Imports gsplat and its CUDA extension, which is compiled at first use and then kept by torch.

    Several processes that start together wait for the one that compiles. The outcome, good or bad, stands for the
    life of the process; nothing is raised.
    """
    reason = why_not()
    if reason is not None:
        return Loaded(None, reason)
    try:
        _touch_device()
        if not _has_compiled_extension():
            logger.warning("gsplat compiles its CUDA extension at first use; this can take several minutes")
        with locked(cache_folder().parent / "gsplat.lock"):
            extension = importlib.import_module("gsplat.cuda._backend")._C
        if extension is None:
            return Loaded(None, "gsplat found no CUDA toolkit to compile its extension with")
        return Loaded(importlib.import_module("gsplat"), f"CUDA {torch.version.cuda}")
    except Exception as error:
        return Loaded(None, _one_line("loading gsplat's CUDA extension failed", error))


def _why_no_package() -> str | None:
    version = find_version()
    if version is None or importlib.util.find_spec("gsplat") is None:
        return "gsplat is not installed"
    try:
        if Version(version) < Version(OLDEST_VERSION):
            return f"gsplat {version} is older than {OLDEST_VERSION}"
    except InvalidVersion:
        return f"gsplat has the version {version!r}, which cannot be compared with {OLDEST_VERSION}"
    return None


def _why_no_cuda() -> str | None:
    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device or driver"
    return None


def _why_no_extension() -> str | None:
    if _has_compiled_extension() or _has_nvcc():
        return None
    return "gsplat's CUDA extension is not compiled and no nvcc was found to compile it (CUDA_HOME, PATH)"


def _has_compiled_extension() -> bool:
    """Whether the installation brings the extension along, as wheels for one torch and one CUDA do."""
    spec = importlib.util.find_spec("gsplat")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return any(any(Path(folder).glob(f"csrc*{ending}")) for folder in folders for ending in (".so", ".pyd"))


def _has_nvcc() -> bool:
    named = [os.environ.get(variable) for variable in ("CUDA_HOME", "CUDA_PATH")]
    homes = [Path(home) for home in [*named, "/usr/local/cuda"] if home]
    compilers = [home / "bin" / name for home in homes for name in ("nvcc", "nvcc.exe")]
    return shutil.which("nvcc") is not None or any(compiler.is_file() for compiler in compilers)


def _touch_device() -> None:
    """A card can be listed and yet not answer: another process may hold all of its memory."""
    torch.zeros(1, device="cuda")


def _one_line(what: str, error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{what}: {type(error).__name__}: {lines[0] if lines else 'no message'}"
