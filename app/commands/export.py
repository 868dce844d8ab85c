"""Owns `scene3d export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from app.errors import ExitCode
from scene3d.errors import InputError, SettingsError
from scene3d.events import Reporter

Corner = tuple[float, float, float]
UNBOUNDED = 1e30
"""Stands for a side of the box that was not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Write a scene for other programs, whole or cropped.

    As .ply it is exact and opens everywhere; .spz is small and rounds; .splat is for web viewers and drops the
    colour that depends on the view. Where a file cannot hold the coordinates, an offset stands in OUTPUT.json.
    """

    scene: Annotated[Path, Positional, arg(metavar="SCENE")]
    """A run folder or a Gaussian .ply."""

    output: Annotated[Path, arg(aliases=("-o",))]
    """The file to write."""

    format: Literal["ply", "splat", "spz"] | None = None
    """Kind of file; without it the suffix of OUTPUT says."""

    frame: Literal["capture", "world"] = "capture"
    """Coordinates of the file: the capture's own, or levelled with z up and the median depth 1."""

    crop_min: Corner | None = None
    """Smallest x y z to keep, in the coordinates of --frame."""

    crop_max: Corner | None = None
    """Largest x y z to keep."""

    force: bool = False
    """Write over an existing file."""


def run(command: Export, reporter: Reporter) -> int:
    """Read, crop and write."""
    from app.scenes import open_scene
    from scene3d.exporting import CropBox, export_scene

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
