"""Owns what the viewer shows of a run: its Gaussians, finished or in training, its photographs, and where to stand."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Float

from app.commands.render import make_default_camera, make_orbit
from app.scenes import OpenedScene, open_capture, open_scene
from app.viewer.live import find_live_key, open_live_scene
from app.viewer.workspace import RunEntry
from blocks.plan import BlockPlan, read_plan
from scene3d.cameras.camera import Camera
from scene3d.data.capture import View
from scene3d.errors import InputError, Scene3dError
from scene3d.events import Quiet
from scene3d.gaussians.cleaning import scene_radius

MAX_STAGES = 2
"""Scenes kept open at a time; each holds all its Gaussians."""

BOUND_SHARE = 0.002
"""Share of the Gaussians left outside the bounds on each side: a few always lie far out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """One open scene."""

    run: RunEntry
    key: str
    """Changes whenever the scene's content does."""

    scene: OpenedScene
    views: tuple[View, ...]
    """Of the capture, in the world frame; none where the capture is gone."""

    held_out: frozenset[str]
    plan: BlockPlan | None
    is_live: bool
    iteration: int
    middle: Float[np.ndarray, "3"]
    radius: float
    home: Camera
    bounds: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]
    """Box that holds nearly all Gaussians."""


class Stages:
    """The open scenes; the least recently used is closed when there are too many."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Stage] = OrderedDict()
        self._lock = Lock()

    def get(self, run: RunEntry) -> Stage:
        """The scene of a run as it is on disk now.

        Raises:
            InputError: There is nothing to show yet, or it is damaged.
        """
        with self._lock:
            key = find_key(run)
            known = self._open.get(run.id)
            if known is None or known.key != key:
                known = open_stage(run, key)
                self._open[run.id] = known
            self._open.move_to_end(run.id)
            while len(self._open) > MAX_STAGES:
                self._open.popitem(last=False)
            return known


def find_key(run: RunEntry) -> str:
    """What identifies the present content of a run.

    Raises:
        InputError: There is nothing to show yet.
    """
    path = run.root if run.root.is_file() else run.root / "merged" / "manifest.json"
    if path.is_file():
        status = path.stat()
        return f"{status.st_mtime_ns:x}{status.st_size:x}"
    key = find_live_key(run.root)
    if key is None:
        raise InputError("nothing has been trained yet", remedy="it appears here with the first checkpoint")
    return f"live{key}"


def open_stage(run: RunEntry, key: str) -> Stage:
    """Read a scene and what belongs to it.

    Raises:
        InputError: It is damaged.
    """
    is_live = key.startswith("live")
    scene, iteration = open_live_scene(run.root) if is_live else (open_scene(run.root, Quiet()), 0)
    if len(scene.gaussians) == 0:
        raise InputError("the scene is empty")
    views = _find_views(scene)
    means = scene.gaussians.means.double().numpy()
    low, high = np.quantile(means, [BOUND_SHARE, 1 - BOUND_SHARE], axis=0)
    middle, radius = np.median(means, axis=0), scene_radius(scene.gaussians.means)
    cameras = [view.camera for view in views]
    return Stage(
        run=run,
        key=key,
        scene=scene,
        views=views,
        held_out=frozenset(scene.held_out),
        plan=_find_plan(run.root),
        is_live=is_live,
        iteration=iteration,
        middle=middle,
        radius=radius,
        home=make_orbit(scene, cameras, 1)[0] if cameras else make_orbit(scene, [], 1)[0],
        bounds=(low, high + 1e-6 * radius),
    )


def find_field_of_view_deg(camera: Camera) -> float:
    """The vertical field of view of a camera."""
    return float(np.degrees(2 * np.arctan(camera.height / 2 / camera.K[1, 1])))


def default_size() -> tuple[int, int]:
    """Width and height of a picture of a scene without cameras."""
    camera = make_default_camera()
    return camera.width, camera.height


def _find_views(scene: OpenedScene) -> tuple[View, ...]:
    if "capture" not in scene.record:
        return ()
    try:
        return open_capture(scene, None).views
    except Scene3dError:
        return ()  # the scene can be looked at without its photographs; the list of views says that they are gone


def _find_plan(root: Path) -> BlockPlan | None:
    path = root / "plan.json"
    if not path.is_file():
        return None
    plan = read_plan(path)
    return plan if len(plan.blocks) > 1 else None
