"""Owns which files of a capture are its photographs, and finding them by the names that models use."""

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scene3d.errors import LimitExceeded
from scene3d.limits import IMAGE_SUFFIXES, MAX_VIEWS

PHOTO_FOLDERS = ("images", "input", "photos")
"""Where the photographs of a model are looked for, before the capture's folder itself."""


@dataclass(frozen=True, slots=True, eq=False)
class PhotoFolder:
    """The image files below one folder. Names are looked up in this list and never opened as paths."""

    root: Path
    files: dict[str, Path]
    """By name relative to the folder, with forward slashes."""

    @classmethod
    def of(cls, root: Path) -> "PhotoFolder":
        """Lists a folder and those below it; hidden and linked folders and macOS's `._` files are passed over.

        Raises:
            LimitExceeded: There are more image files than a capture may have views.
        """
        files: dict[str, Path] = {}
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                if not name.startswith("._") and path.suffix.lower() in IMAGE_SUFFIXES:
                    files[path.relative_to(root).as_posix()] = path
            if len(files) > MAX_VIEWS:
                raise LimitExceeded(f"holds more than {MAX_VIEWS:,} images", where=root, remedy="split the capture")
        return cls(root, files)

    def match(self, names: Iterable[str]) -> dict[str, Path]:
        """The file of each name that has one.

        Tried in turn: the name as it is; without regard to case and Unicode form; without the suffix; the last part
        alone. The looser ways count only where exactly one file fits, and no file serves two names.
        """
        names = tuple(names)
        found = {name: self.files[name] for name in names if name in self.files}
        taken = set(found.values())
        looser: list[dict[str, Path | None]] = [{}, {}, {}]
        for name, path in self.files.items():
            for table, key in zip(looser, _looser_keys(name), strict=True):
                table[key] = None if key in table else path
        for name in names:
            guesses = (table.get(key) for table, key in zip(looser, _looser_keys(name), strict=True))
            path_or_none = next((guess for guess in guesses if guess is not None), None)
            if name not in found and path_or_none is not None and path_or_none not in taken:
                found[name] = path_or_none
                taken.add(path_or_none)
        return found


def find_photo_folder(root: Path, names: Iterable[str]) -> tuple[PhotoFolder, dict[str, Path]]:
    """The folder in which most of the names are found, and what was found there."""
    names = tuple(names)
    best: tuple[PhotoFolder, dict[str, Path]] | None = None
    for candidate in (*(root / folder for folder in PHOTO_FOLDERS), root):
        if not candidate.is_dir():
            continue
        folder = PhotoFolder.of(candidate)
        found = folder.match(names)
        if len(found) == len(names):
            return folder, found
        if best is None or len(found) > len(best[1]):
            best = folder, found
    return best if best is not None else (PhotoFolder(root, {}), {})


def list_masks(root: Path) -> dict[str, Path]:
    """The files of a capture's `masks/` folder by relative name; none if there is no such folder."""
    return PhotoFolder.of(root / "masks").files if (root / "masks").is_dir() else {}


def _looser_keys(name: str) -> tuple[str, str, str]:
    plain = unicodedata.normalize("NFC", name).casefold()
    stem = plain.removesuffix(PurePosixPath(plain).suffix)
    return plain, stem, PurePosixPath(stem).name
