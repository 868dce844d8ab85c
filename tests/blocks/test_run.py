"""A reconstruction in blocks from end to end: it resumes bit for bit, names its holes, sees no held-out view."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import blocks.run as run_module
from blocks.block_folder import BlockFolder, load_block, read_block_record
from blocks.block_training import BlockJob, train_block
from blocks.memory import choose_num_blocks
from blocks.merge_settings import MergeSettings
from blocks.plan import FAR, read_plan
from blocks.run import reconstruct_run
from blocks.run_progress import BlockProgress
from blocks.settings import GlobalSettings, RunSettings
from scene3d.data.synthetic import SyntheticSettings
from scene3d.errors import Diverged, InputError, LimitExceeded
from scene3d.events import Figure, Quiet, Reporter, read_events
from scene3d.io.colmap import NO_POINT, read_colmap, write_colmap
from scene3d.io.ply import read_gaussians_ply
from scene3d.training.memory import MIN_PHOTO_BYTES, training_bytes
from scene3d.training.preparation import prepare_training
from scene3d.training.run_folder import RunFolder
from tests.synthetic_captures import shared_capture

SETTINGS = RunSettings(
    iterations=24, blocks=2, sh_degree=1, eval_every=0, checkpoint_every=6, merge=MergeSettings(refine_iterations=5)
)
CAPTURE = SyntheticSettings(num_views=16, width=64, height=48, extent_m=60.0, num_points=1500)


@pytest.fixture(scope="session")
def village(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_capture(tmp_path_factory, "blocks village", CAPTURE)


@pytest.fixture(scope="module")
def finished(village: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("finished") / "run"
    return reconstruct_run(village, folder, SETTINGS).run


def scene_bytes(run: RunFolder) -> bytes:
    return run.merged_scene.read_bytes()


def test_a_run_in_blocks_leaves_one_standard_scene(finished: RunFolder) -> None:
    plan = read_plan(finished.plan)
    assert len(plan.blocks) == 2
    assert finished.plan_map.is_file()
    manifest = json.loads(finished.manifest.read_text())
    scene = read_gaussians_ply(finished.merged_scene)
    assert len(scene) == manifest["num_gaussians"] == sum(block["num_kept"] for block in manifest["blocks"])
    assert manifest["holes"] == []
    kept = 0
    for index, block in enumerate(plan.blocks):
        folder = BlockFolder(finished.blocks / block.block_id)
        record = read_block_record(folder, plan.sha256)
        assert record is not None
        assert record["iterations"] == SETTINGS.iterations
        gaussians = load_block(folder, record)
        kept += int((plan.owners(gaussians.means.double().numpy()) == index).sum())
        assert not folder.checkpoints.exists()
    assert kept - sum(block["num_removed"] for block in manifest["blocks"]) == len(scene)


def test_progress_is_that_of_the_whole_run(finished: RunFolder) -> None:
    events = [event for event in read_events(finished.events) if event.get("stage") == "blocks"]
    assert events[0]["event"] == "start"
    assert events[0]["total"] == 2 * SETTINGS.iterations
    assert events[-1]["event"] == "finish"
    assert events[-1]["block"] == "2 of 2"


class Stop(Exception):
    """Stands for a person who presses ctrl-C."""


class StopAt(Quiet):
    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        if stage == "blocks" and step >= self.step:
            raise Stop


@pytest.mark.parametrize("step", [1, 17, 24, 31, 47])
def test_a_run_stopped_at_any_moment_resumes_to_the_same_bytes(
    finished: RunFolder, village: Path, tmp_path: Path, step: int
) -> None:
    with pytest.raises(Stop):
        reconstruct_run(village, tmp_path / "run", SETTINGS, reporter=StopAt(step))
    resumed = reconstruct_run(village, tmp_path / "run", SETTINGS, resume=True)
    assert scene_bytes(resumed.run) == scene_bytes(finished)
    again = reconstruct_run(village, tmp_path / "run", SETTINGS, resume=True)
    assert scene_bytes(again.run) == scene_bytes(finished)


@pytest.mark.parametrize("error", [Diverged("numbers ran away"), LimitExceeded("too large"), MemoryError()])
def test_a_failed_block_leaves_a_named_hole_and_can_be_done_again(
    finished: RunFolder, village: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails_once(job: BlockJob, *, resume: bool, reporter: Reporter) -> None:
        if job.index == 0:
            raise error
        train_block(job, resume=resume, reporter=reporter)

    monkeypatch.setattr(run_module, "train_block", fails_once)
    result = reconstruct_run(village, tmp_path / "run", SETTINGS)
    plan = read_plan(result.run.plan)
    (hole,) = result.holes
    assert hole.block_id == plan.blocks[0].block_id
    assert hole.reason
    assert 0 < hole.area_share < 1
    left = read_gaussians_ply(result.run.merged_scene)
    assert (plan.owners(plan.world_from_capture.apply(left.means.double().numpy())) != 0).all()
    monkeypatch.undo()
    mended = reconstruct_run(village, tmp_path / "run", SETTINGS, resume=True)
    assert mended.holes == ()
    assert scene_bytes(mended.run) == scene_bytes(finished)


def test_a_run_without_any_block_ends_with_the_reason(
    village: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(job: BlockJob, *, resume: bool, reporter: Reporter) -> None:
        raise LimitExceeded(f"block {job.index} is too large")

    monkeypatch.setattr(run_module, "train_block", fails)
    with pytest.raises(LimitExceeded, match="is too large"):
        reconstruct_run(village, tmp_path / "run", SETTINGS)


def test_held_out_views_belong_to_no_block_and_start_no_gaussian(finished: RunFolder, village: Path) -> None:
    record = json.loads(finished.capture.read_text())
    plan = read_plan(finished.plan)
    assert set(plan.views) == set(record["split"]["train"])
    assert not set(plan.views) & set(record["split"]["test"])
    prepared = prepare_training(village, SETTINGS)
    held_out = {prepared.capture.views[i].name for i in prepared.split.test}
    assert held_out == set(record["split"]["test"])


def test_one_block_is_the_plain_scene(village: Path, tmp_path: Path) -> None:
    result = reconstruct_run(village, tmp_path / "run", replace(SETTINGS, blocks=1))
    assert result.num_blocks == 1
    assert not result.run.plan.exists()
    resumed = reconstruct_run(village, tmp_path / "run", replace(SETTINGS, blocks="auto"), resume=True)
    assert resumed.num_blocks == 1


def test_little_memory_asks_for_blocks_by_itself(village: Path) -> None:
    prepared = prepare_training(village, SETTINGS)
    plenty = replace(SETTINGS, blocks="auto")
    assert choose_num_blocks(prepared.capture, prepared.split, plenty) == 1
    # Room for a thousand Gaussians beside the photographs; the capture has 1,500 points.
    room = MIN_PHOTO_BYTES + training_bytes(1000, SETTINGS.sh_degree, CAPTURE.width * CAPTURE.height)
    tight = replace(plenty, memory_gb=room / 2**30)
    assert choose_num_blocks(prepared.capture, prepared.split, tight) == 2
    few = replace(plenty, density=replace(plenty.density, max_gaussians=500))
    assert choose_num_blocks(prepared.capture, prepared.split, few) == 4


def test_a_wish_that_cannot_be_met_leaves_no_folder(village: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="blocks are not possible"):
        reconstruct_run(village, tmp_path / "run", replace(SETTINGS, blocks=60))
    assert not (tmp_path / "run").exists()


def test_exposures_are_fitted_once_and_shared(village: Path, tmp_path: Path) -> None:
    settings = replace(
        SETTINGS,
        iterations=12,
        exposure=replace(SETTINGS.exposure, enabled=True, lr=1e-2),
        global_stage=GlobalSettings(iterations=40),
    )
    result = reconstruct_run(village, tmp_path / "run", settings)
    assert (result.run.shared / "exposure.safetensors").is_file()
    before = scene_bytes(result.run)
    shutil.rmtree(result.run.blocks)
    again = reconstruct_run(village, tmp_path / "run", settings, resume=True)
    assert scene_bytes(again.run) == before


def test_an_auxiliary_gaussian_is_not_grown_and_not_kept(finished: RunFolder) -> None:
    plan = read_plan(finished.plan)
    for index, block in enumerate(plan.blocks):
        folder = BlockFolder(finished.blocks / block.block_id)
        record = read_block_record(folder, plan.sha256)
        assert record is not None
        means = load_block(folder, record).means.double().numpy()
        outside = ~plan.may_grow(index, means)
        assert outside.any(), "the block was trained without its surroundings"


def test_a_street_keeps_its_sky(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    street = SyntheticSettings(kind="street", num_views=12, width=48, height=36, extent_m=40.0, num_points=600)
    capture = shared_capture(tmp_path_factory, "blocks street", street)
    settings = replace(SETTINGS, iterations=6, global_stage=GlobalSettings(iterations=8, max_sky=300))
    result = reconstruct_run(capture, tmp_path / "run", settings)
    manifest = json.loads(result.run.manifest.read_text())
    assert manifest["num_far"] > 20
    plan = read_plan(result.run.plan)
    scene = read_gaussians_ply(result.run.merged_scene)
    owners = plan.owners(plan.world_from_capture.apply(scene.means.double().numpy()))
    assert (owners == FAR).sum() == manifest["num_far"]


def test_an_unreadable_photograph_and_one_without_matches_cost_a_warning_each(village: Path, tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    shutil.copytree(village, capture)
    picture = capture / "images" / "0003.png"
    picture.write_bytes(picture.read_bytes()[:300])
    _forget_matches(capture / "sparse" / "0", "0005.png")
    notes: list[str] = []

    class Listener(Quiet):
        def note(self, message: str, *, level: str = "info") -> None:
            notes.append(message)

    result = reconstruct_run(capture, tmp_path / "run", SETTINGS, reporter=Listener())
    assert result.holes == ()
    assert any("0003.png" in note and "left out" in note for note in notes), notes
    assert any("0005.png" in note for note in notes), notes


def _forget_matches(model_folder: Path, name: str) -> None:
    """Takes one view out of all tracks."""
    model = read_colmap(model_folder)
    (lost,) = [image.id for image in model.images if image.name == name]
    points = model.points
    keep = points.track_image_ids != lost
    counts = np.add.reduceat(keep.astype(np.int64), points.track_offsets[:-1])
    thinned = replace(
        points,
        track_offsets=np.concatenate([[0], np.cumsum(counts)]),
        track_image_ids=points.track_image_ids[keep],
        track_keypoints=points.track_keypoints[keep],
    )
    images = tuple(
        replace(image, point_ids=np.full_like(image.point_ids, NO_POINT)) if image.id == lost else image
        for image in model.images
    )
    write_colmap(model_folder, replace(model, images=images, points=thinned))


def test_block_progress_counts_finished_blocks() -> None:
    seen: list[tuple[str, int]] = []

    class Listener(Quiet):
        def start(self, stage: str, total: int, **figures: Figure) -> None:
            seen.append(("start", int(figures["step"] or 0)))

        def advance(self, stage: str, step: int, **figures: Figure) -> None:
            seen.append((str(figures["block"]), step))

    progress = BlockProgress(Listener(), "blocks", 3, 100)
    progress.enter(0)
    progress.enter(1)
    progress.advance("train", 7)
    assert seen == [("start", 0), ("2 of 3", 107)]
