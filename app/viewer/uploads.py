"""Owns the way of uploaded files into a capture: looked at, unpacked with bounds, and moved in whole."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from app.viewer.workspace import CaptureEntry, Workspace, check_name
from scene3d.errors import InputError, LimitExceeded
from scene3d.io.archives import unpack_zip
from scene3d.io.atomic import make_folder
from scene3d.io.images import read_image_size
from scene3d.limits import FREE_SPACE_FACTOR, IMAGE_SUFFIXES

CAPTURE_SUFFIXES = frozenset({*IMAGE_SUFFIXES, ".bin", ".txt", ".json", ".ply"})
"""Photographs, masks, and poses as COLMAP and nerfstudio keep them."""

MAX_FILES = 20_000
FOLDER = "captures"


def admit(workspace: Workspace, name: str, files: Sequence[Path]) -> CaptureEntry:
    """Make a capture of uploaded photographs, or of one zip with photographs and perhaps poses.

    The capture appears whole or not at all, and the uploads are deleted either way.

    Args:
        workspace: Gets it, below `captures/`.
        name: Of the new capture.
        files: Where the page has put the uploads, all inside the workspace's own folder.

    Raises:
        InputError: A name or file cannot be used.
        LimitExceeded: Too many files, or too little disk.
    """
    uploads = (workspace.private / "uploads").resolve()
    files = [path.resolve() for path in files]
    try:
        if not files:
            raise InputError("no file was chosen", remedy="choose photographs, or one .zip")
        if any(not path.is_relative_to(uploads) for path in files):
            raise InputError("these are no uploads")
        target = workspace.root / FOLDER / check_name(name)
        if target.exists():
            raise InputError(f"there is a capture {target.name!r} already", remedy="choose another name")
        _check_space(workspace, files)
        working = workspace.private / "admitting" / target.name
        shutil.rmtree(working, ignore_errors=True)
        make_folder(working)
        try:
            _fill(working, files)
            make_folder(target.parent)
            os.replace(working, target)
        finally:
            shutil.rmtree(working, ignore_errors=True)
    finally:
        for path in files:
            if path.is_relative_to(uploads):
                path.unlink(missing_ok=True)
    return workspace.find_capture(f"{FOLDER}~{target.name}")


def _fill(folder: Path, files: Sequence[Path]) -> None:
    archives = [path for path in files if path.suffix.lower() == ".zip"]
    if archives:
        if len(files) > 1:
            raise InputError("a .zip comes alone", remedy="put everything into one .zip, or choose photographs only")
        unpack_zip(archives[0], folder, suffixes=CAPTURE_SUFFIXES)
        return
    if len(files) > MAX_FILES:
        raise LimitExceeded(f"{len(files):,} files; at most {MAX_FILES:,} are taken", remedy="send a .zip")
    images = folder / "images"
    make_folder(images)
    for path in files:
        read_image_size(path)  # refuses what is no photograph, before anything is kept
        place = images / _file_name(path.name)
        if place.exists():
            raise InputError(f"two photographs are called {place.name!r}", remedy="rename one of them")
        shutil.move(path, place)


def _file_name(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    plain = "".join(sign if sign.isalnum() or sign in " ._-" else "_" for sign in stem).lstrip(".")[:120]
    return (plain or "photo") + suffix.lower()


def _check_space(workspace: Workspace, files: Sequence[Path]) -> None:
    needed = FREE_SPACE_FACTOR * sum(path.stat().st_size for path in files)
    free = shutil.disk_usage(workspace.root).free
    if needed > free:
        what = f"{needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free"
        raise LimitExceeded(what, remedy="free disk space on the server")
