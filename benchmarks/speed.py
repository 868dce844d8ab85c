"""Prints how fast the parts are, as JSON, with the bar each must clear; everything is measured in one run.

python benchmarks/speed.py --output benchmarks/results/speed.json
python benchmarks/speed.py --quick --only loss
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe_machine
from speed_idle import measure_idleness
from speed_loss import measure_loss
from speed_raster import measure_large, measure_pairs, measure_small
from speed_training import measure_training_step

SCHEMA_VERSION = 1

# In this order: the idle workers are measured before anything else has made threads.
SECTIONS: dict[str, Callable[[int], dict[str, Any]]] = {
    "idleness": measure_idleness,
    "raster_50k": measure_small,
    "raster_500k": measure_large,
    "blend_pairs": measure_pairs,
    "loss": measure_loss,
    "training_step": measure_training_step,
}
FULL_ROUNDS, QUICK_ROUNDS = 9, 3
FEW = {"idleness": (3, 1)}
"""Sections whose rounds take seconds: rounds in full and in quick runs."""


def main() -> int:
    """Measures, prints and keeps the record; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; for a first look")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="some of the sections")
    parser.add_argument("--output", type=Path, help="keep the record in this file as well")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "quick": arguments.quick, "machine": describe_machine()}
    record["sections"] = {}
    for name, measure in SECTIONS.items():
        if arguments.only is None or name in arguments.only:
            full, quick = FEW.get(name, (FULL_ROUNDS, QUICK_ROUNDS))
            print(f"measuring {name}", file=sys.stderr, flush=True)
            record["sections"][name] = measure(quick if arguments.quick else full)
    bars = [bar for section in record["sections"].values() for bar in section["bars"]]
    record["missed"] = [bar["name"] for bar in bars if bar["met"] is False]
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 1 if record["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
