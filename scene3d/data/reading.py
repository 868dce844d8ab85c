"""Owns turning what a person brings - COLMAP, nerfstudio or Blender poses with photographs - into a capture."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from scene3d.cameras.camera import Camera
from scene3d.cameras.conventions import cam_from_opengl
from scene3d.data.capture import Capture, Finding, Severity, SparsePoints, View
from scene3d.data.colmap_capture import capture_from_colmap, find_colmap, read_colmap_folder
from scene3d.data.masks import find_mask
from scene3d.data.photo_files import PhotoFolder, list_masks
from scene3d.data.photo_sizes import fit_to_photos
from scene3d.errors import InputError
from scene3d.io.ply import read_points_ply
from scene3d.io.transforms_json import TransformsFrame, read_transforms

__all__ = ["capture_from_colmap", "read_capture"]

PARTS = ("train", "test", "val")


def read_capture(folder: Path) -> Capture:
    """Read poses, points and the list of photographs; no photograph is decoded.

    Looked for in turn: a COLMAP model (`sparse/0`, `sparse`, `colmap/sparse/0`, ...), `transforms.json`,
    `transforms_train.json` with its fellows, and `train/` beside `test/` or `val/` with a model each (in one common
    frame; points are taken from `train/` alone). Views are sorted by name within their part; those whose photograph is
    missing or unreadable are left out with a finding. `masks/` is honoured. Numbers stay in double and in the frame of
    the files.

    Raises:
        InputError: There are no poses, no usable photograph, or photographs that do not fit their cameras.
        LimitExceeded: A file is larger than is accepted.
    """
    if not folder.is_dir():
        raise InputError("there is no such folder", where=folder, remedy="give the folder that holds the capture")
    reader = _find_reader(folder)
    if reader is None:
        raise _no_poses(folder)
    capture = fit_to_photos(reader(folder))
    findings = (*capture.findings, *_other_resolutions(folder))
    return replace(capture, findings=findings)


def _find_reader(folder: Path) -> Callable[[Path], Capture] | None:
    if find_colmap(folder) is not None:
        return read_colmap_folder
    if (folder / "transforms.json").is_file():
        return _read_transforms_folder
    if (folder / "transforms_train.json").is_file():
        return _read_transforms_parts
    has_parts = [part for part in PARTS if (folder / part).is_dir() and _find_reader(folder / part) is not None]
    return _read_part_folders if has_parts[:1] == ["train"] and len(has_parts) > 1 else None


def _read_transforms_folder(folder: Path) -> Capture:
    return _read_transforms_file(folder / "transforms.json", prefix="")


def _read_transforms_file(path: Path, *, prefix: str) -> Capture:
    transforms = read_transforms(path)
    masks = list_masks(path.parent)
    views = [_view_of_frame(frame, prefix, masks) for frame in transforms.frames]
    points = SparsePoints.empty()
    if transforms.points_path is not None:
        points = _bare_points(*read_points_ply(transforms.points_path))
    views.sort(key=lambda view: view.name)
    findings = transforms.findings
    return Capture(root=path.parent, views=tuple(views), points=points, findings=findings, source="transforms")


def _view_of_frame(frame: TransformsFrame, prefix: str, masks: Mapping[str, Path]) -> View:
    name = frame.name if frame.name.startswith(prefix) else prefix + frame.name
    mask = frame.mask_path or find_mask(frame.name, masks) or find_mask(frame.name.removeprefix("images/"), masks)
    return View(
        name=name,
        image_path=frame.image_path,
        camera=Camera.behind(frame.lens, cam_from_opengl(frame.world_from_cam)),
        lens=None if frame.lens.is_pinhole else frame.lens,
        mask_path=mask,
    )


def _bare_points(positions: Float[np.ndarray, "n 3"], colors: UInt8[np.ndarray, "n 3"]) -> SparsePoints:
    return SparsePoints(
        positions=positions,
        colors=colors,
        errors_px=np.full(len(positions), np.nan),
        track_offsets=np.zeros(len(positions) + 1, np.int64),
        track_views=np.zeros(0, np.int64),
    )


def _read_transforms_parts(folder: Path) -> Capture:
    parts = {part: folder / f"transforms_{part}.json" for part in PARTS}
    return _joined(
        folder,
        [_read_transforms_file(path, prefix=f"{part}/") for part, path in parts.items() if path.is_file()],
    )


def _read_part_folders(folder: Path) -> Capture:
    captures = []
    for part in PARTS:
        reader = _find_reader(folder / part) if (folder / part).is_dir() else None
        if reader is not None:
            capture = reader(folder / part)
            views = tuple(replace(view, name=f"{part}/{view.name}") for view in capture.views)
            captures.append(replace(capture, views=views))
    return _joined(folder, captures)


def _joined(folder: Path, captures: Sequence[Capture]) -> Capture:
    """Views of all parts, points of the first: those of a test part would tell training about held-out views."""
    views = [view for capture in captures for view in capture.views]
    paths = [view.image_path.resolve() for view in views]
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise InputError(
            f"{len(twice)} photographs are in two parts of the capture, such as {twice[0].name!r}",
            where=folder,
            remedy="take them out of one: no view may be trained on and held out",
        )
    findings = tuple(finding for capture in captures for finding in capture.findings)
    # The first part's views keep their places, so that its tracks stay right.
    return replace(captures[0], root=folder, views=tuple(views), findings=findings)


def _other_resolutions(folder: Path) -> list[Finding]:
    copies = sorted(path.name for path in folder.glob("images_[0-9]*") if path.is_dir())
    if not copies:
        return []
    what = f"{', '.join(f'{name}/' for name in copies)} are not used: images/ is read and scaled as asked for"
    return [Finding(severity=Severity.INFO, what=what, where=str(folder), remedy="use --image-scale")]


def _no_poses(folder: Path) -> InputError:
    photos = PhotoFolder.of(folder).files
    if photos:
        return InputError(
            f"holds {len(photos):,} images but no camera poses",
            where=folder,
            remedy=f"run: scene3d prepare {folder} --output CAPTURE",
        )
    return InputError(
        "holds neither camera poses nor photographs",
        where=folder,
        remedy="give a folder with sparse/0 or transforms.json, or photographs for scene3d prepare",
    )
