"""Owns `scene3d export`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from app.errors import ExitCode
from app.settings_flags import OptionalPath
from scene3d.errors import InputError, SettingsError
from scene3d.events import Reporter

if TYPE_CHECKING:
    from app.scenes import OpenedScene
    from scene3d.cameras.camera import Camera

Corner = tuple[float, float, float]
UNBOUNDED = 1e30
"""Stands for a side of the box that was not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Write a scene for other programs, whole or cropped.

    As .ply it is exact and opens everywhere; .spz is small and rounds; .splat is for web viewers and drops the
    colour that depends on the view. Where a file cannot hold the coordinates, an offset stands in OUTPUT.json.
    With --format mesh it becomes triangles with colours: .glb or .ply, in double, open where no camera looked.
    """

    scene: Annotated[Path, Positional, arg(metavar="SCENE")]
    """A run folder or a Gaussian .ply."""

    output: Annotated[Path, arg(aliases=("-o",))]
    """The file to write."""

    format: Literal["ply", "splat", "spz", "mesh"] | None = None
    """Kind of file; without it the suffix of OUTPUT says. mesh writes OUTPUT.glb, or the .ply that OUTPUT names."""

    frame: Literal["capture", "world"] = "capture"
    """Coordinates of the file: the capture's own, or levelled with z up and the median depth 1."""

    crop_min: Corner | None = None
    """Smallest x y z to keep, in the coordinates of --frame."""

    crop_max: Corner | None = None
    """Largest x y z to keep."""

    voxel: Annotated[float | None, arg(metavar="LENGTH")] = None
    """Of a mesh: edge of a voxel in the capture's units; the longest side of the scene in 320 parts if not given."""

    capture: OptionalPath = None
    """Of a mesh: where the capture lies now, if it was moved; its cameras say from where to look."""

    force: bool = False
    """Write over an existing file."""


def run(command: Export, reporter: Reporter) -> int:
    """Read, crop and write."""
    from app.scenes import open_scene
    from scene3d.exporting import CropBox, export_scene

    if command.format == "mesh" or command.output.suffix.lower() == ".glb":
        return export_mesh(command, reporter)
    if command.voxel is not None or command.capture is not None:
        raise SettingsError("--voxel and --capture are for --format mesh")
    path = resolve_output(command.output, command.format, force=command.force)
    scene = open_scene(command.scene, reporter)
    box = find_box(command.crop_min, command.crop_max)
    record = export_scene(
        path,
        scene.gaussians,
        scene.world_from_capture,
        frame=command.frame,
        crop=None if box is None else CropBox(minimum=box[0], maximum=box[1], frame=command.frame),
        epsg=scene.epsg,
    )
    print(f"{record['num_gaussians']:,} Gaussians in {path}, {record['size_bytes'] / 1e6:.1f} MB")
    if record["offset"] is not None:
        print(f"the file holds local coordinates; add {record['offset']} (see {path}.json)")
    return ExitCode.DONE


def export_mesh(command: Export, reporter: Reporter) -> int:
    """Fuse depth maps of the scene into a mesh and write it."""
    from app.scenes import open_scene
    from scene3d.fusion.scene_mesh import MeshSettings, make_scene_mesh
    from scene3d.geometry.similarity import Similarity
    from scene3d.io.meshes import MESH_SUFFIXES, write_mesh

    if command.crop_min is not None or command.crop_max is not None:
        raise SettingsError("a mesh cannot be cropped here", remedy="crop to a .ply first and export that")
    path = command.output.with_suffix(".glb") if command.output.suffix == "" else command.output
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise SettingsError(f"cannot write a mesh as '{path.suffix}'", where=path, remedy="use .glb or .ply")
    path = resolve_output(path, None, force=command.force)
    scene = open_scene(command.scene, reporter)
    voxel_size = None if command.voxel is None else command.voxel * scene.world_from_capture.scale
    made = make_scene_mesh(
        scene.gaussians,
        find_mesh_cameras(scene, command.capture, reporter),
        MeshSettings(voxel_size=voxel_size),
        reporter=reporter,
    )
    target = Similarity.identity() if command.frame == "world" else scene.world_from_capture.inverse()
    mesh = replace(made.mesh, vertices=target.apply(made.mesh.vertices))
    voxel = made.voxel_size * target.scale
    note = f"scene3d: surface seen from {made.num_views} cameras, voxels of {voxel:.4g}, open where none looked"
    write_mesh(path, mesh, comments=[note, *([] if scene.epsg is None else [f"epsg {scene.epsg}"])])
    size_mb = path.stat().st_size / 1e6
    print(f"{len(mesh.faces):,} triangles, {len(mesh.vertices):,} vertices in {path}, {size_mb:.1f} MB")
    print(f"it covers what {made.num_views} cameras see well, in voxels of {voxel:.3g}; elsewhere it is open")
    return ExitCode.DONE


def find_mesh_cameras(scene: "OpenedScene", capture: Path | None, reporter: Reporter) -> "Sequence[Camera]":
    """Cameras of the photographs; around the scene, and a word, where there are none."""
    from app.scenes import open_capture
    from scene3d.fusion.scene_mesh import orbit_cameras

    try:
        return [view.camera for view in open_capture(scene, capture).views]
    except InputError as error:
        if capture is not None:
            raise
        reporter.note(f"looking from around the scene: {error.what}", level="warning")
        return orbit_cameras(scene.gaussians)


def resolve_output(path: Path, kind: str | None, *, force: bool) -> Path:
    """The file to write, with the suffix of the chosen kind.

    Raises:
        SettingsError: Suffix and kind contradict each other.
        InputError: The file is there already and may not be replaced.
    """
    if kind is not None and path.suffix == "":
        path = path.with_suffix(f".{kind}")
    if kind is not None and path.suffix.lower() != f".{kind}":
        raise SettingsError(f"--format is {kind}, but the file ends with '{path.suffix}'", where=path)
    if path.exists() and not force:
        raise InputError("there is such a file already", where=path, remedy="choose another, or add --force")
    return path


def find_box(minimum: Corner | None, maximum: Corner | None) -> tuple[Corner, Corner] | None:
    """The box between two corners, open on a side that was not given; None when neither was."""
    if minimum is None and maximum is None:
        return None
    return minimum or (-UNBOUNDED,) * 3, maximum or (UNBOUNDED,) * 3
