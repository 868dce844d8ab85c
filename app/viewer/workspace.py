"""Owns what the viewer may touch: one folder, the runs and captures in it, and a hidden folder of its own."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal

from scene3d.errors import InputError
from scene3d.io.atomic import make_folder
from scene3d.limits import IMAGE_SUFFIXES

PRIVATE = ".scene3d"
MAX_DEPTH = 3
MIN_PHOTOS = 3
"""A folder with fewer pictures in it and no poses is no capture."""

MAX_FOLDERS = 4000
KEPT_FOR_S = 2.0
"""So long one look at the disk serves every question about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """One reconstruction, or one bare .ply."""

    id: str
    """Names it in addresses; looked up in the list of runs, never opened as a path."""

    name: str
    root: Path
    state: Literal["finished", "begun", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureEntry:
    """One folder with photographs."""

    id: str
    name: str
    root: Path
    has_poses: bool


class Workspace:
    """The folder a viewer works in.

    Args:
        root: Everything below it may be shown; made where missing.
        extra: A run or .ply elsewhere that is shown too.
    """

    def __init__(self, root: Path, extra: Path | None = None) -> None:
        self.root = root.resolve()
        make_folder(self.root)
        self._extra = None if extra is None else extra.resolve()
        self._listed_s = float("-inf")
        self._runs: dict[str, RunEntry] = {}
        self._captures: dict[str, CaptureEntry] = {}

    @property
    def private(self) -> Path:
        """The viewer's own folder: jobs, uploads on their way, light copies."""
        folder = self.root / PRIVATE
        make_folder(folder)
        return folder

    def runs(self) -> dict[str, RunEntry]:
        """Every run by id, in the order of their names."""
        self._look()
        return self._runs

    def captures(self) -> dict[str, CaptureEntry]:
        """Every capture by id, in the order of their names."""
        self._look()
        return self._captures

    def find_run(self, run_id: str) -> RunEntry:
        """The run of an id.

        Raises:
            InputError: There is none.
        """
        entry = self.runs().get(run_id) or self._again().runs().get(run_id)
        if entry is None:
            raise InputError("there is no such run here", remedy="choose another from the list")
        return entry

    def find_capture(self, capture_id: str) -> CaptureEntry:
        """The capture of an id.

        Raises:
            InputError: There is none.
        """
        entry = self.captures().get(capture_id) or self._again().captures().get(capture_id)
        if entry is None:
            raise InputError("there is no such capture here", remedy="choose another from the list")
        return entry

    def run_id(self, root: Path) -> str | None:
        """The id of a run folder, whether or not there is anything in it yet."""
        resolved = root.resolve()
        if self._extra is not None and resolved == self._extra:
            return self._extra.name
        return _id_of(resolved.relative_to(self.root)) if resolved.is_relative_to(self.root) else None

    def cache(self, run: RunEntry) -> Path:
        """Where what was computed from a run is kept; it may be deleted at any time."""
        folder = self.private / "cache" / sha256(str(run.root).encode()).hexdigest()[:16]
        make_folder(folder)
        return folder

    def _again(self) -> "Workspace":
        self._listed_s = float("-inf")
        return self

    def _look(self) -> None:
        if time.monotonic() - self._listed_s < KEPT_FOR_S:
            return
        runs, captures = [], []
        for folder in _walk(self.root):
            if _is_run(folder):
                state: Literal["finished", "begun"] = _state_of(folder)
                name = folder.relative_to(self.root).as_posix()
                runs.append(RunEntry(id=_id_of(folder.relative_to(self.root)), name=name, root=folder, state=state))
            elif _is_capture(folder):
                place = folder.relative_to(self.root)
                poses = _has_poses(folder)
                captures.append(CaptureEntry(id=_id_of(place), name=place.as_posix(), root=folder, has_poses=poses))
        runs += self._extra_runs()
        self._runs = {run.id: run for run in sorted(runs, key=lambda run: run.name)}
        self._captures = {each.id: each for each in sorted(captures, key=lambda each: each.name)}
        self._listed_s = time.monotonic()

    def _extra_runs(self) -> list[RunEntry]:
        extra = self._extra
        if extra is None or (extra.is_dir() and extra.is_relative_to(self.root)):
            return []
        if extra.is_file():
            return [RunEntry(id=extra.name, name=extra.name, root=extra, state="file")]
        return [RunEntry(id=extra.name, name=extra.name, root=extra, state=_state_of(extra))]


def check_name(name: str) -> str:
    """A name for a new folder: letters, digits, space, dot, dash and underscore, not hidden.

    Raises:
        InputError: It is anything else.
    """
    name = name.strip()
    odd = [sign for sign in name if not (sign.isascii() and (sign.isalnum() or sign in " ._-"))]
    if not name or odd or name.startswith(".") or len(name) > 80:
        remedy = "use letters, digits, spaces and . _ - only, at most 80"
        raise InputError("this name cannot be used for a folder", remedy=remedy)
    return name


def _walk(root: Path) -> Iterator[Path]:
    """Folders below a root, nearest first; hidden and linked ones, and what is inside runs and captures, left out."""
    queue, seen = [root], 0
    while queue and seen < MAX_FOLDERS:
        folder = queue.pop(0)
        seen += 1
        if folder != root:
            yield folder
            if _is_run(folder) or _is_capture(folder):
                continue
        if len(folder.relative_to(root).parts) >= MAX_DEPTH:
            continue
        try:
            with os.scandir(folder) as entries:
                names = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
        except OSError:
            continue  # a folder that may not be read has nothing to show
        queue += [folder / name for name in names if not name.startswith(".")]


def _is_run(folder: Path) -> bool:
    return (folder / "capture.json").is_file() or (folder / "config.yaml").is_file()


def _state_of(folder: Path) -> Literal["finished", "begun"]:
    return "finished" if (folder / "merged" / "manifest.json").is_file() else "begun"


def _has_poses(folder: Path) -> bool:
    models = ("sparse/0", "sparse", "colmap/sparse/0")
    names = ("cameras.bin", "cameras.txt")
    return any((folder / model / name).is_file() for model in models for name in names) or any(
        (folder / name).is_file() for name in ("transforms.json", "transforms_train.json")
    )


def _is_capture(folder: Path) -> bool:
    if _has_poses(folder) or (folder / "images").is_dir():
        return True
    try:
        with os.scandir(folder) as entries:
            photos = (each for each in entries if Path(each.name).suffix.lower() in IMAGE_SUFFIXES and each.is_file())
            return len(list(islice(photos, MIN_PHOTOS))) == MIN_PHOTOS
    except OSError:
        return False


def _id_of(place: Path) -> str:
    return place.as_posix().replace("/", "~")
