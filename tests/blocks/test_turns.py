"""Blocks in turns: exact whoever waits where, stopped anywhere, in any number of processes; one decoder for all."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing

from blocks.anchor_block import make_outfit, open_seat
from blocks.block_folder import BlockFolder, load_block, read_block_record
from blocks.merge import merge_blocks
from blocks.plan import read_plan
from blocks.run import reconstruct_run
from blocks.settings import RunSettings
from blocks.team import Alone, TorchTeam
from blocks.turn_job import TurnsJob
from blocks.turn_plan import count_rounds, count_steps, plan_round, share_round
from blocks.turns import train_in_turns
from scene3d.errors import Diverged, InputError, SettingsError
from scene3d.events import Figure, Quiet, read_events
from scene3d.gaussians.anchor_baking import bake_anchors
from scene3d.gaussians.decoder import decoder_checksum
from scene3d.io.anchor_file import read_anchors
from scene3d.io.ply import read_gaussians_ply
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.first_field import make_shared_decoder
from scene3d.training.hooks import TrainingHooks
from scene3d.training.run_folder import RunFolder
from scene3d.training.trainer import Trainer
from tests.blocks.turn_runs import HAMLET, SETTINGS, Stop, StopAt, final_bytes, make_job, with_turns
from tests.synthetic_captures import shared_capture


@pytest.fixture(scope="session")
def hamlet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_capture(tmp_path_factory, "hamlet", HAMLET)


@pytest.fixture(scope="module")
def finished(hamlet: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Three blocks one after another, those that wait in memory."""
    job = make_job(hamlet, tmp_path_factory.mktemp("finished") / "run")
    assert train_in_turns(job, Alone()) == {}
    return job.run


def test_waiting_on_disk_changes_no_bit(hamlet: Path, tmp_path: Path, finished: RunFolder) -> None:
    job = make_job(hamlet, tmp_path / "run", with_turns(offload="disk"))
    train_in_turns(job, Alone())
    assert final_bytes(job.run) == final_bytes(finished)


def test_turns_are_what_a_plain_loop_over_resident_blocks_does(
    hamlet: Path, tmp_path: Path, finished: RunFolder
) -> None:
    """Nobody waits anywhere here: no state is ever taken from a trainer, or put into one."""
    job = make_job(hamlet, tmp_path / "run", with_turns(weighting=False))
    turns = job.settings.turns
    decoder = make_shared_decoder(job.settings, steps=count_steps(3, 1, 20, turns))
    assert decoder is not None
    seats = []
    for index in range(3):
        outfit, field = make_outfit(job.block(index), decoder, 1, Quiet())
        seats.append(open_seat(job.block(index), outfit, field, hooks=TrainingHooks(), reporter=Quiet()))
    order = sorted(range(3), key=lambda index: (-job.plan.blocks[index].load, index))
    rounds = count_rounds(20, turns)
    for number in range(rounds):
        if number == rounds - 1:
            decoder.freeze()
        lengths = share_round(number, dict.fromkeys(order, 1.0), 20, turns)
        for turn in plan_round(number, lengths, order, 1).lanes[0]:
            for _ in range(turn.steps):
                seats[turn.block].trainer.advance()
                decoder.step(decoder.take_gradient())
        decoder.end_round()
    other = make_job(hamlet, tmp_path / "other", with_turns(weighting=False))
    train_in_turns(other, Alone())
    for index, seat in enumerate(seats):
        anchors, student = read_anchors(BlockFolder(other.run.blocks / other.block_id(index)).anchors)
        assert decoder_checksum(student) == decoder.checksum()
        for name, value in seat.trainer.field.capture().items():
            part = name.removeprefix("field.")
            if part in ("positions", "features", "offsets", "log_scales"):
                assert torch.equal(getattr(anchors, part), value), name
        seat.close()


