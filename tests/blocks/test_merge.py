"""A merged scene: every Gaussian once, from its owner; holes with names; one block in memory at a time."""

import json
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.scenes import open_scene
from blocks import merge_parts
from blocks.block_folder import BlockFolder, load_gaussians, save_block
from blocks.merge import MergeResult, merge_blocks
from blocks.merge_parts import BlockShelf, pad_sh
from blocks.merge_settings import MergeSettings
from blocks.plan import FAR, BlockPlan
from blocks.settings import RunSettings
from scene3d.errors import InputError
from scene3d.events import EventLog, Quiet, read_events
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.images import write_image
from scene3d.io.ply import read_gaussians_ply
from scene3d.training.run_folder import RunFolder
from tests.blocks.two_blocks import (
    HALF_LENGTH,
    HALF_WIDTH,
    MARGIN,
    Photographs,
    crop_of,
    gaussians_at,
    make_cameras,
    make_capture,
    make_far,
    make_floaters,
    make_model,
    make_plan,
    make_town,
    view_name,
    write_run,
)

THREE = (-0.4, 0.6)
"""Cuts that make three blocks."""


@pytest.fixture(scope="module")
def plan() -> BlockPlan:
    return make_plan(make_cameras(), THREE)


@pytest.fixture(scope="module")
def models() -> dict[int, Gaussians]:
    town = make_town()
    return {index: make_model(town, index) for index in range(3)}


def merge(run: RunFolder, plan: BlockPlan, **settings: object) -> MergeResult:
    return merge_blocks(run, plan, RunSettings(merge=MergeSettings(**settings)), capture=None)


def owned(plan: BlockPlan, owner: int, gaussians: Gaussians) -> Gaussians:
    return gaussians.select(torch.from_numpy(plan.owners(gaussians.means.double().numpy()) == owner))


def test_the_scene_is_what_each_block_owns_one_after_the_other(
    tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]
) -> None:
    run = write_run(tmp_path, plan, models)
    result = merge(run, plan)
    parts = [owned(plan, index, model) for index, model in models.items()] + [owned(plan, FAR, make_far())]
    expected = Gaussians.concatenate(parts)
    scene = open_scene_of(run, plan)
    torch.testing.assert_close(scene.means, expected.means, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(scene.log_scales, expected.log_scales, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(scene.sh, expected.sh, atol=1e-6, rtol=0)
    assert torch.equal(scene.opacity_logits, expected.opacity_logits)
    assert result.num_gaussians == len(expected)
    assert result.holes == ()


def open_scene_of(run: RunFolder, plan: BlockPlan) -> Gaussians:
    """The merged scene as every command reads it, in the world frame."""
    record = {"schema_version": 1, "world_from_capture": plan.world_from_capture.to_record(), "capture": "gone"}
    run.capture.write_text(json.dumps(record))
    return open_scene(run.root, Quiet()).gaussians


def test_gaussians_on_a_face_are_kept_once(tmp_path: Path, plan: BlockPlan) -> None:
    on_faces = torch.cat([torch.tensor([[x, y, 0.1] for y in (-0.5, 0.0, 9.0)]) for x in (*THREE, -HALF_LENGTH, 5.0)])
    everything = gaussians_at(on_faces, torch.rand(len(on_faces), 3), scale=0.1)
    # Every block knows all of them: what is kept is kept by exactly one.
    run = write_run(tmp_path, plan, dict.fromkeys(range(3), everything), far=everything)
    result = merge(run, plan)
    assert result.num_gaussians == len(everything)
    kept = read_gaussians_ply(run.merged_scene).means
    assert len(torch.unique(kept, dim=0)) == len(everything)


def test_what_is_dropped_is_counted_by_kind(tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]) -> None:
    result = merge(write_run(tmp_path, plan, models), plan)
    for index, (block, model) in enumerate(zip(result.blocks, models.values(), strict=True)):
        cell, x, y = plan.blocks[index].cell, *model.means.double()[:, :2].T
        inside = (x >= cell.low[0] - MARGIN) & (x <= cell.high[0] + MARGIN) & (y.abs() <= HALF_WIDTH + MARGIN)
        core = torch.from_numpy(plan.owners(model.means.double().numpy()) == index)
        assert block.num_margin == int((inside & ~core).sum()) > 0
        assert block.num_auxiliary == int((~inside & ~core).sum())
        assert (block.num_kept, block.num_removed) == (int(core.sum()), 0)
        assert block.num_kept + block.num_dropped == len(model)
    assert sum(block.num_auxiliary for block in result.blocks) > 0


def test_of_the_far_set_only_what_lies_far_is_kept(
    tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]
) -> None:
    run = write_run(tmp_path, plan, models, far=make_far(5))
    result = merge(run, plan)
    assert result.num_far == 4
    assert result.num_gaussians == sum(block.num_kept for block in result.blocks) + 4


