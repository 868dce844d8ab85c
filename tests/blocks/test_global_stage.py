"""What all blocks share: a coarse scene that their surroundings begin with, kept exactly or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blocks.block_folder import BlockFolder
from blocks.block_training import BlockJob, make_block_start
from blocks.global_stage import Shared, load_shared, make_shared
from blocks.partition import make_plan
from blocks.plan import FAR, BlockPlan
from blocks.settings import BlockSettings, GlobalSettings, RunSettings
from scene3d.data.synthetic import SyntheticSettings
from scene3d.errors import InputError
from scene3d.events import Quiet
from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.memory import MIN_PHOTO_BYTES, training_bytes
from scene3d.training.preparation import Prepared, prepare_training
from scene3d.training.run_folder import RunFolder
from tests.synthetic_captures import shared_capture

SETTINGS = RunSettings(
    iterations=24,
    blocks=2,
    sh_degree=1,
    eval_every=0,
    global_stage=GlobalSettings(iterations=30),
    block=BlockSettings(surroundings="coarse"),
)
CAPTURE = SyntheticSettings(
    num_views=16, width=64, height=48, extent_m=60.0, num_points=1500, exposure_spread_stops=0.3
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare_training(shared_capture(tmp_path_factory, "uneven light", CAPTURE), SETTINGS)


@pytest.fixture(scope="module")
def plan(prepared: Prepared) -> BlockPlan:
    return make_plan(prepared.capture, prepared.split, replace(SETTINGS.partition, blocks=2))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared, plan: BlockPlan) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("shared") / "run")
    make_shared(run, prepared, plan, replace(SETTINGS, exposure=replace(SETTINGS.exposure, enabled=True)), Quiet())
    return run


def make_job(prepared: Prepared, plan: BlockPlan, shared: Shared, settings: RunSettings = SETTINGS) -> BlockJob:
    folder = BlockFolder(Path("nowhere"))
    return BlockJob(folder=folder, prepared=prepared, plan=plan, index=0, shared=shared, settings=settings)


def start_of(job: BlockJob) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means and opacities of a block's first Gaussians, and which lie where it may grow."""
    start = make_block_start(job, job.plan.find_views(0, job.prepared.capture), Quiet())
    inside = torch.from_numpy(job.plan.may_grow(0, start.means.double().numpy()))
    return start.means, start.opacity_logits, inside


def test_a_block_begins_amid_the_coarse_scene(run: RunFolder, prepared: Prepared, plan: BlockPlan) -> None:
    shared = load_shared(run, plan)
    assert shared is not None
    assert len(shared.coarse)
    assert not (plan.owners(shared.coarse.means.double().numpy()) == FAR).any()
    means, opacities, inside = start_of(make_job(prepared, plan, shared))
    around = {tuple(place) for place in means[~inside].tolist()}
    assert around
    assert around <= {tuple(place) for place in shared.coarse.means.tolist()}
    assert opacities[~inside].unique().numel() > 10, "trained Gaussians differ in opacity"
    assert opacities[inside].unique().numel() == 1, "on its own ground a block begins with bare points"


def test_a_block_may_begin_amid_points(run: RunFolder, prepared: Prepared, plan: BlockPlan) -> None:
    shared = load_shared(run, plan)
    assert shared is not None
    amid_points = replace(SETTINGS, block=BlockSettings(surroundings="points"))
    means, opacities, inside = start_of(make_job(prepared, plan, shared, amid_points))
    assert bool((~inside).any())
    assert opacities.unique().numel() == 1, "all are as untrained as those on its own ground"
    assert not {tuple(place) for place in means[~inside].tolist()} & {tuple(p) for p in shared.coarse.means.tolist()}


def test_without_surroundings_a_block_begins_on_its_own_ground_only(
    run: RunFolder, prepared: Prepared, plan: BlockPlan
) -> None:
    shared = load_shared(run, plan)
    assert shared is not None
    alone = make_job(prepared, plan, shared, replace(SETTINGS, block=BlockSettings(auxiliary=False)))
    assert bool(start_of(alone)[2].all())


def test_a_block_may_begin_amid_what_its_views_do_not_see(run: RunFolder, prepared: Prepared, plan: BlockPlan) -> None:
    shared = load_shared(run, plan)
    assert shared is not None
    stray = shared.coarse.select(torch.tensor([0]))
    stray = replace(stray, means=stray.means + torch.tensor([0.0, 0.0, 500.0]))
    shared = replace(shared, coarse=Gaussians.concatenate([shared.coarse, stray]))

    def begins_with_stray(settings: RunSettings) -> bool:
        means = start_of(make_job(prepared, plan, shared, settings))[0]
        return bool((means == stray.means).all(dim=1).any())

    assert not begins_with_stray(SETTINGS)
    assert begins_with_stray(replace(SETTINGS, block=BlockSettings(surroundings="coarse", visibility_crop=False)))


def test_surroundings_are_thinned_to_the_memory_given(run: RunFolder, prepared: Prepared, plan: BlockPlan) -> None:
    shared = load_shared(run, plan)
    assert shared is not None
    inside = start_of(make_job(prepared, plan, shared))[2]
    most = int(inside.sum()) + 50
    room = MIN_PHOTO_BYTES + training_bytes(most, SETTINGS.sh_degree, CAPTURE.width * CAPTURE.height)
    tight = replace(SETTINGS, memory_gb=room / 2**30)
    thinned = start_of(make_job(prepared, plan, shared, tight))[2]
    assert int(thinned.sum()) == int(inside.sum())
    assert 45 <= int((~thinned).sum()) <= 50


def test_exposures_of_all_blocks_begin_as_measured(run: RunFolder, plan: BlockPlan) -> None:
    shared = load_shared(run, plan)
    assert shared is not None
    assert shared.affine is not None
    diagonal = shared.affine[:, :3].diagonal(dim1=1, dim2=2)
    assert float(diagonal.std()) > 0.05, "the photographs differ, and so do their exposures from the first iteration on"
    torch.testing.assert_close(shared.affine.mean(0), torch.eye(3, 4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["coarse", "far", "exposure"])
def test_a_damaged_file_is_refused(run: RunFolder, plan: BlockPlan, name: str) -> None:
    path = run.shared / f"{name}.safetensors"
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[-1] ^= 1
    path.write_bytes(bytes(broken))
    try:
        with pytest.raises(InputError, match="SHA-256"):
            load_shared(run, plan)
        path.unlink()
        with pytest.raises(InputError):
            load_shared(run, plan)
    finally:
        path.write_bytes(whole)


def test_what_another_version_left_is_refused(run: RunFolder, plan: BlockPlan) -> None:
    path = run.shared / "shared.json"
    text = path.read_text()
    path.write_text(text.replace('"schema_version": 2', '"schema_version": 1'))
    try:
        with pytest.raises(InputError, match="another version"):
            load_shared(run, plan)
    finally:
        path.write_text(text)


def test_the_same_start_gives_the_same_coarse_scene(
    run: RunFolder, prepared: Prepared, plan: BlockPlan, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, exposure=replace(SETTINGS.exposure, enabled=True))
    again = make_shared(RunFolder(tmp_path / "run"), prepared, plan, settings, Quiet())
    first = load_shared(run, plan)
    assert first is not None
    np.testing.assert_array_equal(again.coarse.means.numpy(), first.coarse.means.numpy())
