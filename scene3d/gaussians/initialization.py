"""Owns the first guess: Gaussians from sparse points, and points where a capture has none."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial import cKDTree
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError
from scene3d.gaussians.gaussians import SH_C0, Gaussians

NUM_NEIGHBOURS = 3
MIN_SCALE_SHARE = 1e-3
"""Smallest first size, as a share of the median one: pairs of nearly equal points are not dust."""
MAX_SCALE_SHARE = 30.0
"""Largest first size, as a share of the median one: a lone far point does not cover the scene."""
DUPLICATE_JITTER = 0.1
"""How far an exact duplicate is moved, as a share of its size: equal Gaussians would get equal gradients for ever."""


def gaussians_from_points(
    positions: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
    *,
    sh_degree: int = 3,
    opacity: float = 0.1,
    generator: torch.Generator,
) -> Gaussians:
    """One round Gaussian per point, as large as the distance to its neighbours.

    Args:
        positions: World units, double.
        colors: sRGB.
        opacity: Of every Gaussian, above 0 and below 1.
        generator: Moves exact duplicates apart; not drawn from when there are none.

    Raises:
        InputError: There is no point, or one is not finite.
    """
    if len(positions) == 0:
        raise InputError("there are no points to start from", remedy="use random_points_in_frustums")
    if not np.isfinite(positions).all():
        raise InputError("some points are not finite", remedy="drop them before")
    scales = neighbour_scales(positions)
    sh = torch.zeros(len(positions), (sh_degree + 1) ** 2, 3)
    sh[:, 0] = (torch.from_numpy(colors.astype(np.float32)) / 255 - 0.5) / SH_C0
    return Gaussians(
        means=torch.from_numpy(_separate(positions, scales, generator)).float(),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(positions), 1),
        log_scales=torch.from_numpy(np.log(scales)).float()[:, None].repeat(1, 3),
        opacity_logits=torch.full((len(positions),), float(np.log(opacity / (1 - opacity)))),
        sh=sh,
    )


def neighbour_scales(positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Root mean squared distance to the three nearest other places; 1 where there is no other place.

    Exact duplicates count as one place, so that a doubled point is not taken for a detail of size zero.
    """
    places, place_of_point = np.unique(positions, axis=0, return_inverse=True)
    if len(places) == 1:
        return np.ones(len(positions))
    num_neighbours = min(NUM_NEIGHBOURS, len(places) - 1)
    distances = np.asarray(cKDTree(places).query(places, k=num_neighbours + 1, workers=-1)[0])
    scales = np.sqrt((distances[:, 1:] ** 2).mean(axis=1))
    median = float(np.median(scales))
    clamped = scales.clip(MIN_SCALE_SHARE * median, MAX_SCALE_SHARE * median)
    return np.asarray(clamped[place_of_point.reshape(-1)])


def random_points_in_frustums(
    cameras: Sequence[Camera],
    num_points: int,
    *,
    depth_range: tuple[float, float] | None = None,
    generator: torch.Generator,
) -> tuple[Float[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
    """Grey points spread over what the cameras see, for a capture without points.

    Args:
        depth_range: Nearest and farthest depth, in world units; without it, guessed from where the optical axes meet.
        generator: Draws camera, pixel and depth of each point.

    Raises:
        InputError: There is no camera.
    """
    if not cameras:
        raise InputError("there are no cameras to place points in front of")
    near, far = depth_range or guess_depth_range(cameras)
    draws = torch.rand(num_points, 3, generator=generator, dtype=torch.float64).numpy()
    owners = torch.randint(len(cameras), (num_points,), generator=generator).numpy()
    positions = np.zeros((num_points, 3))
    for index, camera in enumerate(cameras):
        mine = owners == index
        pixels = np.concatenate([draws[mine, :2] * [camera.width, camera.height], np.ones((mine.sum(), 1))], axis=1)
        rays = pixels @ np.linalg.inv(camera.K).T
        in_camera = rays * (near + draws[mine, 2:] * (far - near))
        positions[mine] = in_camera @ camera.world_from_cam[:3, :3].T + camera.center
    return positions, np.full((num_points, 3), 128, np.uint8)


def guess_depth_range(cameras: Sequence[Camera]) -> tuple[float, float]:
    """A quarter to twice the median depth of the point nearest to all optical axes.

    Where the axes hardly meet (a flight looking straight down) the spread of the cameras takes its place; a single
    place gives 1.
    """
    centers = np.stack([camera.center for camera in cameras])
    axes = np.stack([camera.cam_from_world[2, :3] for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    normal_matrix = across.mean(axis=0)
    depth = float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).max()) or 1.0
    # The smallest eigenvalue is the mean squared sine of the angle between the axes and their common direction.
    if np.linalg.eigvalsh(normal_matrix)[0] > 1e-3:
        meeting_point = np.linalg.solve(normal_matrix, (across @ centers[:, :, None]).mean(axis=0)[:, 0])
        along = float(np.median(((meeting_point - centers) * axes).sum(axis=1)))
        depth = along if along > 0 else depth
    return 0.25 * depth, 2.0 * depth


def _separate(
    positions: Float[np.ndarray, "n 3"], scales: Float[np.ndarray, "n"], generator: torch.Generator
) -> Float[np.ndarray, "n 3"]:
    """The points, with the second and later ones of each place moved a little."""
    _, first = np.unique(positions, axis=0, return_index=True)
    repeated = np.ones(len(positions), bool)
    repeated[first] = False
    if not repeated.any():
        return positions
    moves: Tensor = torch.randn(int(repeated.sum()), 3, generator=generator, dtype=torch.float64)
    separated = positions.copy()
    separated[repeated] += DUPLICATE_JITTER * scales[repeated, None] * moves.numpy()
    return separated