@pytest.mark.parametrize("left", ["empty", "missing"])
def test_a_run_may_have_nothing_far(tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians], left: str) -> None:
    run = write_run(tmp_path, plan, models, far=make_far(5).select(torch.zeros(5, dtype=torch.bool)))
    if left == "missing":
        (run.shared / "shared.json").unlink()
    result = merge(run, plan)
    assert result.num_far == 0
    assert len(read_gaussians_ply(run.merged_scene)) == result.num_gaussians


def test_the_manifest_is_that_of_a_scene_in_one_piece_and_lists_the_blocks(
    tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]
) -> None:
    run = write_run(tmp_path, plan, models)
    result = merge(run, plan)
    manifest = json.loads(run.manifest.read_text())
    assert manifest["num_gaussians"] == result.num_gaussians
    assert (manifest["iterations"], manifest["train_seconds"], manifest["peak_memory_bytes"]) == (100, 7.5, 3000)
    assert manifest["size_bytes"] == run.merged_scene.stat().st_size
    assert manifest["plan_sha256"] == plan.sha256
    assert [block["block_id"] for block in manifest["blocks"]] == ["b0", "b1", "b2"]
    first = manifest["blocks"][0]
    assert (first["num_views"], first["load"], first["num_points"]) == (len(plan.blocks[0].views), 100, 50)
    assert (first["train_seconds"], first["peak_memory_bytes"], first["iterations"]) == (2.5, 1000, 100)
    assert manifest["holes"] == []
    assert manifest["audit"]["note"] == "the capture is not at hand"


def test_colours_of_lower_degree_get_zeros(tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]) -> None:
    richer = {**models, 1: pad_sh(models[1], 2)}
    run = write_run(tmp_path, plan, richer)
    merge(run, plan)
    scene = read_gaussians_ply(run.merged_scene)
    assert scene.sh_degree == 2
    assert not scene.sh[:, 1:].any()
    assert pad_sh(richer[1], 1) is richer[1]


Damage = Callable[[BlockFolder, Gaussians, BlockPlan], None]


def fail(folder: BlockFolder, model: Gaussians, plan: BlockPlan) -> None:
    forget(folder, model, plan)
    folder.failure.write_text('{"schema_version": 1, "reason": "training left the finite numbers"}')


def forget(folder: BlockFolder, model: Gaussians, plan: BlockPlan) -> None:
    folder.record.unlink()


def poison(folder: BlockFolder, model: Gaussians, plan: BlockPlan) -> None:
    logits = model.opacity_logits.clone()
    logits[7] = float("nan")
    save_block(folder, replace(model, opacity_logits=logits), plan.sha256, {})


def flatten(folder: BlockFolder, model: Gaussians, plan: BlockPlan) -> None:
    quats = model.quats.clone()
    quats[3] = 0
    save_block(folder, replace(model, quats=quats), plan.sha256, {})


def cut_short(folder: BlockFolder, model: Gaussians, plan: BlockPlan) -> None:
    folder.scene.write_bytes(folder.scene.read_bytes()[:-100])


def empty(folder: BlockFolder, model: Gaussians, plan: BlockPlan) -> None:
    save_block(folder, model.select(torch.zeros(len(model), dtype=torch.bool)), plan.sha256, {})


def stray(folder: BlockFolder, model: Gaussians, plan: BlockPlan) -> None:
    save_block(folder, owned(plan, 0, model), plan.sha256, {})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (fail, "training failed: training left the finite numbers"),
        (forget, "was never finished"),
        (poison, "1 of .* Gaussians are not finite"),
        (flatten, "1 of .* rotations have length zero"),
        (cut_short, "not what was saved"),
        (empty, "none of its 0 Gaussians lies in its own cell"),
        (stray, "lies in its own cell"),
    ],
)
def test_a_block_that_cannot_be_used_leaves_a_hole_with_its_name(
    tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians], damage: Damage, reason: str
) -> None:
    run = write_run(tmp_path, plan, models)
    damage(BlockFolder(run.blocks / "b1"), models[1], plan)
    log = EventLog(tmp_path / "events.jsonl")
    result = merge_blocks(run, plan, RunSettings(), capture=None, reporter=log)
    (hole,) = result.holes
    assert hole.block_id == "b1"
    assert pytest.approx(1.0 / 3.2) == hole.area_share
    assert re.search(reason, hole.reason)
    assert "--resume" in hole.remedy
    assert [block.block_id for block in result.blocks] == ["b0", "b2"]
    kept = read_gaussians_ply(run.merged_scene)
    assert len(kept) == result.num_gaussians == result.num_far + sum(block.num_kept for block in result.blocks)
    assert json.loads(run.manifest.read_text())["holes"][0]["block_id"] == "b1"
    notes = [str(event["message"]) for event in read_events(tmp_path / "events.jsonl") if event["event"] == "note"]
    assert any("block b1 leaves a hole" in note for note in notes)


