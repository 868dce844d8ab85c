"""Finds the CPU library: prebuilt in the wheel, compiled earlier into the cache, or compiled now."""

import ctypes
import json
import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rasterizer.backends.cpu.cache import cache_folder, hash_sources, hash_text, locked
from rasterizer.backends.cpu.targets import Target, host_target
from rasterizer.backends.cpu.toolchain import CompileError, Compiler, compile_library, find_compilers, flags_text
from rasterizer.errors import RasterizerError

__all__ = ["BuildError", "explain", "find_library"]

SOURCES = Path(__file__).parent / "src"
PREBUILT = Path(__file__).parent / "lib"
RECORD_SCHEMA_VERSION = 1

_REMEDY = (
    "install a C++17 compiler (g++ 11 or newer, clang++ 14 or newer), or `pip install ziglang`, "
    "or set CXX to a compiler's path"
)
_BUILD_PREFIX = ".build-"
_MODES = ("auto", "never", "force")

logger = logging.getLogger(__name__)


class BuildError(RasterizerError):
    """There is no CPU library and none can be made; the text lists what was tried and what to install."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What one look around found: the library if there is one, and why the other places had none."""

    library: Path | None
    origin: str
    reasons: tuple[str, ...]


def find_library() -> Path:
    """Return the path of a CPU library that loads on this machine, compiling it when there is none.

    SCENE3D_CPU_BUILD=never forbids compiling; SCENE3D_CPU_BUILD=force compiles anew and ignores everything older.

    Raises:
        BuildError: There is no library and none could be made; the text lists what was tried and what to install.
    """
    mode = _mode()
    target = host_target()
    compilers, missed = ([], []) if mode == "never" else find_compilers()
    if mode != "force":
        search = _search(target, compilers)
        if search.library is not None:
            return search.library
        missed = [*search.reasons, *missed]
    if mode == "never":
        raise BuildError(_failure([*missed, "compiling: forbidden by SCENE3D_CPU_BUILD=never"]))
    for compiler in compilers:
        try:
            return _compile_into_cache(compiler, target, anew=mode == "force")
        except (CompileError, OSError, RuntimeError) as error:
            missed.append(f"{' '.join(compiler.command)} ({compiler.identity}): {error}")
    raise BuildError(_failure(missed))


def explain() -> str:
    """Say in one line where the library comes from, or why there is none; nothing is compiled."""
    try:
        mode = _mode()
        target = host_target()
        compilers, missed = ([], []) if mode == "never" else find_compilers()
        search = _search(target, compilers)
    except BuildError as error:
        return str(error)
    if mode == "force" and compilers:
        return f"compiled anew at first use with {compilers[0].identity} (SCENE3D_CPU_BUILD=force)"
    if search.library is not None:
        return f"{search.origin}: {search.library}"
    if compilers:
        return f"not compiled yet; at first use with {' '.join(compilers[0].command)} ({compilers[0].identity})"
    forbidden = ["compiling is forbidden by SCENE3D_CPU_BUILD=never"] if mode == "never" else []
    return "; ".join([*search.reasons, *missed, *forbidden, f"remedy: {_REMEDY}"])


def write_prebuilt_record(library: Path, source_hash: str, compiler: str) -> Path:
    """Write the record that ties a prebuilt library to the sources it was made from."""
    record = {"schema_version": RECORD_SCHEMA_VERSION, "source_sha256": source_hash, "compiler": compiler}
    path = _record_path(library)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def _mode() -> str:
    mode = os.environ.get("SCENE3D_CPU_BUILD") or "auto"
    if mode not in _MODES:
        raise BuildError(f"SCENE3D_CPU_BUILD is {mode!r}; remedy: set it to one of {', '.join(_MODES)}")
    return mode


def _search(target: Target, compilers: list[Compiler]) -> _Search:
    prebuilt = PREBUILT / target.library_name
    reason = _why_not_prebuilt(prebuilt)
    if reason is None:
        return _Search(prebuilt, "prebuilt library", ())
    reasons = [reason]
    try:
        candidates = _cached_candidates(target, compilers)
    except (OSError, RuntimeError) as error:
        return _Search(None, "", (*reasons, f"cache: {error}"))
    for path in candidates:
        failure = _why_not_loadable(path)
        if failure is None:
            return _Search(path, "library compiled on this machine", ())
        reasons.append(failure)
    return _Search(None, "", (*reasons, f"cache {cache_folder()}: no library of these sources"))


def _why_not_prebuilt(library: Path) -> str | None:
    if not library.is_file():
        return f"prebuilt library: no {library.name} in this installation"
    try:
        recorded = json.loads(_record_path(library).read_text(encoding="utf-8"))["source_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"prebuilt library: {library.name} has no readable record beside it"
    if recorded != hash_sources(SOURCES):
        return f"prebuilt library: {library.name} was made from other sources"
    return _why_not_loadable(library)


def _why_not_loadable(library: Path) -> str | None:
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{library}: does not load ({error})"
    return None


def _cached_candidates(target: Target, compilers: list[Compiler]) -> list[Path]:
    """Return existing cached libraries of these sources, those of today's compilers first."""
    if not SOURCES.is_dir():
        return []
    wanted = [_cache_path(compiler, target) for compiler in compilers]
    # A compiler that has been removed since must not cost the library it made.
    ending = Path(target.library_name).suffix
    others = sorted(cache_folder().glob(f"{_cache_stem(target)}-*{ending}")) if not compilers else []
    return [path for path in [*wanted, *others] if path.is_file()]


def _cache_stem(target: Target) -> str:
    return f"{Path(target.library_name).stem}{target.libc and '-' + target.libc}-{hash_sources(SOURCES)[:16]}"


def _cache_path(compiler: Compiler, target: Target) -> Path:
    made_by = hash_text(compiler.identity, " ".join(compiler.command), flags_text(compiler, target))
    return cache_folder() / f"{_cache_stem(target)}-{made_by}{Path(target.library_name).suffix}"


def _compile_into_cache(compiler: Compiler, target: Target, *, anew: bool) -> Path:
    library = _cache_path(compiler, target)
    with locked(library.with_name("build.lock")):
        if library.is_file() and not anew and _why_not_loadable(library) is None:
            return library  # another process compiled it while this one waited
        logger.info("compiling the CPU rasterizer (once, about %d s)", compiler.typical_compile_s)
        start_s = time.perf_counter()
        for leftover in library.parent.glob(f"{_BUILD_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)  # of a killed build: whoever holds the lock is the only builder
        # In the cache folder, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(dir=library.parent, prefix=_BUILD_PREFIX) as folder:
            made = Path(folder) / library.name
            compile_library(SOURCES, made, compiler, target)
            failure = _why_not_loadable(made)
            if failure is not None:
                raise CompileError(failure)
            os.replace(made, library)
        logger.info("compiled the CPU rasterizer in %.1f s: %s", time.perf_counter() - start_s, library)
    return library


def _record_path(library: Path) -> Path:
    return library.with_name(library.name + ".json")


def _failure(missed: list[str]) -> str:
    tried = "\n".join(f"  - {line}" for line in missed)
    return f"the CPU library is not there and could not be compiled; tried:\n{tried}\nremedy: {_REMEDY}"