@pytest.mark.parametrize("step", [1, 30, 59])
def test_a_run_stopped_at_any_moment_ends_with_the_same_bytes(
    hamlet: Path, tmp_path: Path, finished: RunFolder, step: int
) -> None:
    job = make_job(hamlet, tmp_path / "run")
    with pytest.raises(Stop):
        train_in_turns(job, Alone(), reporter=StopAt(step))
    train_in_turns(job, Alone())
    assert final_bytes(job.run) == final_bytes(finished)
    train_in_turns(job, Alone())
    assert final_bytes(job.run) == final_bytes(finished)


def test_a_block_that_was_lost_after_the_last_round_is_kept_again(
    hamlet: Path, tmp_path: Path, finished: RunFolder
) -> None:
    job = make_job(hamlet, tmp_path / "run")
    train_in_turns(job, Alone())
    for path in (job.run.blocks / job.block_id(1)).iterdir():
        path.unlink()
    train_in_turns(job, Alone())
    assert final_bytes(job.run) == final_bytes(finished)


def test_a_run_goes_on_with_its_own_settings_only(hamlet: Path, tmp_path: Path) -> None:
    job = make_job(hamlet, tmp_path / "run")
    with pytest.raises(Stop):
        train_in_turns(job, Alone(), reporter=StopAt(10))
    changed = replace(job, settings=replace(job.settings, turns=replace(job.settings.turns, sigma=5.0)))
    with pytest.raises(InputError, match="other settings"):
        train_in_turns(changed, Alone())
    elsewhere = replace(job, settings=replace(job.settings, turns=replace(job.settings.turns, offload="disk")))
    train_in_turns(elsewhere, Alone())


def _join_team(rank: int, capture: str, root: str, settings: RunSettings) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{root}.meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    job = make_job(Path(capture), Path(f"{root}.{rank}"), settings)
    job = replace(job, run=RunFolder(Path(root)))
    train_in_turns(job, TorchTeam(torch.device("cpu")))
    torch.distributed.destroy_process_group()


@pytest.mark.timeout(300)
def test_two_processes_do_what_one_does(hamlet: Path, tmp_path: Path) -> None:
    settings = with_turns(accumulate=2, interval=10)
    alone = make_job(hamlet, tmp_path / "alone", settings)
    train_in_turns(alone, Alone())
    (tmp_path / "team").mkdir()
    multiprocessing.spawn(_join_team, (str(hamlet), str(tmp_path / "team"), settings), nprocs=2)
    assert final_bytes(RunFolder(tmp_path / "team")) == final_bytes(alone.run)


def test_lanes_are_another_run_and_more_lanes_than_blocks_are_none(
    hamlet: Path, tmp_path: Path, finished: RunFolder
) -> None:
    job = make_job(hamlet, tmp_path / "run", with_turns(accumulate=9))
    assert job.num_lanes == 3
    train_in_turns(job, Alone())
    assert final_bytes(job.run) != final_bytes(finished)
    assert set(final_bytes(job.run)) == set(final_bytes(finished))


def test_all_blocks_end_with_the_decoder_that_was_frozen(hamlet: Path, finished: RunFolder) -> None:
    plan_blocks = sorted(finished.blocks.iterdir())
    told = {json.loads((folder / "block.json").read_text())["decoder_sha256"] for folder in plan_blocks}
    held = {decoder_checksum(read_anchors(folder / "anchors.safetensors")[1]) for folder in plan_blocks}
    assert len(told) == 1
    assert held == told


