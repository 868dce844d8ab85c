"""Divides a synthetic flight of many views over millions of points into blocks and prints seconds by phase, peak memory
and balance as JSON; real captures beside it show how even the loads come out.

python benchmarks/partition.py                                   # 10,000 views, 5,000,000 points, 16 blocks
python benchmarks/partition.py --views 900 --points 200000       # a quick look
python benchmarks/partition.py --captures ../shared/data/caliterra --capture-blocks 2 4 8
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe_machine

from blocks.partition import choose_region, divide, make_plan
from blocks.partition_settings import PartitionSettings
from blocks.plan import BlockPlan, coefficient_of_variation
from blocks.survey import survey_capture
from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from scene3d.data.capture import Capture, SparsePoints, View
from scene3d.data.frame import estimate_frame
from scene3d.data.reading import read_capture
from scene3d.data.split import Split, split_views
from scene3d.seeding import make_numpy_generator

SCHEMA_VERSION = 1
BAR_S = 60.0
METHODS = ("load", "midpoint", "grid")
HEADING_RAD = 0.47
"""The flight is turned against the axes, as flights are."""

FOOTPRINT = (3.6, 2.6)
"""What a photograph shows, in steps of the flight: each point is seen by about nine views."""

LOST_SHARE = 0.15
"""Observations that feature matching misses."""

DENSE_SHARE = 0.5
DENSE_SIDE = 0.25
"""Half the points lie in one district, a quarter of the side wide."""

T = TypeVar("T")


def main() -> int:
    """Measures and prints; status 1 where the flight took longer than its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=10_000, help="rounded to a square")
    parser.add_argument("--points", type=int, default=5_000_000)
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--captures", type=Path, nargs="*", default=[], help="folders of real captures")
    parser.add_argument("--capture-blocks", type=int, nargs="*", default=[4])
    parser.add_argument("--output", type=Path, help="keep the record in this file as well")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "machine": describe_machine()}
    record["flight"] = measure_flight(arguments.views, arguments.points, arguments.blocks)
    record["captures"] = {path.name: compare_methods(path, arguments.capture_blocks) for path in arguments.captures}
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 0 if record["flight"]["met"] else 1


def measure_flight(num_views: int, num_points: int, num_blocks: int) -> dict[str, Any]:
    """One partition of a made-up flight, phase by phase, and the same by the other methods for their balance."""
    capture = make_flight(round(num_views**0.5), num_points)
    split = Split(train=tuple(range(len(capture.views))), test=(), rule="none")
    settings = PartitionSettings(blocks=num_blocks)
    names = tuple(view.name for view in capture.views)
    before_bytes, cpu_s = peak_bytes(), time.process_time()
    survey, survey_s = timed(lambda: survey_capture(capture, split))
    region, region_s = timed(lambda: choose_region(survey, settings, capture.world_from_capture))
    plan, divide_s = timed(lambda: divide(survey, region, settings, names, capture.world_from_capture))
    peak, cpu_s = peak_bytes(), time.process_time() - cpu_s
    total_s = survey_s + region_s + divide_s
    methods = {"load": describe(plan)}
    for method in METHODS[1:]:
        other = PartitionSettings(blocks=num_blocks, method=method)
        methods[method] = describe(divide(survey, region, other, names, capture.world_from_capture))
    return {
        "views": len(capture.views),
        "points": len(capture.points),
        "observations": len(capture.points.track_views),
        "seconds": {"survey": round(survey_s, 2), "region": round(region_s, 2), "divide": round(divide_s, 2)},
        "total_seconds": round(total_s, 2),
        "processor_seconds": round(cpu_s, 2),
        "bar": f"at most {BAR_S:g} s",
        "met": total_s <= BAR_S,
        "peak_bytes": peak,
        "peak_bytes_of_the_capture": before_bytes,
        "methods": methods,
    }


def compare_methods(path: Path, numbers: list[int]) -> dict[str, Any]:
    """Blocks of a real capture by every method, for each number of blocks."""
    capture = read_capture(path)
    capture = capture.transformed(estimate_frame(capture))
    split = split_views(capture)
    return {
        f"{number} blocks": {
            method: describe(make_plan(capture, split, PartitionSettings(blocks=number, method=method)))
            for method in METHODS
        }
        for number in numbers
    }


def describe(plan: BlockPlan) -> dict[str, Any]:
    """Balance of a plan."""
    return {
        "views": [len(block.views) for block in plan.blocks],
        "points": [block.num_points for block in plan.blocks],
        "load": [block.load for block in plan.blocks],
        "coefficient_of_variation": round(coefficient_of_variation(plan), 4),
        "uncovered_points": plan.num_uncovered_points,
    }


def make_flight(side: int, num_points: int) -> Capture:
    """A square grid of views straight down over uneven ground, one district of it dense."""
    rng = make_numpy_generator(0, "flight")
    reach = side / 2.0
    ground = rng.uniform(-reach, reach, (num_points, 2))
    dense = rng.random(num_points) < DENSE_SHARE
    ground[dense] = (ground[dense] * DENSE_SIDE) + reach * 0.4
    node = np.clip(np.floor(ground + reach).astype(np.int32), 0, side - 1)
    steps = np.array([(u, v) for u in range(-2, 3) for v in range(-2, 3)], np.int32)
    seen = np.zeros((num_points, len(steps)), bool)
    views = np.zeros((num_points, len(steps)), np.int32)
    for index, step in enumerate(steps):
        there = node + step
        away = np.abs(ground - (there - reach + 0.5)) <= np.divide(FOOTPRINT, 2)
        on_grid = ((there >= 0) & (there < side)).all(axis=1)
        seen[:, index] = away.all(axis=1) & on_grid & (rng.random(num_points) > LOST_SHARE)
        views[:, index] = there[:, 0] * side + there[:, 1]
    turn = np.array([[np.cos(HEADING_RAD), np.sin(HEADING_RAD)], [-np.sin(HEADING_RAD), np.cos(HEADING_RAD)]])
    points = SparsePoints(
        positions=np.concatenate([ground @ turn, rng.normal(0, 0.05, (num_points, 1))], axis=1),
        colors=np.full((num_points, 3), 128, np.uint8),
        errors_px=np.full(num_points, np.nan),
        track_offsets=np.concatenate([[0], np.cumsum(seen.sum(axis=1))]),
        track_views=views[seen].astype(np.int64),
    )
    places = (np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1) + 0.5 - reach) @ turn
    return Capture(root=Path(), views=tuple(map(make_view, places.reshape(-1, 2))), points=points)


def make_view(place: np.ndarray) -> View:
    """A photograph straight down from one unit above the ground."""
    pose = look_at(np.array([*place, 1.0]), np.array([*place, 0.0]), np.array([0.0, 1.0, 0.0]))
    K = np.array([[1000.0, 0, 1800], [0, 1000.0, 1300], [0, 0, 1]])
    name = f"{place[0]:.3f}_{place[1]:.3f}.jpg"
    return View(name=name, image_path=Path(name), camera=Camera(width=3600, height=2600, K=K, cam_from_world=pose))


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What a piece of work gives, and its seconds."""
    start_s = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start_s


def peak_bytes() -> int:
    """Most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
