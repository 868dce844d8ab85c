"""Owns `scene3d bench`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from app.errors import ExitCode
from app.settings_flags import OptionalPath
from scene3d.errors import SettingsError
from scene3d.events import Reporter

if TYPE_CHECKING:
    from app.bench_targets import Target
    from app.benching import Row

BENCH_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Reconstruct and measure under a stated protocol, and print our rows beside the published ones.

    A name from datasets/registry.toml brings the published protocol and figures with it, and stands for the local copy
    DATA/NAME (nothing is fetched); a collection such as mipnerf360 stands for all its scenes. Raw and colour-corrected
    figures are in tables of their own. Everything is kept in OUTPUT; a second call goes on where the first one stopped.
    Ends with 3 when a method failed.
    """

    names: Annotated[tuple[str, ...], Positional, arg(metavar="NAME|CAPTURE")]
    """Data sets of the registry, or folders with a capture (./NAME where a folder is called like a data set)."""

    output: Annotated[Path, arg(aliases=("-o",))]
    """Folder for the runs and bench.json."""

    methods: tuple[str, ...] = ("blocks", "single")
    """Ways to reconstruct: blocks (as `scene3d reconstruct` does), single (in one piece)."""

    iterations: int | None = None
    """Training iterations; the methods' own number if not given."""

    image_scale: float | None = None
    """Share of the photographs' original size; that of the published protocol, or 1, if not given."""

    lpips_net: Literal["vgg", "alex"] | None = None
    """Backbone of LPIPS; that of the published protocol, or alex, if not given."""

    data: OptionalPath = None
    """Folder of the local copies; else the variable SCENE3D_DATA."""

    def __post_init__(self) -> None:
        if not self.names:
            raise SettingsError("nothing to measure is named", remedy="give a data set or the folder of a capture")
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise SettingsError("--methods is empty or names one twice", remedy="name each once")
        if self.image_scale is not None and not 0 < self.image_scale <= 1:
            raise SettingsError(f"--image-scale is {self.image_scale}; it lies above 0 and up to 1")
        if self.iterations is not None and self.iterations < 1:
            raise SettingsError(f"--iterations is {self.iterations}; it must be at least 1")


def run(command: Bench, reporter: Reporter) -> int:
    """Run every method on every capture and print the tables."""
    from app.bench_tables import format_means, format_target
    from app.bench_targets import find_targets
    from app.benching import METHODS, run_method
    from scene3d.data.registry import read_registry

    for name in command.methods:
        if name not in METHODS:
            raise SettingsError(f"there is no method '{name}'", remedy=f"known: {', '.join(METHODS)}")
    registry = read_registry()
    targets = find_targets(
        command.names,
        registry,
        data=command.data,
        image_scale=command.image_scale,
        lpips_net=command.lpips_net,
    )
    rows: dict[str, list[Row]] = {}
    codes = set()
    for target in targets:
        rows[target.name] = []
        for name in command.methods:
            folder = command.output / target.name / name
            row, code = run_method(name, target, folder, reporter, iterations=command.iterations)
            codes.add(code)
            rows[target.name].append(row)
            write_record(command.output / "bench.json", targets, rows)
    parts = [format_target(target, rows[target.name], registry.sources) for target in targets]
    parts += [format_means(each, rows, registry.sources) for each in registry.collections.values()]
    print("\n\n".join(part for part in parts if part))
    print(f"\nrecord in {command.output / 'bench.json'}")
    return ExitCode.PARTIAL if ExitCode.PARTIAL in codes else ExitCode.DONE


def write_record(path: Path, targets: "list[Target]", rows: "dict[str, list[Row]]") -> None:
    """Write what is measured so far; nothing in it depends on the machine."""
    from app.bench_tables import find_notes
    from app.bench_targets import published_record
    from scene3d.io.atomic import make_folder, write_json

    captures = [
        {
            "name": target.name,
            "title": target.title,
            "protocol": target.protocol(),
            "rows": rows[target.name],
            "published": published_record(target),
            "notes": find_notes(target, rows[target.name]),
        }
        for target in targets
        if target.name in rows
    ]
    make_folder(path.parent)
    write_json(path, {"schema_version": BENCH_SCHEMA_VERSION, "captures": captures})
