"""Owns the extensions of a run on disk: what each is, which are in the scene, and putting the scene together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from blocks.extension_settings import GridCell
from scene3d.errors import InputError, Scene3dError
from scene3d.exporting import read_scene
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.transform import transform_gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import make_folder, write_json
from scene3d.io.bounded_json import read_json_object
from scene3d.io.ply import read_ply_comments, write_gaussians_ply
from scene3d.io.ply_rows import PlyLayout, compose_ply, read_ply_layout
from scene3d.io.tensors import file_sha256
from scene3d.training.run_folder import RunFolder

EXTENSION_SCHEMA_VERSION = 1

Status = Literal["active", "undone", "stale"]

_ID = re.compile(r"^[0-9]{3,6}$")
_NOT_FINISHED = "go on with `scene3d reconstruct --resume`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionRecord:
    """One extension of a run."""

    id: str
    status: Status
    """active: in the scene; undone: taken out of it; stale: made for a scene that has been merged or trained anew."""

    cells: tuple[GridCell, ...]
    cell_edge: float
    """World units."""

    seed: int
    num_gaussians: int
    folder: Path
    record: Mapping[str, Any]
    """All of `extension.json`."""

    @property
    def scene(self) -> Path:
        """Its Gaussians in the frame of the run's scene file."""
        return self.folder / "scene.ply"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhotographedScene:
    """A finished run's scene without its extensions."""

    gaussians: Gaussians
    """In the world frame."""

    world_from_capture: Similarity
    manifest: Mapping[str, Any]
    layout: PlyLayout


def extension_folder(run: RunFolder, extension_id: str) -> Path:
    """Where everything of one extension lies."""
    return run.root / "extend" / extension_id


def read_manifest(run: RunFolder) -> dict[str, Any]:
    """The manifest of a finished run.

    Raises:
        InputError: The run is not finished, or the manifest is damaged.
    """
    if not run.manifest.is_file() or not run.merged_scene.is_file():
        raise InputError("this reconstruction is not finished", where=run.root, remedy=_NOT_FINISHED)
    return read_json_object(run.manifest)


def read_photographed(run: RunFolder) -> PhotographedScene:
    """The Gaussians that photographs made, in the world frame; what was grown is left out.

    Raises:
        InputError: The run is not finished or damaged.
    """
    manifest, layout = read_manifest(run), read_ply_layout(run.merged_scene)
    gaussians = read_scene(run.merged_scene, manifest)
    if len(gaussians) != layout.num_rows:
        raise InputError("holds Gaussians that are not finite", where=run.merged_scene, remedy="merge the run again")
    return PhotographedScene(
        gaussians=gaussians.select(torch.arange(layout.num_base_rows)),
        world_from_capture=read_frame(run, manifest),
        manifest=manifest,
        layout=layout,
    )


