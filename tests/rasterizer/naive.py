"""A rasterizer of loops over plain numbers, written from the formulas alone: the truth for tiny scenes."""

import math
from dataclasses import dataclass

import numpy as np

from tests.rasterizer.scenes import Scene

ALPHA_MIN, ALPHA_MAX, T_MIN, EPS2D, SLACK = 1 / 255, 0.99, 1e-4, 0.3, 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Splat:
    """One projected Gaussian."""

    row: int
    mean2d: np.ndarray
    covariance: np.ndarray
    """Already widened."""

    depth: float
    opacity: float
    color: np.ndarray
    compensation: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """What the loops draw."""

    image: np.ndarray
    alpha: np.ndarray
    median_depth: np.ndarray
    weight_sum: np.ndarray
    weight_max: np.ndarray


def project_naively(scene: Scene, colors: np.ndarray) -> list[Splat]:
    """The Gaussians in front of the first camera, nearest first, by 3 x 3 matrices."""
    rotation, translation = scene.viewmats[0, :3, :3].numpy(), scene.viewmats[0, :3, 3].numpy()
    (fx, _, cx), (_, fy, cy), _ = scene.Ks[0].tolist()
    splats = []
    for row in range(len(scene.means)):
        x, y, z = rotation @ scene.means[row].numpy() + translation
        if z < 0.01:
            continue
        axes = rotation @ quaternion_to_matrix(scene.quats[row].numpy()) @ np.diag(scene.scales[row].numpy())
        slope_x = np.clip(x / z, -(cx + SLACK * scene.width / 2) / fx, (scene.width * (1 + SLACK / 2) - cx) / fx)
        slope_y = np.clip(y / z, -(cy + SLACK * scene.height / 2) / fy, (scene.height * (1 + SLACK / 2) - cy) / fy)
        jacobian = np.array([[fx / z, 0, -fx * slope_x / z], [0, fy / z, -fy * slope_y / z]])
        sharp = jacobian @ axes @ axes.T @ jacobian.T
        wide = sharp + EPS2D * np.eye(2)
        splats.append(
            Splat(
                row=row,
                mean2d=np.array([fx * x / z + cx, fy * y / z + cy]),
                covariance=wide,
                depth=z,
                opacity=float(scene.opacities[row]),
                color=colors[row],
                compensation=math.sqrt(max(0.0, np.linalg.det(sharp) / np.linalg.det(wide))),
            )
        )
    return sorted(splats, key=lambda splat: splat.depth)


def draw_naively(scene: Scene, splats: list[Splat], background: np.ndarray) -> Picture:
    """Every pixel walks the sorted list until it is full."""
    picture = Picture(
        image=np.zeros((scene.height, scene.width, len(background))),
        alpha=np.zeros((scene.height, scene.width)),
        median_depth=np.zeros((scene.height, scene.width)),
        weight_sum=np.zeros(len(scene.means)),
        weight_max=np.zeros(len(scene.means)),
    )
    inverses = [np.linalg.inv(splat.covariance) for splat in splats]
    for j in range(scene.height):
        for i in range(scene.width):
            _draw_pixel(picture, splats, inverses, i, j)
            picture.image[j, i] += (1 - picture.alpha[j, i]) * background
    return picture


def quaternion_to_matrix(quat: np.ndarray) -> np.ndarray:
    """Rotation by a wxyz quaternion of any length, by rotating the unit vectors: v + 2 w (u x v) + 2 u x (u x v)."""
    w, *u = quat / np.linalg.norm(quat)
    turned = [v + 2 * w * np.cross(u, v) + 2 * np.cross(u, np.cross(u, v)) for v in np.eye(3)]
    return np.stack(turned, axis=1)


def _draw_pixel(picture: Picture, splats: list[Splat], inverses: list[np.ndarray], i: int, j: int) -> None:
    transmittance, median = 1.0, 0.0
    for splat, inverse in zip(splats, inverses, strict=True):
        offset = np.array([i + 0.5, j + 0.5]) - splat.mean2d
        alpha = min(ALPHA_MAX, splat.opacity * math.exp(-0.5 * offset @ inverse @ offset))
        if alpha < ALPHA_MIN:
            continue
        following = transmittance * (1 - alpha)
        if following <= T_MIN:
            break
        weight = alpha * transmittance
        picture.image[j, i] += weight * splat.color
        picture.weight_sum[splat.row] += weight
        picture.weight_max[splat.row] = max(picture.weight_max[splat.row], weight)
        if transmittance > 0.5 >= following:
            median = splat.depth
        transmittance = following
    picture.alpha[j, i] = 1 - transmittance
    picture.median_depth[j, i] = median
