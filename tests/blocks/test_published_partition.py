"""BlockGaussian's published partition of Mill-19 rubble: its rectangles, two of its point clouds, and its spread."""

import json
from dataclasses import replace

import numpy as np
import pytest

from blocks.cells import GroundFrame, find_leaves, leaves_of
from blocks.partition import make_plan
from blocks.partition_settings import PartitionSettings
from blocks.rectangle import Rectangle, tree_from_rectangles
from scene3d.data.capture import Capture, SparsePoints
from scene3d.io.ply import read_points_ply
from scene3d.seeding import make_numpy_generator
from tests.blocks.flights import everyone, nadir_camera
from tests.helpers import shared_data
from tests.scene3d.data.rigs import make_capture

WORLD_FROM_FILE = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
"""In the files y points down, as structure from motion has it: roofs and trees are at smaller y than the ground."""

EACH = 17
"""Every so many points of the clouds."""


@pytest.fixture(scope="module")
def published() -> list[dict]:
    info = json.loads((shared_data("rubble_partition") / "blocks_info.json").read_text())
    return [info[str(number)] for number in range(info["num_blocks"])]


@pytest.fixture(scope="module")
def rectangles(published) -> tuple[GroundFrame, list[Rectangle]]:
    """The seven rectangles along their common axes."""
    corners = np.array([block["bbx"] for block in published]) @ WORLD_FROM_FILE.T  # [7, 8, 3]
    along = corners[0, 1, :2] - corners[0, 0, :2]
    frame = GroundFrame(center=(0.0, 0.0), angle_rad=float(np.arctan2(along[1], along[0])))
    uv = frame.from_world(corners.reshape(-1, 3)).reshape(7, 8, 2)
    lows, highs = uv.min(axis=1).tolist(), uv.max(axis=1).tolist()
    return frame, [Rectangle(tuple(low), tuple(high)) for low, high in zip(lows, highs, strict=True)]


def inclusive_owners(rectangles: list[Rectangle], uv: np.ndarray, slack: float) -> np.ndarray:
    """How many rectangles hold each point when all their faces count, as in the published merge."""
    held = [((uv >= np.subtract(r.low, slack)) & (uv <= np.add(r.high, slack))).all(axis=1) for r in rectangles]
    return np.sum(held, axis=0)


def test_every_point_has_one_owner_and_the_published_one_inside_a_rectangle(rectangles):
    _, cells = rectangles
    tree = tree_from_rectangles(cells)
    assert sorted(leaves_of(tree)) == list(range(7))
    low, high = np.min([r.low for r in cells], axis=0), np.max([r.high for r in cells], axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    uv = middle + make_numpy_generator(0, "published").uniform(-1.5, 1.5, (100_000, 2)) * half
    owners = find_leaves(tree, uv)
    assert ((owners >= 0) & (owners < 7)).all()
    strictly = np.stack([((uv > np.add(r.low, 1e-6)) & (uv < np.subtract(r.high, 1e-6))).all(axis=1) for r in cells])
    assert 40_000 < strictly.any(axis=0).sum() < 50_000
    assert (strictly.sum(axis=0) <= 1).all()
    assert (strictly.argmax(axis=0) == owners)[strictly.any(axis=0)].all()


def test_points_on_shared_faces_belong_to_one_block_and_not_to_two(rectangles):
    _, cells = rectangles
    tree = tree_from_rectangles(cells)
    share = make_numpy_generator(0, "faces").uniform(0, 1, 500)
    faces = []
    for cell in cells:
        (u0, v0), (u1, v1) = cell.low, cell.high
        along_u, along_v = u0 + share * (u1 - u0), v0 + share * (v1 - v0)
        faces += [np.stack([np.full(500, u), along_v], axis=1) for u in (u0, u1)]
        faces += [np.stack([along_u, np.full(500, v)], axis=1) for v in (v0, v1)]
    uv = np.concatenate(faces)
    # The published corners agree to rounding only, hence the slack of the inclusive rule.
    held = inclusive_owners(cells, uv, 1e-6)
    assert (held >= 2).sum() == 8_500  # 17 of the 28 faces have a neighbour behind them
    assert (find_leaves(tree, uv) >= 0).all()
    assert len(find_leaves(tree, uv)) == len(uv)


def test_the_published_spread_of_views_is_fifteenfold(published):
    views = [block["num_views"] for block in published]
    assert (min(views), max(views)) == (50, 765)
    assert all(block["num_views"] == len(block["views_id"]) for block in published)
    assert np.std(views) / np.mean(views) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("block", [2, 5])
def test_its_clouds_are_divided_without_tracks(rectangles, block):
    """No cameras were published: views straight down on a grid stand in, and projection finds what they see."""
    folder = shared_data("rubble_partition") / "block_init_pcd"
    positions = np.asarray(read_points_ply(folder / f"block_{block:03d}_init_pcd.ply")[0], np.float64)[::EACH]
    positions = positions @ WORLD_FROM_FILE.T
    frame, cells = rectangles
    near = cells[block].covers(frame.from_world(positions), 0.5)
    middle = np.median(positions[near], axis=0)
    unit = 60.0
    positions = (positions - middle) / unit
    (u0, v0), (u1, v1) = cells[block].low, cells[block].high
    grid = np.stack(np.meshgrid(np.linspace(u0, u1, 8), np.linspace(v0, v1, 8)), axis=-1).reshape(-1, 2)
    places = (frame.to_world(grid) - middle[:2]) / unit
    capture = without_tracks(make_capture([nadir_camera(place, 1.0) for place in places], None), positions)
    plan = make_plan(capture, everyone(capture), PartitionSettings(blocks=4))
    owners = plan.owners(positions)
    assert len(plan.blocks) == 4
    assert set(owners.tolist()) <= {-1, 0, 1, 2, 3}
    sizes = np.bincount(owners[owners >= 0], minlength=4)
    assert sizes.min() > 200
    # No view is lost without a word: at the corners some see nothing, or nothing but loners.
    lost = set(range(64)) - {view for each in plan.blocks for view in each.views}
    assert len(lost) < 6
    assert all(plan.views[view] in " ".join(plan.findings) for view in lost)


def without_tracks(capture: Capture, positions: np.ndarray) -> Capture:
    points = SparsePoints(
        positions=positions,
        colors=np.zeros((len(positions), 3), np.uint8),
        errors_px=np.full(len(positions), np.nan),
        track_offsets=np.zeros(len(positions) + 1, np.int64),
        track_views=np.zeros(0, np.int64),
    )
    return replace(capture, points=points)
