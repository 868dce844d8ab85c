"""Owns turning a COLMAP model and its photographs into a capture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from scene3d.cameras.camera import Camera
from scene3d.data.capture import Capture, Finding, Severity, SparsePoints, View
from scene3d.data.masks import find_mask
from scene3d.data.photo_files import PHOTO_FOLDERS, PhotoFolder, find_photo_folder, list_masks
from scene3d.errors import InputError
from scene3d.geometry.rotations import matrices_from_quats
from scene3d.io.colmap import ColmapModel, find_colmap_suffix, read_colmap

COLMAP_FOLDERS = ("sparse", "colmap/sparse", "distorted/sparse", ".")


def find_colmap(folder: Path) -> Path | None:
    """The folder of the COLMAP model; of several in sparse/0, sparse/1, ... the one with the largest images file."""
    for place in COLMAP_FOLDERS:
        numbered = sorted((folder / place).glob("[0-9]*")) if place != "." else []
        models = [path for path in (*numbered, folder / place) if find_colmap_suffix(path)]
        if models:
            return max(models, key=lambda path: (path / f"images{find_colmap_suffix(path)}").stat().st_size)
    return None


def read_colmap_folder(folder: Path) -> Capture:
    """The capture of a folder in which `find_colmap` finds a model."""
    place = find_colmap(folder)
    assert place is not None
    model = read_colmap(place)
    if not model.images:
        raise InputError(
            "the model holds no registered photograph", where=place, remedy="run structure from motion again"
        )
    photos, found = find_photo_folder(folder, [image.name for image in model.images])
    if not found:
        looked = ", ".join(f"{name}/" for name in PHOTO_FOLDERS)
        raise InputError(
            f"none of the model's {len(model.images):,} photographs is there (first: {model.images[0].name!r}; looked "
            f"in {looked} and the folder itself)",
            where=folder,
            remedy="put the photographs in images/ under the names the model uses",
        )
    capture = _colmap_capture(model, folder, found, list_masks(folder))
    findings = [*capture.findings, *_missing(model, found, folder), *_unused(photos, found)]
    others = [path.name for path in place.parent.glob("[0-9]*") if path != place and find_colmap_suffix(path)]
    if others and place.name.isdigit():
        what = f"of {len(others) + 1} models the largest is used ({place.name}); photographs of the others are left out"
        findings.append(Finding(severity=Severity.WARNING, what=what, where=str(place.parent)))
    if (folder / "transforms.json").is_file():
        what = "holds a COLMAP model and a transforms.json; the COLMAP model is used"
        findings.append(Finding(severity=Severity.INFO, what=what, where=str(folder)))
    return replace(capture, findings=tuple(findings))


def capture_from_colmap(model: ColmapModel, root: Path) -> Capture:
    """Views and points of a model as they are; the photographs are taken to be in `images/` and not looked at."""
    return _colmap_capture(
        model, root, {image.name: root / PHOTO_FOLDERS[0] / image.name for image in model.images}, {}
    )


def _colmap_capture(model: ColmapModel, root: Path, photos: Mapping[str, Path], masks: Mapping[str, Path]) -> Capture:
    by_name = sorted(range(len(model.images)), key=lambda index: model.images[index].name)
    kept = [index for index in by_name if model.images[index].name in photos]
    views = []
    for index in kept:
        image = model.images[index]
        cam_from_world = np.eye(4)
        cam_from_world[:3, :3] = matrices_from_quats(image.qvec)
        cam_from_world[:3, 3] = image.tvec
        lens = model.cameras[image.camera_id]
        view = View(
            name=image.name,
            image_path=photos[image.name],
            camera=Camera.behind(lens, cam_from_world),
            lens=None if lens.is_pinhole else lens,
            mask_path=find_mask(image.name, masks),
        )
        views.append(view)
    view_of_image = np.full(len(model.images) + 1, -1, np.int64)  # the last one answers for unknown images
    view_of_image[kept] = np.arange(len(kept))
    points = _with_tracks(model, view_of_image[model.track_image_indices()])
    return Capture(root=root, views=tuple(views), points=points, findings=model.findings, source="colmap")


def _with_tracks(model: ColmapModel, track_views: Int[np.ndarray, "m"]) -> SparsePoints:
    """The model's points with tracks of view indices, each view once and ascending; -1 is left out."""
    points = model.points
    owners = np.repeat(np.arange(len(points)), np.diff(points.track_offsets))
    num_views = int(track_views.max(initial=-1)) + 1
    known = track_views >= 0
    pairs = np.unique(owners[known] * max(num_views, 1) + track_views[known])
    owners, views = pairs // max(num_views, 1), pairs % max(num_views, 1)
    return SparsePoints(
        positions=points.positions,
        colors=points.colors,
        errors_px=points.errors_px,
        track_offsets=np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(points)))]),
        track_views=views,
    )


def _missing(model: ColmapModel, found: Mapping[str, Path], folder: Path) -> list[Finding]:
    missing = sorted(image.name for image in model.images if image.name not in found)
    if not missing:
        return []
    names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    what = f"{len(missing):,} of {len(model.images):,} photographs of the model are missing ({names}); left out"
    remedy = "add them to images/ if they should be used"
    return [Finding(severity=Severity.WARNING, what=what, where=str(folder), remedy=remedy)]


def _unused(photos: PhotoFolder, found: Mapping[str, Path]) -> list[Finding]:
    used = set(found.values())
    unused = sorted(name for name, path in photos.files.items() if path not in used)
    if not unused or photos.root.name not in PHOTO_FOLDERS:
        return []
    names = ", ".join(unused[:3]) + (", ..." if len(unused) > 3 else "")
    what = f"{len(unused):,} photographs have no pose in the model ({names}); left out"
    return [Finding(severity=Severity.INFO, what=what, where=str(photos.root))]
