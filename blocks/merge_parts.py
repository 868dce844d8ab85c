"""Owns what each block gives to the merged scene: the gate it must pass, the crop by owner, and loading it again."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from blocks.block_folder import BlockFolder, load_gaussians, read_block_record
from blocks.plan import FAR, BlockPlan
from scene3d.errors import InputError
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians, resize_sh
from scene3d.io.anchor_file import read_anchors
from scene3d.io.bounded_json import read_json_object
from scene3d.io.gaussian_checks import finite_mask
from scene3d.io.tensors import file_sha256
from scene3d.training.run_folder import RunFolder

_SMALLEST_QUAT_NORM = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crop:
    """Which Gaussians of one file belong into the merged scene."""

    owner: int
    """Number of the block in the plan, or FAR."""

    path: Path
    sha256: str
    core: Bool[Tensor, "n"]
    """Those it owns: the others were trained so that its edge is right, and belong to other blocks."""

    num_margin: int
    """Not owned, in the block's expanded rectangle."""

    num_auxiliary: int
    """Not owned, elsewhere."""

    sh_degree: int
    anchor_core: Bool[Tensor, "a"] | None = None
    """Which anchors it owns, where its Gaussians come from anchors: each takes its Gaussians along, wherever their
    centres lie, so that what was trained as a whole stays together."""

    record: Mapping[str, Any] = field(default_factory=dict)
    """`block.json`."""

    def load(self, sh_degree: int) -> Gaussians:
        """All Gaussians of the file, with colours of at least the file's degree.

        Raises:
            InputError: The file has changed.
        """
        return pad_sh(load_gaussians(self.path, expected_sha256=self.sha256), sh_degree)


class BlockShelf:
    """The blocks used last, never more than a few at a time.

    Args:
        crops: Of all blocks.
        sh_degree: That all are brought to.
        max_resident: Most blocks held at once.
    """

    def __init__(self, crops: Iterable[Crop], *, sh_degree: int, max_resident: int) -> None:
        self._crops = {crop.owner: crop for crop in crops}
        self._sh_degree = sh_degree
        self._max_resident = max_resident
        self._held: OrderedDict[int, Gaussians] = OrderedDict()

    def load(self, owner: int) -> Gaussians:
        """All Gaussians of a block; whoever keeps them longer than until the next call holds one block more."""
        if owner not in self._held:
            while len(self._held) >= self._max_resident:
                self._held.popitem(last=False)
            self._held[owner] = self._crops[owner].load(self._sh_degree)
        self._held.move_to_end(owner)
        return self._held[owner]


def crop_blocks(run: RunFolder, plan: BlockPlan, reporter: Reporter) -> tuple[list[Crop], dict[int, str]]:
    """The crop of every block that can be used, and why for each that cannot; one block is in memory at a time.

    Raises:
        InputError: A block was trained under another plan.
    """
    plan_sha256 = plan.sha256
    crops: list[Crop] = []
    failures: dict[int, str] = {}
    reporter.start("crop", len(plan.blocks))
    for index, block in enumerate(plan.blocks):
        folder = BlockFolder(run.blocks / block.block_id)
        record = read_block_record(folder, plan_sha256)
        try:
            crops.append(_crop_block(folder, record, plan, index))
        except InputError as error:
            failures[index] = error.what
        reporter.advance("crop", index + 1)
    reporter.finish("crop", holes=len(failures))
    return crops, failures


def crop_far(run: RunFolder, plan: BlockPlan) -> Crop | None:
    """The crop of the set that stands for sky and horizon; None where none was fitted.

    Raises:
        InputError: It was fitted under another plan, or cannot be used.
    """
    folder = run.shared
    if not (folder / "shared.json").is_file():
        return None
    record = read_json_object(folder / "shared.json")
    if record.get("plan_sha256") != plan.sha256:
        remedy = "blocks of different plans cannot be merged; reconstruct into a new folder"
        raise InputError("was fitted under another plan", where=folder, remedy=remedy)
    path, sha256 = folder / "far.safetensors", str(record.get("far_sha256"))
    gaussians = load_gaussians(path, expected_sha256=sha256)
    check_usable(gaussians, path)
    core = torch.from_numpy(plan.owners(gaussians.means.double().numpy()) == FAR)
    dropped = len(core) - int(core.sum())
    degree = gaussians.sh_degree
    return Crop(owner=FAR, path=path, sha256=sha256, core=core, num_margin=0, num_auxiliary=dropped, sh_degree=degree)


def check_usable(gaussians: Gaussians, path: Path) -> None:
    """The gate before merging: one number that is not finite in a block means that none of it can be trusted.

    Raises:
        InputError: Some Gaussians have numbers that are not finite, or no direction.
    """
    num_bad = int((~finite_mask(gaussians)).sum())
    if num_bad:
        raise InputError(f"{num_bad:,} of {len(gaussians):,} Gaussians are not finite", where=path)
    num_turnless = int((gaussians.quats.double().norm(dim=1) < _SMALLEST_QUAT_NORM).sum())
    if num_turnless:
        raise InputError(f"{num_turnless:,} of {len(gaussians):,} rotations have length zero", where=path)


def pad_sh(gaussians: Gaussians, sh_degree: int) -> Gaussians:
    """The same Gaussians with zeros for the coefficients that a higher degree has."""
    if gaussians.sh_degree >= sh_degree:
        return gaussians
    return replace(gaussians, sh=resize_sh(gaussians.sh, sh_degree))


def _crop_block(folder: BlockFolder, record: Mapping[str, Any] | None, plan: BlockPlan, index: int) -> Crop:
    if record is None:
        raise InputError(_failure_of(folder))
    sha256 = str(record.get("scene_sha256"))
    gaussians = load_gaussians(folder.scene, expected_sha256=sha256)
    check_usable(gaussians, folder.scene)
    points = gaussians.means.double().numpy()
    anchor_core = _own_anchors(folder, record, plan, index)
    if anchor_core is None:
        core = plan.owners(points) == index
    else:
        core = np.repeat(anchor_core, int(record["offsets_per_anchor"]))
    if len(core) != len(points):
        raise InputError(
            f"{len(points):,} Gaussians do not come from {len(core):,} offsets of anchors", where=folder.root
        )
    if not core.any():
        raise InputError(f"none of its {len(core):,} Gaussians lies in its own cell")
    near = plan.blocks[index].cell.covers(plan.frame.from_world(points))
    return Crop(
        owner=index,
        path=folder.scene,
        sha256=sha256,
        core=torch.from_numpy(core),
        num_margin=int((near & ~core).sum()),
        num_auxiliary=int((~near & ~core).sum()),
        sh_degree=gaussians.sh_degree,
        anchor_core=None if anchor_core is None else torch.from_numpy(anchor_core),
        record=record,
    )


def _own_anchors(
    folder: BlockFolder, record: Mapping[str, Any], plan: BlockPlan, index: int
) -> Bool[np.ndarray, "a"] | None:
    """Which of a block's anchors it owns; None where it has none."""
    if not record.get("anchors_sha256"):
        return None
    if file_sha256(folder.anchors) != record["anchors_sha256"]:
        raise InputError("its content is not what was saved (the SHA-256 differs)", where=folder.anchors)
    anchors, _ = read_anchors(folder.anchors)
    return np.asarray(plan.owners(anchors.positions.double().numpy()) == index)


def _failure_of(folder: BlockFolder) -> str:
    """Why a block without a record has none."""
    if not folder.failure.is_file():
        return "was never finished"
    return f"training failed: {read_json_object(folder.failure).get('reason', 'nobody said why')}"
