"""Owns `scene3d extend`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from app.errors import ExitCode
from app.settings_flags import OptionalPath
from blocks.extension_settings import Direction, ExtendSettings, GridCell, Kept
from scene3d.errors import SettingsError
from scene3d.events import Reporter

if TYPE_CHECKING:
    from blocks.extension import ExtensionResult
    from scene3d.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Extend:
    """Grow a reconstructed scene beyond what was photographed, cell by cell, or take that back.

    What grows is made up by a generator: it continues what the scene shows at its border and is labelled as generated
    in `RUN/extend/ID`. What photographs show well never changes, and --undo restores the scene byte for byte.
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The --output folder of `scene3d reconstruct`."""

    cells: Annotated[str | None, arg(metavar="CELLS")] = None
    """Cells to grow, such as "0,3 1,3"; --list shows which there are."""

    rings: int = 0
    """Grow everything up to this many cells away from what is there."""

    toward: Direction | None = None
    """Grow on one side only; north is the y axis of a levelled capture seen from above."""

    layout: OptionalPath = None
    """A map of what shall stand where, over the cells that grow: a .png in the palette, a .npy or a .json."""

    seed: int = 0
    """Another seed, another place."""

    steps: int = 10
    """Evaluations of the generator for each cell."""

    detail: int = 1
    """1 or 2: with 2, voxels near the surface are half as large; takes longer."""

    edge: Annotated[float | None, arg(metavar="METRES")] = None
    """Edge of a cell in the capture's units; a quarter of the short side of what was photographed if not given."""

    keep: Kept = "surfaces"
    """What of the photographs nothing new may change: surfaces that they show well, or every pixel of their views,
    which leaves gaps where they show fog."""

    generator: OptionalPath = None
    """A generator that was trained by oneself; the packaged one if not given."""

    capture: OptionalPath = None
    """Where the capture lies now, if it was moved."""

    undo: Annotated[tuple[str, ...] | None, arg(metavar="[ID]")] = None
    """Take an extension out of the scene; without an ID the one grown last."""

    list: bool = False
    """Show what has grown and where the scene can grow, draw the map RUN/extend/map.png, and change nothing."""

    def __post_init__(self) -> None:
        if self.undo is not None and len(self.undo) > 1:
            raise SettingsError("--undo takes one extension at a time")


def run(command: Extend, reporter: Reporter) -> int:
    """Grow, undo or list."""
    from scene3d.training.run_folder import read_run

    folder, _ = read_run(command.run)
    if command.list:
        return list_run(folder, command.edge, reporter)
    if command.undo is not None:
        return undo(folder, command.undo[0] if command.undo else None)
    from blocks.extension import extend_run

    settings = make_settings(command)
    print_result(folder, extend_run(folder, settings, reporter=reporter, capture_folder=command.capture))
    return ExitCode.DONE


def make_settings(command: Extend) -> ExtendSettings:
    """What the flags ask for.

    Raises:
        SettingsError: They contradict each other, or say nothing of where to grow.
    """
    return ExtendSettings(
        cells=None if command.cells is None else parse_cells(command.cells),
        rings=command.rings,
        toward=command.toward,
        layout=command.layout,
        seed=command.seed,
        steps=command.steps,
        detail=command.detail,
        edge_m=command.edge,
        keep=command.keep,
        generator=command.generator,
    )


def parse_cells(text: str) -> tuple[GridCell, ...]:
    """Cells as a person writes them: `0,3 1,3`.

    Raises:
        SettingsError: Anything else.
    """
    cells = []
    for word in text.split():
        try:
            i, j = (int(part) for part in word.split(","))
        except ValueError:
            raise SettingsError(f"--cells holds '{word}'", remedy='write them as "0,3 1,3"') from None
        cells.append((i, j))
    if not cells:
        raise SettingsError("--cells is empty", remedy='write them as "0,3 1,3"')
    return tuple(cells)


def undo(folder: "RunFolder", extension_id: str | None) -> int:
    """Take an extension out again."""
    from blocks.extension import undo_extension

    done = undo_extension(folder, extension_id)
    print(f"extension {done} is out of {folder.merged_scene}; its files stay in {folder.root / 'extend' / done}")
    return ExitCode.DONE


def list_run(folder: "RunFolder", edge_m: float | None, reporter: Reporter) -> int:
    """What has grown, where the scene can grow, and the map."""
    from app.scenes import open_scene
    from blocks.extension import find_grid, list_extensions
    from blocks.extension_pictures import draw_grid_map
    from scene3d.io.atomic import make_folder

    grid = find_grid(folder, edge_m=edge_m)
    for extension in list_extensions(folder):
        cells = " ".join(f"{i},{j}" for i, j in extension.cells)
        print(f"{extension.id}  {extension.status:<7} {extension.num_gaussians:>10,} Gaussians, cells {cells}")
    edge = describe_edge(folder, grid.cell_edge)
    print(f"{len(grid.photographed)} cells photographed, {len(grid.grown)} grown; edge {edge}")
    print("can grow: " + " ".join(f"{i},{j}" for i, j in grid.possible))
    make_folder(folder.root / "extend")
    draw_grid_map(folder.root / "extend" / "map.png", grid, open_scene(folder.root, reporter).gaussians)
    print(f"map in {folder.root / 'extend' / 'map.png'}")
    return ExitCode.DONE


def describe_edge(folder: "RunFolder", edge: float) -> str:
    """A length of the world in the capture's units."""
    from blocks.extension_store import read_frame, read_manifest

    return f"{edge / read_frame(folder, read_manifest(folder)).scale:.3g} units of the capture"


def print_result(folder: "RunFolder", result: "ExtensionResult") -> None:
    """What came about, for people."""
    facts = result.record
    cells = f"{len(result.cells)} cell{'s' * (len(result.cells) != 1)}"
    print(f"extension {result.id}: {result.num_gaussians:,} Gaussians in {cells}, {result.seconds:.0f} s")
    coverage, old = facts["coverage"], facts["old_views"]
    if coverage["mean"] is not None:
        print(f"new ground covered to {coverage['mean']:.3f} on average ({coverage['num_views']} views)")
    kept = "unchanged" if old["kept_psnr_db"] is None else f"{old['kept_psnr_db']:.1f} dB"
    whole = "unchanged" if old["whole_psnr_db"] is None else f"{old['whole_psnr_db']:.1f} dB"
    print(f"photographs' views against before: {kept} where they must not change, {whole} all in all (worst view)")
    print(f"scene {folder.merged_scene}, pictures in {result.folder}")
    fog = facts["fog"]
    if fog["num_gaussians"]:
        print(
            f"{fog['num_gaussians']:,} photographed Gaussians are fog before what has grown, and stay; a copy without: "
            f"`scene3d clean {folder.root} -o without_fog.ply --min-weight 0 "
            f"--max-scale-share {fog['max_scale_share']:.3g}`"
        )
    print(f"take it back with `scene3d extend {folder.root} --undo {result.id}`")
