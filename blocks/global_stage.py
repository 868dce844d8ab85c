"""Owns the short stage before the blocks: a coarse scene, what lies far, and exposures, which all blocks share."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from blocks.block_folder import load_gaussians, save_gaussians
from blocks.plan import FAR, BlockPlan
from blocks.settings import RunSettings
from blocks.sky import make_sky
from scene3d.data.capture import Capture
from scene3d.errors import InputError
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.initialization import gaussians_from_points
from scene3d.io.atomic import make_folder, write_json
from scene3d.io.bounded_json import read_json_object
from scene3d.io.tensors import read_tensors, write_tensors
from scene3d.seeding import make_generator
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.exposure import Exposure
from scene3d.training.field import Field
from scene3d.training.hooks import Surroundings
from scene3d.training.memory import release_memory
from scene3d.training.preparation import Prepared, choose_device, find_scene_scale, open_photos, start_exposure
from scene3d.training.run_folder import RunFolder
from scene3d.training.trainer import Trainer

SHARED_SCHEMA_VERSION = 2
IMAGE_SCALE = 0.25
"""Of the run's own image size: colours and far shapes need no detail."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shared:
    """What every block is trained amid."""

    far: Gaussians
    """Owned by no block; may be none."""

    coarse: Gaussians
    """The scene as the short stage left it, without what lies far: blocks begin with it outside of their own ground."""

    affine: Float[Tensor, "v 3 4"] | None
    """Exposure of each training view, in the order of `BlockPlan.views`; None where exposures are not fitted."""

    @classmethod
    def nothing(cls) -> "Shared":
        """No far set, no coarse scene and no exposures."""
        empty = torch.zeros(0, 3)
        quats, sh = torch.zeros(0, 4), torch.zeros(0, 1, 3)
        none = Gaussians(means=empty, quats=quats, log_scales=empty, opacity_logits=torch.zeros(0), sh=sh)
        return cls(far=none, coarse=none, affine=None)


def make_shared(
    run: RunFolder, prepared: Prepared, plan: BlockPlan, settings: RunSettings, reporter: Reporter
) -> Shared:
    """Fit coarse scene, far set and exposures, or read what an earlier start of this run fitted."""
    found = load_shared(run, plan)
    if found is not None:
        return found
    make_folder(run.shared)
    field, exposure = _train(prepared, make_start(prepared.capture, plan, settings), settings, reporter)
    trained = field.baked(0).to("cpu")
    is_far = torch.from_numpy(plan.owners(trained.means.double().numpy()) == FAR)
    affine = exposure.parameters["affine"].detach().cpu() if exposure.enabled else None
    return _save(run, plan, Shared(far=trained.select(is_far), coarse=trained.select(~is_far), affine=affine))


def make_start(capture: Capture, plan: BlockPlan, settings: RunSettings) -> Gaussians:
    """Gaussians from thinned sparse points and the sky."""
    names = set(plan.views)
    views = [index for index, view in enumerate(capture.views) if view.name in names]
    points = capture.points.seen_by(views).thinned(settings.global_stage.max_points)
    sky = make_sky(plan, [capture.views[i].camera for i in views], settings.global_stage.max_sky)
    parts = [] if sky is None else [sky]
    if len(points):
        generator = make_generator(settings.seed, "global stage")
        parts.append(gaussians_from_points(points.positions, points.colors, sh_degree=0, generator=generator))
    if not parts:
        raise InputError("there is no sparse point to begin with", where=capture.root, remedy="use --blocks 1")
    return Gaussians.concatenate(parts)


def block_exposure(shared: Shared, plan: BlockPlan, index: int, device: torch.device) -> Exposure | None:
    """The exposures of a block's views, in their order, which do not change any more; None where none were fitted."""
    if shared.affine is None:
        return None
    return Exposure.fixed(shared.affine[list(plan.blocks[index].views)], device)


def _train(prepared: Prepared, start: Gaussians, settings: RunSettings, reporter: Reporter) -> tuple[Field, Exposure]:
    capture, views = prepared.capture, prepared.split.train
    scene = replace(
        settings,
        # A run for a first look does not wait longer for its surroundings than for a block.
        iterations=min(settings.global_stage.iterations, settings.iterations),
        image_scale=settings.image_scale * IMAGE_SCALE,
        coarse_share=0.0,
        sh_degree=0,
        eval_every=0,
        # No growth; only what is far stays.
        density=replace(settings.density, stop_share=0.0, max_gaussians=len(start)),
    )
    loader = open_photos(capture, views, scene)
    field = ExplicitField(start.to(choose_device(settings)), sh_degree=0)
    trainer = Trainer(
        field,
        loader,
        views,
        scene,
        scene_scale=find_scene_scale(capture, views),
        surroundings=Surroundings(exposure=start_exposure(capture, views, settings, reporter), stage="surroundings"),
        reporter=reporter,
    )
    try:
        reporter.start("surroundings", scene.iterations, gaussians=len(start))
        trainer.run()
        reporter.finish("surroundings")
    finally:
        loader.close()
    release_memory()
    return trainer.field, trainer.exposure


def _save(run: RunFolder, plan: BlockPlan, shared: Shared) -> Shared:
    record: dict[str, Any] = {
        "schema_version": SHARED_SCHEMA_VERSION,
        "plan_sha256": plan.sha256,
        "far_sha256": save_gaussians(run.shared / "far.safetensors", shared.far),
        "num_far": len(shared.far),
        "coarse_sha256": save_gaussians(run.shared / "coarse.safetensors", shared.coarse),
        "num_coarse": len(shared.coarse),
        "exposure_sha256": None,
    }
    if shared.affine is not None:
        path = run.shared / "exposure.safetensors"
        record["exposure_sha256"] = write_tensors(path, {"affine": shared.affine})
    write_json(run.shared / "shared.json", record)
    return shared


def load_shared(run: RunFolder, plan: BlockPlan) -> Shared | None:
    """What the blocks of a run share; None where it was not fitted yet.

    Raises:
        InputError: It was fitted under another plan or layout, or is damaged.
    """
    path = run.shared / "shared.json"
    if not path.is_file():
        return None
    record = read_json_object(path)
    if record.get("schema_version") != SHARED_SCHEMA_VERSION or record.get("plan_sha256") != plan.sha256:
        raise InputError(
            "was made for another plan, or by another version", where=run.shared, remedy="reconstruct into a new folder"
        )
    affine = None
    if record.get("exposure_sha256"):
        tensors = read_tensors(run.shared / "exposure.safetensors", expected_sha256=record["exposure_sha256"])
        affine = tensors["affine"]
    far, coarse = (
        load_gaussians(run.shared / f"{name}.safetensors", expected_sha256=str(record.get(f"{name}_sha256")))
        for name in ("far", "coarse")
    )
    return Shared(far=far, coarse=coarse, affine=affine)
