"""A small town of Gaussians in two blocks, its photographs, and floaters planted into one block's model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from blocks.block_folder import BlockFolder, save_block, save_gaussians
from blocks.cells import Cell, Cut, GroundFrame, Tree
from blocks.merge_parts import Crop
from blocks.plan import FAR_RADII, BlockPlan, PlannedBlock, write_plan
from blocks.settings import RunSettings
from scene3d.cameras.camera import Camera
from scene3d.config import write_settings
from scene3d.data.capture import Capture, SparsePoints, View
from scene3d.data.loader import TrainingImage
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import make_folder, write_json
from scene3d.render import render_view
from scene3d.seeding import make_generator
from scene3d.training.run_folder import RunFolder

HALF_LENGTH, HALF_WIDTH = 1.6, 0.8
SPACING = 0.04
MARGIN = 0.15
WIDTH, HEIGHT, FOCAL = 96, 72, 70.0
BOXES = (
    (-1.0, -0.3, 0.25),
    (-0.45, 0.35, 0.15),
    (-0.05, -0.2, 0.2),
    (0.08, 0.4, 0.1),
    (0.6, -0.4, 0.3),
    (1.1, 0.2, 0.2),
)
"""Lowest x and y, and height; the third stands across the face."""


def gaussians_at(
    means: torch.Tensor, colors: torch.Tensor, *, scale: float, opacity: float = 0.95, normal: int = 2
) -> Gaussians:
    """Upright discs of one size."""
    log_scales = torch.full((len(means), 3), float(np.log(scale)))
    log_scales[:, normal] = float(np.log(0.2 * scale))
    return Gaussians(
        means=means.float(),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(len(means), 1),
        log_scales=log_scales,
        opacity_logits=torch.full((len(means),), float(np.log(opacity / (1 - opacity)))),
        sh=((colors.float() - 0.5) / SH_C0)[:, None, :],
    )


def make_town() -> Gaussians:
    """A textured ground and six boxes on it, one of them across the face between the blocks."""
    rows = torch.arange(-HALF_LENGTH, HALF_LENGTH, SPACING), torch.arange(-HALF_WIDTH, HALF_WIDTH, SPACING)
    flat = torch.stack(torch.meshgrid(*rows, indexing="ij"), dim=-1).reshape(-1, 2)
    parts = [_patch(torch.cat([flat, torch.zeros(len(flat), 1)], dim=1), "ground", 2)]
    for number, corner in enumerate(BOXES):
        parts += _box(np.array(corner), f"box{number}")
    return Gaussians.concatenate(parts)


def _box(corner: np.ndarray, name: str, side: float = 0.24) -> list[Gaussians]:
    """Roof and four walls."""
    steps = torch.arange(0, side + 1e-6, 0.7 * SPACING)
    heights = torch.arange(0, float(corner[2]), 0.7 * SPACING)
    across = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).reshape(-1, 2)
    up = torch.stack(torch.meshgrid(steps, heights, indexing="ij"), dim=-1).reshape(-1, 2)
    x, y, top = (float(value) for value in corner)
    parts = [_patch(torch.nn.functional.pad(across + torch.tensor([x, y]), (0, 1), value=top), name, 2)]
    for end in (0.0, side):
        there = torch.full((len(up), 1), end)
        parts.append(_patch(torch.cat([there + x, up[:, :1] + y, up[:, 1:]], dim=1), f"{name}x{end}", 0))
        parts.append(_patch(torch.cat([up[:, :1] + x, there + y, up[:, 1:]], dim=1), f"{name}y{end}", 1))
    return parts


def _patch(means: torch.Tensor, name: str, normal: int) -> Gaussians:
    """Part of a surface: a base colour, waves and grain."""
    generator = make_generator(0, name)
    base = 0.25 + 0.5 * torch.rand(3, generator=generator)
    waves = 0.15 * torch.sin(9 * means @ torch.tensor([[1.0, 0.3, 0.2], [0.2, 1.0, 0.5], [0.7, 0.7, 1.0]]))
    grain = 0.1 * torch.randn(len(means), 3, generator=generator)
    return gaussians_at(means, (base + waves + grain).clamp(0.05, 0.95), scale=0.75 * SPACING, normal=normal)


def make_cameras() -> list[Camera]:
    """A grid of slightly oblique aerial views at height 1.1."""
    cameras = []
    for row, x in enumerate(np.linspace(-1.3, 1.3, 8)):
        for column, y in enumerate(np.linspace(-0.5, 0.5, 4)):
            lean = 0.35 * np.array([(-1) ** column, (-1) ** row])
            cameras.append(looking_at(np.array([x, y, 1.1]), np.array([x + lean[0], y + 0.5 * lean[1], 0.0])))
    return cameras


def looking_at(center: np.ndarray, target: np.ndarray) -> Camera:
    """A camera whose image's top points to the world's y."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3], cam_from_world[:3, 3] = rotation, -rotation @ center
    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    return Camera(width=WIDTH, height=HEIGHT, K=K, cam_from_world=cam_from_world)


class Photographs:
    """Stands where the image loader stands: the town as it truly is."""

    def __init__(self, town: Gaussians, cameras: Sequence[Camera]) -> None:
        with torch.no_grad():
            self.images = [render_view(town, camera).image.clamp(0, 1) for camera in cameras]
        self.cameras = cameras

    def load(self, index: int) -> TrainingImage:
        return TrainingImage(image=self.images[index].clone(), mask=None, camera=self.cameras[index], name=f"{index}")

    def prefetch(self, indices: Iterable[int]) -> None:
        pass


