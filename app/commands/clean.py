"""Owns `scene3d clean`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from app.commands.export import Corner, find_box, resolve_output
from app.errors import ExitCode
from app.settings_flags import OptionalPath
from scene3d.events import Reporter

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from app.scenes import OpenedScene

WEIGHT_IMAGE_WIDTH_PX = 800
"""Views are looked at no larger than this to find what none of them shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """Write a copy of a scene without floaters, and without what lies outside a box.

    A floater is faint, far too large, shown by no photograph, or a small cluster away from everything else.
    """

    scene: Annotated[Path, Positional, arg(metavar="SCENE")]
    """A run folder or a Gaussian .ply."""

    output: Annotated[Path, arg(aliases=("-o",))]
    """The .ply to write; the scene itself stays as it is."""

    capture: OptionalPath = None
    """Where the capture lies; a bare .ply is judged without views unless it is given."""

    keep_floaters: bool = False
    """Only crop."""

    min_opacity: float = 0.02
    """Gaussians fainter than this are removed."""

    min_weight: float = 0.02
    """Gaussians that no view shows with at least this blending weight are removed."""

    max_scale_share: float = 0.5
    """Gaussians longer than this share of the scene's radius are removed."""

    crop_min: Corner | None = None
    """Smallest x y z to keep, in the capture's coordinates."""

    crop_max: Corner | None = None
    """Largest x y z to keep."""

    force: bool = False
    """Write over an existing file."""


def run(command: Clean, reporter: Reporter) -> int:
    """Judge, crop and write."""
    from app.scenes import open_scene
    from scene3d.exporting import CropBox, export_scene
    from scene3d.gaussians.cleaning import CleaningSettings, remove_floaters

    path = resolve_output(command.output, "ply", force=command.force)
    scene = open_scene(command.scene, reporter)
    gaussians = scene.gaussians
    if not command.keep_floaters:
        settings = CleaningSettings(
            min_opacity=command.min_opacity,
            min_weight=command.min_weight,
            max_scale_share=command.max_scale_share,
        )
        result = remove_floaters(gaussians, settings, max_weights=find_weights(scene, command.capture, reporter))
        gaussians = result.gaussians
        print(", ".join(f"{count:,} {reason}" for reason, count in result.removed.items()) + " removed")
    box = find_box(command.crop_min, command.crop_max)
    crop = None if box is None else CropBox(minimum=box[0], maximum=box[1])
    record = export_scene(path, gaussians, scene.world_from_capture, crop=crop, epsg=scene.epsg)
    print(f"{record['num_gaussians']:,} of {len(scene.gaussians):,} Gaussians in {path}")
    return ExitCode.DONE


def find_weights(scene: "OpenedScene", capture_folder: Path | None, reporter: Reporter) -> "Float[Tensor, 'n'] | None":
    """The largest weight of each Gaussian in any view of the capture; None, and a word, where there is no capture."""
    from app.scenes import open_capture
    from scene3d.errors import InputError
    from scene3d.render import max_blending_weights

    try:
        capture = open_capture(scene, capture_folder)
    except InputError as error:
        if capture_folder is not None:
            raise
        reporter.note(f"judging without views: {error.what}", level="warning")
        return None
    cameras = [view.camera.scaled(min(1.0, WEIGHT_IMAGE_WIDTH_PX / view.camera.width)) for view in capture.views]
    return max_blending_weights(scene.gaussians, cameras)
