"""Owns the plan of a large scene: its blocks, who owns which place, and the file that remembers it."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from blocks.cells import Cell, GroundFrame, Tree, find_leaves, leaves_of, tree_from_record, tree_to_record
from scene3d.data.capture import Capture
from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import write_json
from scene3d.io.bounded_json import read_json_object

PLAN_SCHEMA_VERSION = 1

FAR = -1
"""The owner of what lies far outside: sky and horizon, which no block trains."""

FAR_RADII = 3.0
"""Places farther than this many radii of the region of interest from its middle are FAR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBlock:
    """One block: its cell and the views it is trained on."""

    block_id: str
    cell: Cell
    views: tuple[int, ...]
    """Indices into `BlockPlan.views`, ascending."""

    load: int
    """Distinct sparse points seen by its views: what its training costs (Shen et al., LoBE-GS: r = .88 with time)."""

    num_points: int
    """Sparse points inside its expanded rectangle."""

    num_pixels: int
    """Photograph pixels that show it, at full size: of each view the share of its points that lie in the block."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockPlan:
    """How a scene is divided. Everything is in the world frame of `world_from_capture`, whose z is up."""

    method: str
    """`load`, `midpoint` or `grid`."""

    frame: GroundFrame
    region: Float[np.ndarray, "k 2"]
    """Corners of the region of interest, world x and y, counter-clockwise."""

    tree: Tree
    middle: tuple[float, float, float]
    """Middle of the region of interest."""

    radius: float
    """Of the region of interest, world units."""

    views: tuple[str, ...]
    """Names of all training views."""

    blocks: tuple[PlannedBlock, ...]
    """Block i is leaf i of the tree."""

    num_uncovered_points: int
    """Sparse points in no block's expanded rectangle."""

    world_from_capture: Similarity
    findings: tuple[str, ...] = ()
    """What a person should know about this division."""

    def __post_init__(self) -> None:
        if sorted(leaves_of(self.tree)) != list(range(len(self.blocks))):
            raise InputError(f"the tree's {len(leaves_of(self.tree))} cells are not the {len(self.blocks)} blocks")

    def owners(self, points: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, "n"]:
        """The block that owns each world point, or FAR: exactly one for every point of space."""
        points = np.asarray(points, np.float64)
        owners = find_leaves(self.tree, self.frame.from_world(points))
        owners[np.linalg.norm(points - self.middle, axis=1) > FAR_RADII * self.radius] = FAR
        return owners

    def may_grow(self, block: int, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Which world points lie where a block may add Gaussians: its expanded rectangle and range of heights."""
        cell = self.blocks[block].cell
        return cell.covers(self.frame.from_world(points)) & cell.covers_height(np.asarray(points)[:, 2])

    def in_seam_band(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Which world points lie within a margin of a face between two blocks."""
        uv = self.frame.from_world(points)
        band = np.zeros(len(points), bool)
        for block in self.blocks:
            band |= block.cell.is_near_shared_face(uv)
        return band

    def find_views(self, block: int, capture: Capture) -> list[int]:
        """Indices in a capture of the views that a block is trained on.

        Raises:
            InputError: The capture lacks one of them.
        """
        places = {view.name: index for index, view in enumerate(capture.views)}
        names = [self.views[view] for view in self.blocks[block].views]
        missing = [name for name in names if name not in places]
        if missing:
            raise InputError(f"the capture has no view {missing[0]!r} any more", where=capture.root)
        return [places[name] for name in names]

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema_version": PLAN_SCHEMA_VERSION,
            "method": self.method,
            "frame": {"center": list(self.frame.center), "angle_rad": self.frame.angle_rad},
            "region": self.region.tolist(),
            "middle": list(self.middle),
            "radius": self.radius,
            "tree": tree_to_record(self.tree),
            "blocks": [
                {
                    "block_id": block.block_id,
                    "load": block.load,
                    "num_points": block.num_points,
                    "num_pixels": block.num_pixels,
                    "cell": block.cell.to_record(),
                    "views": list(block.views),
                }
                for block in self.blocks
            ],
            "num_uncovered_points": self.num_uncovered_points,
            "world_from_capture": self.world_from_capture.to_record(),
            "findings": list(self.findings),
            "views": list(self.views),
        }

    @property
    def sha256(self) -> str:
        """Hash of everything in the plan: blocks trained under different plans cannot be merged."""
        return sha256(json.dumps(self.to_record(), sort_keys=True).encode()).hexdigest()


def coefficient_of_variation(plan: BlockPlan) -> float:
    """How uneven the loads of the blocks are: standard deviation over mean, 0 where all are equal."""
    loads = np.array([block.load for block in plan.blocks], np.float64)
    return float(loads.std() / loads.mean())


def write_plan(path: Path, plan: BlockPlan) -> None:
    """Write a plan whole."""
    write_json(path, plan.to_record())


def read_plan(path: Path) -> BlockPlan:
    """Read a plan that `write_plan` wrote.

    Raises:
        InputError: Missing, damaged, or of another layout.
    """
    record = read_json_object(path)
    version = record.get("schema_version")
    if version != PLAN_SCHEMA_VERSION:
        raise InputError(f"its layout is {version!r}; this program reads {PLAN_SCHEMA_VERSION}", where=path)
    try:
        return _from_record(record)
    except (KeyError, TypeError, ValueError, IndexError, InputError) as error:
        remedy = "make it anew with `scene3d partition`"
        raise InputError(f"is no usable plan ({error})", where=path, remedy=remedy) from error


def _from_record(record: dict[str, Any]) -> BlockPlan:
    views = tuple(str(name) for name in record["views"])
    blocks = []
    for each in record["blocks"]:
        indices = tuple(int(view) for view in each["views"])
        if not all(0 <= index < len(views) for index in indices):
            raise InputError(f"block {each['block_id']} names views that the plan does not have")
        blocks.append(
            PlannedBlock(
                block_id=str(each["block_id"]),
                cell=Cell.from_record(each["cell"]),
                views=indices,
                load=int(each["load"]),
                num_points=int(each["num_points"]),
                num_pixels=int(each["num_pixels"]),
            )
        )
    x, y, z = (float(value) for value in record["middle"])
    first, second = (float(value) for value in record["frame"]["center"])
    return BlockPlan(
        method=str(record["method"]),
        frame=GroundFrame(center=(first, second), angle_rad=float(record["frame"]["angle_rad"])),
        region=np.asarray(record["region"], np.float64).reshape(-1, 2),
        tree=tree_from_record(record["tree"]),
        middle=(x, y, z),
        radius=float(record["radius"]),
        views=views,
        blocks=tuple(blocks),
        num_uncovered_points=int(record["num_uncovered_points"]),
        world_from_capture=Similarity.from_record(record["world_from_capture"]),
        findings=tuple(str(each) for each in record["findings"]),
    )
