"""A tiny village in three blocks of anchors, jobs that train it in turns, and what must be equal between two runs."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from blocks.global_stage import make_shared
from blocks.merge_settings import MergeSettings
from blocks.partition import make_plan
from blocks.plan import write_plan
from blocks.settings import GlobalSettings, RunSettings
from blocks.turn_job import TurnsJob
from blocks.turn_settings import TurnSettings
from scene3d.data.synthetic import SyntheticSettings
from scene3d.events import Figure, Quiet
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.preparation import prepare_training
from scene3d.training.run_folder import RunFolder

HAMLET = SyntheticSettings(num_views=14, width=48, height=36, extent_m=60.0, num_points=500)
SETTINGS = RunSettings(
    field="anchors",
    iterations=20,
    blocks=3,
    sh_degree=1,
    eval_every=0,
    global_stage=GlobalSettings(iterations=4),
    anchors=AnchorSettings(features=8, offsets=3, hidden=8),
    turns=TurnSettings(interval=4, accumulate=1),
    merge=MergeSettings(refine_iterations=10),
)


def make_job(capture: Path, root: Path, settings: RunSettings = SETTINGS) -> TurnsJob:
    """A run folder in which nothing has been trained yet."""
    prepared = prepare_training(capture, settings)
    settings = settings.in_blocks(3)
    plan = make_plan(prepared.capture, prepared.split, replace(settings.partition, blocks=3))
    run = RunFolder(root)
    root.mkdir(parents=True, exist_ok=True)
    write_plan(run.plan, plan)
    shared = make_shared(run, prepared, plan, settings, Quiet())
    return TurnsJob(run=run, prepared=prepared, plan=plan, shared=shared, settings=settings)


def with_turns(**changes: object) -> RunSettings:
    """The settings with other ones of the turns."""
    return replace(SETTINGS, turns=replace(SETTINGS.turns, **changes))  # type: ignore[arg-type]


def final_bytes(run: RunFolder) -> dict[str, str]:
    """Hash of every scene file that the blocks of a run have left."""
    files = sorted(run.blocks.glob("*/*.safetensors"))
    return {f"{path.parent.name}/{path.name}": sha256(path.read_bytes()).hexdigest() for path in files}


class Stop(Exception):
    """Stands for a person who presses ctrl-C."""


class StopAt(Quiet):
    """Stops a run at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        if stage == "blocks" and step >= self.step:
            raise Stop