def make_plan(cameras: Sequence[Camera], cuts: Sequence[float] = (0.0,)) -> BlockPlan:
    """Cells cut across some x; a view belongs to every block whose ground makes up a tenth of its image."""
    names = tuple(view_name(index) for index in range(len(cameras)))
    ends = [-HALF_LENGTH, *cuts, HALF_LENGTH]
    blocks = []
    for number, (low, high) in enumerate(pairwise(ends)):
        cell = Cell(
            low=(low, -HALF_WIDTH),
            high=(high, HALF_WIDTH),
            bottom=-0.2,
            top=1.0,
            margin=(MARGIN, MARGIN),
            shared=(number > 0, False, number < len(cuts), False),
        )
        views = tuple(index for index, camera in enumerate(cameras) if _shown_share(camera, low, high) > 0.1)
        blocks.append(
            PlannedBlock(block_id=f"b{number}", cell=cell, views=views, load=100 + number, num_points=50, num_pixels=9)
        )
    region = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [HALF_LENGTH, HALF_WIDTH]
    return BlockPlan(
        method="grid",
        frame=GroundFrame(center=(0.0, 0.0), angle_rad=0.0),
        region=region,
        tree=_tree(cuts, 0),
        middle=(0.0, 0.0, 0.0),
        radius=float(np.hypot(HALF_LENGTH, HALF_WIDTH)),
        views=names,
        blocks=tuple(blocks),
        num_uncovered_points=0,
        world_from_capture=Similarity(0.5, np.eye(3), np.array([3.0, -2.0, 0.5])),
    )


def _tree(cuts: Sequence[float], first: int) -> Tree:
    return first if not cuts else Cut(0, cuts[0], first, _tree(cuts[1:], first + 1))


def make_capture(cameras: Sequence[Camera], root: Path) -> Capture:
    """The views; their photographs need not exist."""
    views = tuple(
        View(name=view_name(index), image_path=root / view_name(index), camera=camera)
        for index, camera in enumerate(cameras)
    )
    return Capture(root=root, views=views, points=SparsePoints.empty())


def make_model(town: Gaussians, seed: int) -> Gaussians:
    """The town as a block's training may leave it: no number is quite right."""
    generator = make_generator(seed, "training")

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator)

    return replace(
        town,
        means=town.means + 0.006 * noise(town.means),
        log_scales=town.log_scales + 0.15 * noise(town.log_scales),
        opacity_logits=town.opacity_logits + 0.8 * noise(town.opacity_logits),
        sh=town.sh + 0.05 * noise(town.sh),
    )


def make_floaters(low: Sequence[float], high: Sequence[float], count: int, *, opacity: float) -> Gaussians:
    """Balls of any colour in a box of air."""
    generator = make_generator(count, f"floaters {opacity}")
    means = torch.tensor(low) + torch.rand(count, 3, generator=generator) * (torch.tensor(high) - torch.tensor(low))
    floaters = gaussians_at(means, torch.rand(count, 3, generator=generator), scale=0.035, opacity=opacity)
    return replace(floaters, log_scales=torch.full((count, 3), float(np.log(0.035))))


def make_far(count: int = 5) -> Gaussians:
    """Large things beyond the region; the last lies in it and belongs to a block."""
    means = torch.tensor([[1.0, 0.0, 0.0]]).repeat(count, 1) * FAR_RADII * 3
    means[-1] = 0
    return gaussians_at(means, torch.full((count, 3), 0.5), scale=1.0)


def write_run(root: Path, plan: BlockPlan, models: Mapping[int, Gaussians], far: Gaussians | None = None) -> RunFolder:
    """A run folder whose blocks are finished, as far as there are models."""
    run = RunFolder(root)
    make_folder(run.shared)
    write_settings(run.config, RunSettings())
    write_plan(run.plan, plan)
    facts = {"iterations": 100, "train_seconds": 2.5, "peak_memory_bytes": 1000}
    for index, model in models.items():
        facts["peak_memory_bytes"] = 1000 * (index + 1)
        save_block(BlockFolder(run.blocks / plan.blocks[index].block_id), model, plan.sha256, facts)
    far = make_far() if far is None else far
    far_sha256 = save_gaussians(run.shared / "far.safetensors", far)
    coarse_sha256 = save_gaussians(run.shared / "coarse.safetensors", make_town())
    record = {"schema_version": 2, "plan_sha256": plan.sha256, "far_sha256": far_sha256, "num_far": len(far)}
    write_json(run.shared / "shared.json", {**record, "coarse_sha256": coarse_sha256})
    return run


def crop_of(folder: Path, plan: BlockPlan, owner: int, model: Gaussians) -> Crop:
    """What a block owns of a model that is saved for it."""
    path = folder / f"{owner}.safetensors"
    core = torch.from_numpy(plan.owners(model.means.double().numpy()) == owner)
    return Crop(
        owner=owner,
        path=path,
        sha256=save_gaussians(path, model),
        core=core,
        num_margin=0,
        num_auxiliary=0,
        sh_degree=model.sh_degree,
    )


def view_name(index: int) -> str:
    """Name of a view in plan and capture."""
    return f"v{index:03d}.png"


def _shown_share(camera: Camera, low: float, high: float) -> float:
    """Share of the image whose ground lies between two x."""
    column, row = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(camera.K).T
    rays = rays @ camera.world_from_cam[:3, :3].T
    x = camera.center[0] - camera.center[2] * rays[..., 0] / rays[..., 2]
    return float(((x >= low) & (x < high)).mean())
