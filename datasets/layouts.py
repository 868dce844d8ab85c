"""Owns recognising a local copy of a public data set, and which of its files become which of a capture."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from scene3d.data.colmap_capture import find_colmap
from scene3d.data.photo_files import PhotoFolder, find_photo_folder
from scene3d.data.registry import Dataset
from scene3d.errors import InputError
from scene3d.io.colmap import find_colmap_suffix, read_colmap
from scene3d.io.opening import read_file_bytes
from scene3d.limits import MAX_JSON_BYTES

HELD_OUT_FOLDERS = ("val", "test")
PART_PAIRS = (
    ("train", "val"),
    ("train", "test"),
    ("train/block_all", "test/block_all_test"),
    ("train/block_A", "test/block_A_test"),
)
"""Where training and held-out photographs lie: Mega-NeRF, BlockGaussian, CityGaussian's MatrixCity."""

MODEL_FILES = ("cameras", "images", "points3D")
PICKLES = "its poses are pickles (metadata/*.pt), which are never read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A capture that can be made of a local copy."""

    layout: str
    links: Mapping[str, Path]
    """Files of the copy, by their name in the capture."""

    train: tuple[str, ...]
    """View names, as the capture's reader will give them."""

    test: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """Photographs that have a pose but are not there."""

    num_without_pose: int = 0
    photo_scale: float = 1.0
    """Share of the original size at which the photographs are taken over."""

    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON files to write, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One COLMAP model with its photographs."""

    links: dict[str, Path]
    photos: dict[str, Path]
    """By the names of the model."""

    missing: tuple[str, ...]
    num_without_pose: int


def plan_colmap_parts(dataset: Dataset, folder: Path) -> Plan | None:
    """`train/` beside `val/` or `test/`, each with a COLMAP model and photographs; None if it is not that."""
    for pair in PART_PAIRS:
        if all((folder / name).is_dir() and find_colmap(folder / name) is not None for name in pair):
            break
    else:
        return None
    names = (pair[0].split("/")[0], pair[1].split("/")[0])
    parts = [_read_part(folder / place, name) for place, name in zip(pair, names, strict=True)]
    train, test = (
        tuple(f"{name}/{view}" for view in sorted(part.photos)) for name, part in zip(names, parts, strict=True)
    )
    return Plan(
        layout="colmap-parts",
        links={name: path for part in parts for name, path in part.links.items()},
        train=train,
        test=test,
        missing=tuple(name for part in parts for name in part.missing),
        num_without_pose=sum(part.num_without_pose for part in parts),
    )


def plan_colmap(dataset: Dataset, folder: Path) -> Plan | None:
    """One COLMAP model for all photographs; None if there is none.

    Raises:
        InputError: The split of the data set needs to know which photographs are held out, and nothing says so.
    """
    if find_colmap(folder) is None:
        return None
    smaller = _find_smaller(dataset, folder)
    part = _read_part(folder, "", None if smaller is None else folder / f"images_{smaller}")
    names = sorted(part.photos)
    test = set(names[::8]) if dataset.split == "every-8" else _find_held_out(part.photos, folder)
    return Plan(
        layout="colmap",
        links=part.links,
        train=tuple(name for name in names if name not in test),
        test=tuple(name for name in names if name in test),
        missing=part.missing,
        num_without_pose=part.num_without_pose,
        photo_scale=1.0 if smaller is None else 1 / smaller,
    )


def explain_unknown(dataset: Dataset, folder: Path) -> InputError:
    """Why none of the data set's layouts fits."""
    remedy = f"get it so: {dataset.obtain}"
    if not folder.is_dir():
        return InputError("there is no such folder", where=folder, remedy=remedy)
    if any((folder / part / "metadata").is_dir() for part in ("train", *HELD_OUT_FOLDERS)):
        remedy = "put the COLMAP models into train/sparse and val/sparse (datasets/README.md says whence)"
        return InputError(f"is Mega-NeRF's form of {dataset.title}: {PICKLES}", where=folder, remedy=remedy)
    forms = " or ".join(dataset.layouts)
    return InputError(f"is no local copy of {dataset.title} that is recognised ({forms})", where=folder, remedy=remedy)


def _read_part(root: Path, name: str, photo_folder: Path | None = None) -> _Part:
    place = find_colmap(root)
    assert place is not None
    views = [image.name for image in read_colmap(place).images]
    if photo_folder is None:
        photos, found = find_photo_folder(root, views)
    else:
        photos = PhotoFolder.of(photo_folder)
        found = photos.match(views)
    suffix = find_colmap_suffix(place)
    prefix = f"{name}/" if name else ""
    links = {f"{prefix}images/{_with_suffix(view, path)}": path for view, path in found.items()}
    for file in (f"{stem}{suffix}" for stem in MODEL_FILES):
        if (place / file).is_file():
            links[f"{prefix}sparse/0/{file}"] = place / file
    unused = len(photos.files) - len(found) if photos.root != root else 0
    missing = tuple(f"{prefix}{view}" for view in views if view not in found)
    return _Part(links=links, photos=found, missing=missing, num_without_pose=unused)


def _with_suffix(view: str, path: Path) -> str:
    """The model's name for a photograph, with the suffix the file really has."""
    return str(PurePosixPath(view).with_suffix(path.suffix))


def _find_smaller(dataset: Dataset, folder: Path) -> int | None:
    """2, 4, ... if the published protocol uses photographs that lie ready in `images_2/`, `images_4/`, ..."""
    ratio = round(1 / dataset.image_scale)
    exact = math.isclose(ratio * dataset.image_scale, 1.0)
    return ratio if ratio > 1 and exact and (folder / f"images_{ratio}").is_dir() else None


def _find_held_out(photos: Mapping[str, Path], folder: Path) -> set[str]:
    """The held-out views of a copy with one model: by the folder of name or photograph, else by a list of names."""
    held_out = {
        name
        for name, path in photos.items()
        if {PurePosixPath(name).parts[0], path.relative_to(folder).parts[0]} & set(HELD_OUT_FOLDERS)
    }
    if held_out:
        return held_out
    for part in HELD_OUT_FOLDERS:
        lies = PhotoFolder.of(folder / part).match(photos) if (folder / part).is_dir() else {}
        if lies:
            return set(lies)
    for path in (folder / f"{part}.txt" for part in HELD_OUT_FOLDERS):
        if path.is_file():
            listed = _read_names(path)
            return {name for name in photos if {name, str(PurePosixPath(name).with_suffix(""))} & listed}
    remedy = "lay the photographs out as train/rgbs and val/rgbs (Mega-NeRF's way), or list them in test.txt"
    raise InputError("nothing says which photographs are held out", where=folder, remedy=remedy)


def _read_names(path: Path) -> set[str]:
    lines: Iterable[str] = read_file_bytes(path, max_bytes=MAX_JSON_BYTES).decode("utf-8-sig").splitlines()
    return {line.strip() for line in lines if line.strip()}
