"""Owns `scene3d generate`."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from app.errors import ExitCode
from app.settings_flags import OptionalPath
from scene3d.errors import InputError, SettingsError
from scene3d.events import Reporter
from scene3d.generation.grow_settings import GrowSettings

if TYPE_CHECKING:
    from scene3d.generation.place import Place

SCHEMA_VERSION = 1
SAMPLES_PER_VOXEL = 2.5
"""Gaussians lie so much denser than voxels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Make a place out of nothing, by a layout or freely.

    Writes a mesh, a Gaussian scene, a picture, and what it was made from.
    """

    output: Annotated[Path, arg(aliases=("-o",))]
    """Folder for the results."""

    size: Annotated[str, arg(metavar="WxH")] = "3x3"
    """Cells along x (east) and y (north)."""

    layout: OptionalPath = None
    """What should be where: a .png in the palette of docs/generation.md, a .npy of class ids, or a .json of boxes."""

    generator: OptionalPath = None
    """A generator trained with `scene3d train-generator`; the one that comes with the program if not given."""

    force: bool = False
    """Write over what the folder holds."""

    settings: Annotated[GrowSettings, arg(name="")] = field(default_factory=GrowSettings)


def run(command: Generate, reporter: Reporter) -> int:
    """Grow the place and write it in every form."""
    from app.place_pictures import draw_place, sample_place
    from scene3d.exporting import write_scene
    from scene3d.gaussians.surface_sampling import make_flat_gaussians
    from scene3d.generation.generator import Generator
    from scene3d.generation.layout import paint_layout, read_layout
    from scene3d.generation.place import make_place
    from scene3d.geometry.isosurface import extract_mesh
    from scene3d.geometry.similarity import Similarity
    from scene3d.io.atomic import make_folder, write_json
    from scene3d.io.images import write_image
    from scene3d.io.meshes import write_mesh

    size = parse_size(command.size)
    check_folder(command.output, force=command.force)
    generator = Generator.load(command.generator)
    layout = None if command.layout is None else read_layout(command.layout, generator.spec.classes)
    place = make_place(generator, size, command.settings, layout=layout, reporter=reporter)
    mesh = extract_mesh(place.field)
    if len(mesh.faces) == 0:
        raise InputError("the generator made no surface at all", remedy="use a trained one, or another --seed")
    make_folder(command.output)
    samples = sample_place(mesh, place.field.voxel_size / SAMPLES_PER_VOXEL, command.settings.seed)
    write_mesh(command.output / "mesh.glb", mesh)
    write_scene(command.output / "scene.ply", make_flat_gaussians(samples, sh_degree=0), Similarity.identity())
    write_image(command.output / "picture.png", draw_place(samples))
    if place.layout is not None:
        write_image(command.output / "layout.png", paint_layout(place.layout, generator.spec.classes))
    write_json(command.output / "place.json", describe(command, place, generator.weights_sha256))
    print(f"{len(mesh.faces):,} triangles, {len(samples):,} Gaussians, and a picture in {command.output}")
    return ExitCode.DONE


def describe(command: Generate, place: "Place", weights_sha256: str) -> dict[str, object]:
    """What the place was made from."""
    field = place.field
    return {
        "schema_version": SCHEMA_VERSION,
        "size": list(parse_size(command.size)),
        "settings": asdict(command.settings),
        "layout": None if command.layout is None else command.layout.name,
        "weights_sha256": weights_sha256,
        "voxel_size_m": field.voxel_size,
        "voxels": list(field.shape),
        "origin": field.origin.tolist(),
    }


def parse_size(text: str) -> tuple[int, int]:
    """Two whole numbers out of `3x4`.

    Raises:
        SettingsError: It is something else.
    """
    match = re.fullmatch(r"(\d{1,4})[xX](\d{1,4})", text.strip())
    if match is None:
        raise SettingsError(f"--size is '{text}'", remedy="give cells along x and y, like 3x3")
    return int(match[1]), int(match[2])


def check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds a place already.

    Raises:
        InputError: It does, and may not be written over.
    """
    if (folder / "place.json").exists() and not force:
        raise InputError("holds a place already", where=folder, remedy="choose another, or add --force")