@pytest.mark.parametrize("frozen", [True, False])
def test_the_last_round_moves_the_decoder_only_where_it_is_not_frozen(
    hamlet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    before: list[str] = []
    original = Trainer.advance

    def watched(self: Trainer) -> float:
        shared = self._surroundings.shared
        if shared is not None:  # the stage before the blocks has none
            before.append(shared.checksum())
        return original(self)

    job = make_job(hamlet, tmp_path / "run", with_turns(frozen_last_round=frozen, weighting=False))
    monkeypatch.setattr(Trainer, "advance", watched)
    train_in_turns(job, Alone())
    rounds = count_rounds(20, job.settings.turns)
    in_last_round = before[-3 * (20 // rounds) :]
    record = json.loads((job.run.blocks / job.block_id(0) / "block.json").read_text())
    assert (len(set(in_last_round)) == 1) == frozen
    assert (record["decoder_sha256"] == in_last_round[0]) == frozen


def test_weights_change_the_decoder_and_the_turns(hamlet: Path, tmp_path: Path) -> None:
    # Turns of two iterations: of one, nothing could be given to another block.
    strong = make_job(hamlet, tmp_path / "strong", replace(with_turns(sigma=0.05), iterations=40))
    none = make_job(hamlet, tmp_path / "none", replace(with_turns(weighting=False), iterations=40))
    for job in (strong, none):
        train_in_turns(job, Alone())
    records = [
        [json.loads(p.read_text()) for p in sorted(job.run.blocks.glob("*/block.json"))] for job in (strong, none)
    ]
    iterations = [[record["iterations"] for record in each] for each in records]
    assert iterations[1] == [40, 40, 40]
    assert sum(iterations[0]) == 120
    assert iterations[0] != iterations[1]
    decoders = [read_anchors(sorted(job.run.blocks.iterdir())[0] / "anchors.safetensors")[1] for job in (strong, none)]
    apart = [(a - b).detach().abs().max() for a, b in zip(*(each.parameters() for each in decoders), strict=True)]
    assert max(float(each) for each in apart) > 1e-4


def test_a_block_that_fails_leaves_a_hole_and_the_others_go_on(
    hamlet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.advance

    def fails_once(self: Trainer) -> float:
        if self.scene_scale == scale and self.iteration == 5:
            raise Diverged("numbers ran away")
        return original(self)

    settings = replace(SETTINGS, merge=replace(SETTINGS.merge, refine_iterations=0))
    job = make_job(hamlet, tmp_path / "job", settings)
    decoder = make_shared_decoder(job.settings, steps=1)
    assert decoder is not None
    scale = make_outfit(job.block(1), decoder, 1, Quiet())[0].scene_scale
    monkeypatch.setattr(Trainer, "advance", fails_once)
    result = reconstruct_run(hamlet, tmp_path / "run", settings)
    assert [hole.block_id for hole in result.holes] == [job.block_id(1)]
    assert "numbers ran away" in result.holes[0].reason
    monkeypatch.undo()
    again = reconstruct_run(hamlet, tmp_path / "run", settings, resume=True)
    assert again.num_gaussians == result.num_gaussians


def test_a_run_whose_blocks_all_fail_says_why(hamlet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Trainer) -> float:
        raise Diverged("numbers ran away")

    job = make_job(hamlet, tmp_path / "run")
    monkeypatch.setattr(Trainer, "advance", fails)
    with pytest.raises(Diverged, match=r"no block could be trained.*numbers ran away"):
        train_in_turns(job, Alone())


def test_a_block_that_breaks_goes_back_to_where_its_turn_began(
    hamlet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[int] = []
    original = Trainer.advance

    def breaks_once(self: Trainer) -> float:
        if not broken and self.iteration == 2:
            broken.append(self.iteration)
            self.field.parameters["features"].data.fill_(float("nan"))  # type: ignore[attr-defined]
        return original(self)

    job = make_job(hamlet, tmp_path / "run")
    monkeypatch.setattr(Trainer, "advance", breaks_once)
    assert train_in_turns(job, Alone()) == {}
    assert broken == [2]
    for index in range(3):
        folder = BlockFolder(job.run.blocks / job.block_id(index))
        record = read_block_record(folder, job.plan.sha256)
        assert record is not None
        assert bool(load_block(folder, record).means.isfinite().all())


@pytest.fixture(scope="module")
def whole(hamlet: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """From the capture to the merged scene, seams not refined."""
    settings = replace(SETTINGS, merge=replace(SETTINGS.merge, refine_iterations=0, audit=False))
    return reconstruct_run(hamlet, tmp_path_factory.mktemp("whole") / "run", settings).run


def test_an_anchor_takes_its_gaussians_into_the_merged_scene(whole: RunFolder, finished: RunFolder) -> None:
    manifest = json.loads(whole.manifest.read_text())
    anchors, decoder = read_anchors(whole.merged_scene.with_name("anchors.safetensors"))
    assert manifest["anchors"]["num_anchors"] == len(anchors)
    assert manifest["num_gaussians"] == anchors.num_gaussians + manifest["num_far"]
    kept = 0
    plan = read_plan(whole.plan)
    owners = plan.owners(anchors.positions.double().numpy())
    for index, block in enumerate(plan.blocks):
        own, _ = read_anchors(whole.blocks / block.block_id / "anchors.safetensors")
        mine = own.select(torch.from_numpy(plan.owners(own.positions.double().numpy()) == index))
        assert torch.equal(anchors.select(torch.from_numpy(owners == index)).features, mine.features)
        kept += len(mine)
    assert kept == len(anchors) > 0
    baked = bake_anchors(anchors, decoder, 1)
    scene = read_gaussians_ply(whole.merged_scene)
    world = plan.world_from_capture.apply(scene.means.double().numpy())
    centers = torch.from_numpy(world).float()[: len(baked)]
    assert torch.allclose(centers, baked.means, atol=1e-4)


def test_blocks_manifest_and_merged_anchors_name_one_decoder(whole: RunFolder) -> None:
    manifest = json.loads(whole.manifest.read_text())
    _, decoder = read_anchors(whole.merged_scene.with_name("anchors.safetensors"))
    blocks = {json.loads(path.read_text())["decoder_sha256"] for path in whole.blocks.glob("*/block.json")}
    assert blocks == {manifest["anchors"]["decoder_sha256"]} == {decoder_checksum(decoder)}
    assert not (whole.root / "turns").exists()


def test_blocks_of_different_decoders_are_not_merged(
    hamlet: Path, tmp_path: Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(whole.root, run.root)
    path = next(iter(sorted(run.blocks.glob("*/block.json"))))
    path.write_text(json.dumps({**json.loads(path.read_text()), "decoder_sha256": "another"}))
    with pytest.raises(InputError, match="2 different decoders"):
        merge_blocks(
            run, read_plan(run.plan), replace(SETTINGS, merge=replace(SETTINGS.merge, audit=False)), capture=None
        )


def test_progress_names_round_turn_and_blocks(whole: RunFolder) -> None:
    events = [event for event in read_events(whole.events) if event.get("stage") == "blocks"]
    assert events[0] == {**events[0], "event": "start", "total": 60, "step": 0}
    assert events[-1]["event"] == "finish"
    seen: list[Mapping[str, Figure]] = [event for event in events if event["event"] == "advance"]
    assert all({"round", "turn", "block"} <= set(event) for event in seen)


def test_a_decoder_that_depends_on_the_view_is_refused_in_blocks() -> None:
    settings = replace(SETTINGS, anchors=AnchorSettings(mode="view"))
    with pytest.raises(SettingsError, match="view"):
        settings.in_blocks(2)


def test_lanes_follow_the_workers_and_never_fall_short_of_them() -> None:
    anchors = RunSettings(field="anchors", workers=3)
    assert anchors.in_blocks(4).turns.accumulate == 3
    few = anchors.in_blocks(2)
    assert (few.turns.accumulate, few.workers) == (2, 2)
    with pytest.raises(SettingsError, match="cannot share"):
        RunSettings(field="anchors", workers=3, turns=replace(SETTINGS.turns, accumulate=2))
    with pytest.raises(SettingsError, match="workers"):
        RunSettings(workers=0)


def test_gradients_are_summed_in_the_order_of_the_lanes() -> None:
    generator = torch.Generator().manual_seed(1)
    own: dict[int, Tensor] = {lane: torch.randn(5, generator=generator) * 10.0**lane for lane in (0, 2, 3)}
    total = Alone().sum_lanes(own, 4, 5)
    assert torch.equal(total, ((own[0] + torch.zeros(5)) + own[2]) + own[3])
    assert torch.equal(Alone().sum_lanes({}, 2, 5), torch.zeros(5))


def test_the_job_knows_its_blocks(hamlet: Path, tmp_path: Path) -> None:
    job: TurnsJob = make_job(hamlet, tmp_path / "run")
    assert not job.is_finished(0)
    assert job.block(2).folder.root.name == job.block_id(2)
