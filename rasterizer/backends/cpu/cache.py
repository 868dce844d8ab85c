"""Where compiled libraries are kept between runs: the folder, the key of a library, the lock around a build."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HASHED_ENDINGS = (".cpp", ".h", ".hpp")


def cache_folder() -> Path:
    """Return the folder for compiled libraries (it may not exist yet).

    SCENE3D_CACHE names it; otherwise it lies in the user's cache folder of the platform.

    Raises:
        RuntimeError: The user has no home folder.
    """
    chosen = os.environ.get("SCENE3D_CACHE")
    root = Path(chosen).expanduser() if chosen else _user_cache() / "scene3d"
    return root / "cpu_kernels"


def hash_sources(sources: Path) -> str:
    """Return the SHA-256 over names and bytes of the C++ files; renaming or editing any of them changes it."""
    digest = hashlib.sha256()
    for path in sorted(sources.iterdir()):
        if path.suffix in _HASHED_ENDINGS:
            # Line ends are normalised: a checkout on Windows must accept the library built elsewhere.
            content = path.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{path.name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def hash_text(*parts: str) -> str:
    """Return a short hash of several strings, for file names."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; other processes wait. The system frees it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as handle:
        _lock(handle.fileno())
        try:
            yield
        finally:
            _unlock(handle.fileno())


if sys.platform == "win32":
    import msvcrt
    import time

    def _lock(descriptor: int) -> None:
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except OSError:
                time.sleep(0.1)
            else:
                return

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
