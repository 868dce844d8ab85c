"""A viewer that answers on a port of its own, and what the tests show in it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from app.viewer.guard import DoorSettings
from app.viewer.server import Services, listen, make_app, make_server
from app.viewer.workspace import Workspace
from scene3d.cameras.camera import Camera
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.io.ply import write_gaussians_ply

PAGE_MARKS = [
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("chromium"),
    # Gradio calls what newer versions of pandas and starlette are about to drop.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
"""Of every test with a server: one at a time, with the time a crowded machine takes."""

RED = (0.85, 0.1, 0.1)
SPHERE_COUNT = 2000


@dataclass
class Site:
    """A running viewer."""

    url: str
    root: Path
    services: Services
    cameras: list[Camera] = field(default_factory=list)
    """Of every picture that the server was asked for."""


@contextmanager
def open_site(root: Path, *, extra: Path | None = None, passwords: dict[str, str] | None = None) -> Iterator[Site]:
    """A viewer of one folder; it ends with the block."""
    services = Services.of(Workspace(root, extra))
    chosen = None if extra is None else extra.name
    app = make_app(services, DoorSettings(passwords=passwords or {}), chosen=chosen)
    listening = listen("127.0.0.1", 0)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    site = Site(f"http://127.0.0.1:{listening.getsockname()[1]}", root, services)
    paint = services.painter.paint

    def watch(stage, camera, shown, **options):
        site.cameras.append(camera)
        return paint(stage, camera, shown, **options)

    services.painter.paint = watch
    try:
        yield site
    finally:
        server.should_exit = True
        thread.join(timeout=90)
        listening.close()
        services.close()
        assert not thread.is_alive()


def make_sphere() -> Gaussians:
    """Red Gaussians close together on the unit sphere."""
    z = 1 - (2 * np.arange(SPHERE_COUNT) + 1) / SPHERE_COUNT
    angle = np.arange(SPHERE_COUNT) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z * z)
    means = torch.tensor(np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1), dtype=torch.float32)
    return Gaussians(
        means=means,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(SPHERE_COUNT, 1),
        log_scales=torch.full((SPHERE_COUNT, 3), float(np.log(0.04))),
        opacity_logits=torch.full((SPHERE_COUNT,), 4.0),
        sh=((torch.tensor(RED) - 0.5) / SH_C0).repeat(SPHERE_COUNT, 1)[:, None],
    )


def write_sphere(folder: Path) -> Path:
    """The sphere as a file."""
    path = folder / "sphere.ply"
    write_gaussians_ply(path, make_sphere())
    return path
