"""Owns opening what a person points at: a run folder, or a Gaussian .ply from anywhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scene3d.errors import InputError
from scene3d.events import Reporter

if TYPE_CHECKING:
    from scene3d.cameras.camera import Camera
    from scene3d.data.capture import Capture
    from scene3d.gaussians.gaussians import Gaussians
    from scene3d.geometry.similarity import Similarity
    from scene3d.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedScene:
    """A scene and what is known about where it comes from."""

    gaussians: "Gaussians"
    """In the world frame; of a bare .ply the file's own axes serve as the world's."""

    world_from_capture: "Similarity"
    epsg: int | None
    run: "RunFolder | None"
    record: dict[str, Any]
    """`capture.json` of the run; empty for a bare .ply."""

    manifest: dict[str, Any]
    """`manifest.json` of the run; empty for a bare .ply."""

    @property
    def held_out(self) -> tuple[str, ...]:
        """Names of the views that training never saw."""
        return tuple(self.record.get("split", {}).get("test", ()))


def open_scene(path: Path, reporter: Reporter) -> OpenedScene:
    """Read the scene of a run folder or of a .ply file.

    Raises:
        InputError: Neither of them, an unfinished run, or a damaged file.
    """
    return _open_run(path, reporter) if path.is_dir() else _open_ply(path, reporter)


def open_capture(scene: OpenedScene, folder: Path | None) -> "Capture":
    """The capture of a scene, in the scene's world frame.

    Args:
        folder: Where the capture lies; of a run, None means where it lay when the run was made.

    Raises:
        InputError: There is no capture there, or none is known.
    """
    from scene3d.data.reading import read_capture

    if folder is None and "capture" not in scene.record:
        raise InputError("a bare .ply has no cameras", remedy="give --capture FOLDER, or use --path orbit")
    place = Path(scene.record["capture"]) if folder is None else folder
    if not place.is_dir():
        raise InputError("the capture of this run is no longer there", where=place, remedy="give --capture FOLDER")
    return read_capture(place).transformed(scene.world_from_capture)


def pick_cameras(scene: OpenedScene, capture: "Capture", names: Sequence[str]) -> dict[str, "Camera"]:
    """Cameras by view name: those asked for, else the held-out ones, else all.

    Raises:
        InputError: A name is not in the capture.
    """
    cameras = {view.name: view.camera for view in capture.views}
    if "all" in names:
        return cameras
    unknown = [name for name in names if name not in cameras]
    if unknown:
        some = ", ".join(list(cameras)[:3])
        raise InputError(f"there is no view '{unknown[0]}'", where=capture.root, remedy=f"names look like: {some}")
    wanted = names or [name for name in scene.held_out if name in cameras]
    return {name: cameras[name] for name in wanted} or cameras


def holds_only_photographs(folder: Path) -> bool:
    """Whether poses have to be found before this folder can be reconstructed."""
    from scene3d.data.photo_files import PhotoFolder

    poses = ("cameras.bin", "cameras.txt", "transforms*.json")
    if not folder.is_dir() or any(next(folder.rglob(pattern), None) for pattern in poses):
        return False
    return bool(PhotoFolder.of(folder).files)


def _open_run(root: Path, reporter: Reporter) -> OpenedScene:
    from scene3d.exporting import read_scene
    from scene3d.geometry.similarity import Similarity
    from scene3d.training.run_folder import read_run

    run, record = read_run(root)
    if not run.manifest.is_file():
        raise InputError(
            "this reconstruction is not finished", where=root, remedy="go on with `scene3d reconstruct --resume`"
        )
    try:
        manifest = json.loads(run.manifest.read_text(encoding="utf-8"))
        world_from_capture = Similarity.from_record(record["world_from_capture"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the run's records are damaged ({error})", where=root) from error
    return OpenedScene(
        gaussians=read_scene(run.merged_scene, manifest),
        world_from_capture=world_from_capture,
        epsg=manifest.get("epsg"),
        run=run,
        record=record,
        manifest=manifest,
    )


def _open_ply(path: Path, reporter: Reporter) -> OpenedScene:
    import numpy as np

    from scene3d.geometry.similarity import Similarity
    from scene3d.io.ply import read_gaussians_ply, read_ply_comments

    if path.suffix.lower() != ".ply":
        raise InputError("this is neither a run folder nor a .ply file", where=path)
    gaussians = read_gaussians_ply(path, reporter=reporter)
    # What a file subtracted from its coordinates must be added again when it is written anew.
    notes = dict(comment.split(" ", 1) for comment in read_ply_comments(path) if " " in comment)
    try:
        offset = np.array([float(number) for number in notes.get("offset", "0 0 0").split()]).reshape(3)
        epsg = int(notes["epsg"]) if "epsg" in notes else None
    except ValueError as error:
        raise InputError(f"the offset or epsg comment is damaged ({error})", where=path) from error
    return OpenedScene(
        gaussians=gaussians,
        world_from_capture=Similarity(1.0, np.eye(3), -offset),
        epsg=epsg,
        run=None,
        record={},
        manifest={},
    )