def read_frame(run: RunFolder, manifest: Mapping[str, Any]) -> Similarity:
    """`world_from_capture` of a run.

    Raises:
        InputError: The manifest does not say.
    """
    try:
        return Similarity.from_record(manifest["world_from_capture"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("the manifest does not say which frame the scene is in", where=run.manifest) from error


def list_extensions(run: RunFolder) -> list[ExtensionRecord]:
    """Every extension of a run, oldest first.

    Raises:
        InputError: The run is not finished, or an `extension.json` is damaged.
    """
    folders = sorted(path for path in (run.root / "extend").glob("*") if _ID.match(path.name))
    folders = [folder for folder in folders if (folder / "extension.json").is_file()]
    if not folders:
        return []
    layout = read_ply_layout(run.merged_scene)
    active = {part.name for part in layout.parts}
    base: str | None = None
    found = []
    for folder in folders:
        record = read_json_object(folder / "extension.json")
        status: Status = "active"
        if folder.name not in active:
            base = base or photographed_sha256(run, layout)
            status = "undone" if record.get("photographed_sha256") == base else "stale"
        found.append(_parse(folder, record, status))
    return found


def active_extensions(run: RunFolder) -> list[ExtensionRecord]:
    """The extensions that are in the scene, in the order of its rows."""
    order = [part.name for part in read_ply_layout(run.merged_scene).parts]
    found = {extension.id: extension for extension in list_extensions(run)}
    missing = [name for name in order if name not in found]
    if missing:
        remedy = "put the folder back, or merge the run again"
        raise InputError(
            f"extension {missing[0]} is in the scene but not here", where=run.root / "extend", remedy=remedy
        )
    return [found[name] for name in order]


def photographed_sha256(run: RunFolder, layout: PlyLayout) -> str:
    """SHA-256 of the scene file as it was before anything was grown."""
    if not layout.parts:
        return file_sha256(run.merged_scene)
    return layout.base_sha256()


def next_id(run: RunFolder) -> str:
    """A number that no extension of the run has had."""
    numbers = [int(path.name) for path in (run.root / "extend").glob("*") if _ID.match(path.name)]
    return f"{max(numbers, default=0) + 1:03d}"


def save_extension(
    run: RunFolder,
    extension_id: str,
    gaussians: Gaussians,
    facts: Mapping[str, Any],
    scene: PhotographedScene,
) -> ExtensionRecord:
    """Write an extension's Gaussians and its record; it is in the scene only after `compose_scene`.

    Args:
        gaussians: In the world frame, of the scene's SH degree.
        facts: What is to be known of it: cells, seed, weights and so on.
        scene: What it was grown from.
    """
    folder = extension_folder(run, extension_id)
    make_folder(folder)
    file_from_world = Similarity.from_record(scene.manifest["world_from_file"]).inverse()
    comments = [comment for comment in read_ply_comments(run.merged_scene) if "part" not in comment.split()]
    write_gaussians_ply(folder / "scene.ply", transform_gaussians(gaussians, file_from_world), comments=comments)
    record = {
        "schema_version": EXTENSION_SCHEMA_VERSION,
        "id": extension_id,
        "photographed_sha256": photographed_sha256(run, scene.layout),
        "num_gaussians": len(gaussians),
        "scene_sha256": file_sha256(folder / "scene.ply"),
        "world_from_file": scene.manifest["world_from_file"],
        **facts,
    }
    write_json(folder / "extension.json", record)
    return _parse(folder, record, "undone")


def compose_scene(run: RunFolder, extensions: Sequence[ExtensionRecord]) -> None:
    """Put `merged/scene.ply` together: the photographed rows, byte for byte, then those of some extensions.

    The scene file alone says what is in it, so that a process killed before the manifest is written does no harm.

    Raises:
        InputError: An extension is damaged, or was made for another scene. The scene is then what it was.
    """
    manifest, layout = read_manifest(run), read_ply_layout(run.merged_scene)
    base = photographed_sha256(run, layout)
    parts = [(extension.id, _checked_layout(extension, base)) for extension in extensions]
    compose_ply(run.merged_scene, layout, parts)
    composed = read_ply_layout(run.merged_scene)
    manifest["num_gaussians"] = composed.num_rows
    manifest["size_bytes"] = run.merged_scene.stat().st_size
    manifest["num_photographed"] = composed.num_base_rows
    manifest["extensions"] = [{"id": part.name, "num_gaussians": part.num_rows} for part in composed.parts]
    write_json(run.manifest, manifest)


def undo_extension(run: RunFolder, extension_id: str | None = None) -> str:
    """Take an extension out of the scene; those grown later stay.

    Without any extension left, `merged/scene.ply` is byte for byte what it was before the first.

    Args:
        extension_id: The one grown last if not given.

    Returns:
        Its id.

    Raises:
        InputError: There is none in the scene, or not this one.
    """
    with run.locked():
        active = active_extensions(run)
        names = [extension.id for extension in active]
        if not names:
            raise InputError("nothing was grown here that could be undone", where=run.root)
        chosen = names[-1] if extension_id is None else extension_id
        if chosen not in names:
            what = f"extension {chosen} is not in the scene"
            raise InputError(what, where=run.root, remedy=f"those that are: {', '.join(names)}")
        compose_scene(run, [extension for extension in active if extension.id != chosen])
    return chosen


def _checked_layout(extension: ExtensionRecord, base_sha256: str) -> PlyLayout:
    if extension.record.get("photographed_sha256") != base_sha256:
        raise InputError(
            f"extension {extension.id} was grown from a scene that has been merged or trained anew since",
            where=extension.folder,
            remedy=f"grow it again, with --seed {extension.seed}",
        )
    if file_sha256(extension.scene) != extension.record.get("scene_sha256"):
        remedy = f"undo it with `scene3d extend RUN --undo {extension.id}` and grow it again"
        raise InputError(
            "its content is not what was grown (the SHA-256 differs)", where=extension.scene, remedy=remedy
        )
    return read_ply_layout(extension.scene)


def _parse(folder: Path, record: Mapping[str, Any], status: Status) -> ExtensionRecord:
    try:
        if record["schema_version"] != EXTENSION_SCHEMA_VERSION:
            raise InputError(
                f"was written with layout {record['schema_version']}; this program reads {EXTENSION_SCHEMA_VERSION}",
                where=folder / "extension.json",
            )
        return ExtensionRecord(
            id=folder.name,
            status=status,
            cells=tuple((int(i), int(j)) for i, j in record["cells"]),
            cell_edge=float(record["cell_edge"]),
            seed=int(record["seed"]),
            num_gaussians=int(record["num_gaussians"]),
            folder=folder,
            record=record,
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, Scene3dError):
            raise
        raise InputError(f"is damaged ({error!r})", where=folder / "extension.json") from error
