"""Measures a generator of scene blocks and prints one JSON record.

    python benchmarks/generation.py --output benchmarks/results/generation.json
    python benchmarks/generation.py --generator RUN --pairs 16 --blocks 40 --cache CACHE
    python benchmarks/generation.py --only seams growth

Sections: reconstruction (auto-encoder, with the floor of sampling the true surface twice), sets (unconditional blocks
against real ones, with real against real), seams (a neighbour of a known block, with the true neighbour as floor, a
random real block as ceiling, independent sampling and the published resampling beside it), shapes (corners and holes),
layout, diversity, memorisation, growth (3 x 3 cells as one mesh) and time. Training never saw the places that all of it
is measured on.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generation_growth import measure_detail, measure_growth, measure_time
from generation_places import Places, make_places
from generation_seams import measure_seams, measure_shapes
from generation_sets import (
    measure_diversity,
    measure_layout,
    measure_memorisation,
    measure_reconstruction,
    measure_sets,
)
from machine import describe_machine

from scene3d.generation.generator import Generator
from scene3d.generation.model_files import PACKAGED, read_model
from scene3d.generation.site_sources import find_source, load_sites

SECTIONS: dict[str, Callable[[Generator, Places], dict[str, Any]]] = {
    "reconstruction": measure_reconstruction,
    "seams": measure_seams,
    "shapes": measure_shapes,
    "layout": measure_layout,
    "growth": measure_growth,
    "detail": lambda generator, _: measure_detail(generator),
    "diversity": measure_diversity,
    "sets": measure_sets,
    "time": measure_time,
}


def main() -> None:
    """Measure the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, default=None, help="the packaged one if not given")
    parser.add_argument("--pairs", type=int, default=16, help="places with two neighbouring blocks each")
    parser.add_argument("--blocks", type=int, default=40, help="blocks in each compared set")
    parser.add_argument("--seed", type=int, default=1000, help="of the places: another than training's")
    parser.add_argument("--cache", type=Path, default=Path(".cache/generation"))
    parser.add_argument("--only", nargs="*", choices=[*SECTIONS, "memorisation"], default=None)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    generator = Generator.load(options.generator)
    model_file = read_model(options.generator or PACKAGED)
    places = make_places(generator.spec, options.pairs, options.blocks, options.seed, options.cache)
    record: dict[str, Any] = {"weights_sha256": generator.weights_sha256, "machine": describe_machine()}

    def memorisation(made_by: Generator, real: Places) -> dict[str, Any]:
        settings = model_file.training["settings"]
        source = find_source("world", made_by.spec, settings["seed"])
        sites = load_sites([source], made_by.spec, settings["sites"], cache=options.cache)
        return measure_memorisation(made_by, real, sites.split(settings["held_out"])[0])

    for name, measure in (SECTIONS | {"memorisation": memorisation}).items():
        if options.only is None or name in options.only:
            started_s = time.monotonic()
            record[name] = measure(generator, places)
            record[name]["measured_in_s"] = round(time.monotonic() - started_s, 1)
            print(name, json.dumps(record[name], indent=1), flush=True)
            if options.output is not None:
                options.output.write_text(json.dumps(rounded(record), indent=1) + "\n")


def rounded(value: Any) -> Any:
    """Numbers to five figures; NaN as null."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, float):
        return None if value != value else float(f"{value:.5g}")
    return value


if __name__ == "__main__":
    main()
