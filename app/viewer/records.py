"""Owns what the page is told of a scene: plain values for JSON."""

from pathlib import Path
from typing import Any

import numpy as np

from app.viewer.frames import find_grown_mask
from app.viewer.legends import make_legends
from app.viewer.light import light_name, num_light
from app.viewer.scale import Unit
from app.viewer.seams import find_seams, seam_ticks
from app.viewer.shading import list_shown
from app.viewer.stage import Stage, find_field_of_view_deg
from scene3d.cameras.camera import Camera
from scene3d.geometry.rotations import quats_from_matrices


def scene_record(stage: Stage, unit: Unit) -> dict[str, Any]:
    """Everything the scene panel needs to know before the first picture."""
    return {
        "id": stage.run.id,
        "name": Path(stage.run.name).name,
        "key": stage.key,
        "live": stage.is_live,
        "iteration": stage.iteration,
        "num_gaussians": len(stage.scene.gaussians),
        "home": {"pose": pose_record(stage.home), "target": stage.middle.tolist()},
        "radius": stage.radius,
        "bounds": {"min": stage.bounds[0].tolist(), "max": stage.bounds[1].tolist()},
        **shown_record(stage, unit),
        "light": {"file": light_name(stage), "num": num_light(stage)},
        "unit": unit_record(stage, unit),
        "views": [
            {
                "index": index,
                "name": view.name,
                "held_out": view.name in stage.held_out,
                "target": _target_of(stage, view.camera),
                **pose_record(view.camera),
            }
            for index, view in enumerate(stage.views)
        ],
    }


def shown_record(stage: Stage, unit: Unit) -> dict[str, Any]:
    """The ways in which a scene can be shown, and what their colours mean."""
    seams = find_seams(stage)
    shown = list_shown(stage, find_grown_mask(stage), seams)
    ticks = seam_ticks(seams, unit, stage.scene.world_from_capture.scale) if seams else {}
    return {"shown": shown, "legends": make_legends(shown, ticks)}


def pose_record(camera: Camera) -> dict[str, Any]:
    """A camera as the browser holds it."""
    world_from_cam = camera.world_from_cam
    return {
        "position": world_from_cam[:3, 3].tolist(),
        "rotation": quats_from_matrices(world_from_cam[None, :3, :3])[0].tolist(),
        "fov": find_field_of_view_deg(camera),
    }


def unit_record(stage: Stage, unit: Unit) -> dict[str, Any]:
    """The unit, and how many of it one unit of the world frame is."""
    return {"name": unit.name, "per_world": unit.per_capture / stage.scene.world_from_capture.scale}


def find_capture_folder(stage: Stage) -> Path | None:
    """Where the photographs of a scene lay when it was made."""
    place = stage.scene.record.get("capture")
    return None if place is None else Path(place)


def plain_name(name: str) -> str:
    """A name that every file system and every header takes."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_" for sign in name) or "scene"


def _target_of(stage: Stage, camera: Camera) -> list[float]:
    """The place on a camera's axis that is nearest to the middle of the scene: what to turn about from there."""
    ahead = camera.world_from_cam[:3, 2]
    depth = float(np.dot(stage.middle - camera.center, ahead))
    return (camera.center + max(depth, 0.1 * stage.radius) * ahead).tolist()