def test_without_any_block_there_is_no_scene(tmp_path: Path, plan: BlockPlan) -> None:
    run = write_run(tmp_path, plan, {})
    with pytest.raises(InputError, match="none of the 3 blocks can be used"):
        merge(run, plan)
    assert not run.merged_scene.exists()


def test_blocks_of_another_plan_are_not_merged(tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]) -> None:
    other = make_plan(make_cameras(), (0.0, 0.6))
    run = write_run(tmp_path, other, models)
    with pytest.raises(InputError, match="another plan"):
        merge(run, plan)


def test_a_far_set_of_another_plan_is_refused(tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]) -> None:
    run = write_run(tmp_path, plan, models)
    path = run.shared / "shared.json"
    path.write_text(path.read_text().replace(plan.sha256, "0" * 64))
    with pytest.raises(InputError, match="another plan"):
        merge(run, plan)


def test_a_far_set_with_numbers_that_are_not_finite_is_refused(
    tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]
) -> None:
    far = make_far()
    run = write_run(tmp_path, plan, models, far=replace(far, sh=far.sh + float("inf")))
    with pytest.raises(InputError, match=r"far\.safetensors: 5 of 5 Gaussians are not finite"):
        merge(run, plan)


def test_a_damaged_far_set_is_refused_and_the_old_scene_stays(
    tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians]
) -> None:
    run = write_run(tmp_path, plan, models)
    merge(run, plan)
    before = run.merged_scene.read_bytes()
    (run.shared / "far.safetensors").write_bytes(b"")
    with pytest.raises(InputError):
        merge(run, plan)
    assert run.merged_scene.read_bytes() == before


class Census:
    """Counts how many loaded blocks are alive whenever another one is loaded."""

    def __init__(self) -> None:
        self.alive: list[weakref.ref[torch.Tensor]] = []
        self.most = 0

    def load(self, path: Path, *, expected_sha256: str) -> Gaussians:
        gaussians = load_gaussians(path, expected_sha256=expected_sha256)
        self.alive.append(weakref.ref(gaussians.means))
        self.most = max(self.most, sum(each() is not None for each in self.alive))
        return gaussians


@pytest.mark.parametrize("num_blocks", [2, 6])
def test_one_block_is_in_memory_at_a_time_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_blocks: int
) -> None:
    plan = make_plan(make_cameras(), tuple(np.linspace(-1.0, 1.0, num_blocks - 1)))
    town = make_town()
    run = write_run(tmp_path, plan, dict.fromkeys(range(num_blocks), town))
    census = Census()
    monkeypatch.setattr(merge_parts, "load_gaussians", census.load)
    merge(run, plan)
    assert len(census.alive) == 2 * num_blocks + 2
    assert census.most == 1


@pytest.mark.parametrize("max_resident", [1, 2])
def test_the_audit_holds_no_more_blocks_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_resident: int
) -> None:
    cameras = make_cameras()
    plan = make_plan(cameras, (-0.3, 0.3, 0.9))
    town = make_town()
    floaters = make_floaters([-0.2, -0.6, 0.3], [0.2, 0.6, 0.6], 40, opacity=0.9)
    models = {index: make_model(town, index) for index in range(4)}
    models[1] = Gaussians.concatenate([models[1], floaters])
    run = write_run(tmp_path, plan, models)
    capture = make_capture(cameras, tmp_path)
    photographs = Photographs(town, cameras)
    for index in range(len(cameras)):
        write_image(tmp_path / view_name(index), photographs.load(index).image)
    census = Census()
    monkeypatch.setattr(merge_parts, "load_gaussians", census.load)
    settings = RunSettings(merge=MergeSettings(max_resident_blocks=max_resident, refine_iterations=0))
    result = merge_blocks(run, plan, settings, capture=capture)
    assert census.most <= max_resident + 1, "the far set besides"
    report = result.audit
    assert report.judge == "photographs"
    assert report.num_removed == sum(block.num_removed for block in result.blocks)
    assert result.blocks[1].num_removed > 20
    assert report.psnr_after_db > report.psnr_before_db
    assert len(read_gaussians_ply(run.merged_scene)) == result.num_gaussians
    assert json.loads(run.manifest.read_text())["audit"]["num_removed"] == report.num_removed


def test_a_shelf_forgets_the_block_that_was_used_longest_ago(
    tmp_path: Path, plan: BlockPlan, models: dict[int, Gaussians], monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = [crop_of(tmp_path, plan, owner, model) for owner, model in models.items()]
    census = Census()
    monkeypatch.setattr(merge_parts, "load_gaussians", census.load)
    shelf = BlockShelf(crops, sh_degree=1, max_resident=2)
    for owner in (0, 1, 0, 2, 0, 1):
        assert shelf.load(owner).sh_degree == 1
    assert len(census.alive) == 4, "0, 1, 2 and 1 again"
    assert census.most == 2
