"""Gaussian clouds to time the rasterizer on: real points with the statistics of a trained scene."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from machine import SHARED
from scipy.spatial import cKDTree
from torch import Tensor

from scene3d.seeding import make_numpy_generator

GARDEN = SHARED / "data" / "garden_points" / "test_garden.npz"
SH_C0 = 0.28209479177387814
ALPHA_MIN = 1 / 255


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Gaussians as `rasterization` takes them, and one camera."""

    source: str
    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor
    viewmat: Tensor
    K: Tensor
    width: int
    height: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What gets gradients."""
        return self.means, self.quats, self.scales, self.opacities, self.sh


def make_cloud(num_gaussians: int, *, width: int = 800, height: int = 600, seed: int = 0) -> Cloud:
    """Trained-like Gaussians on the garden's sparse points; on a made-up surface when those are not here.

    Sizes follow the distance to the three nearest neighbours, with lognormal anisotropy and one axis at a fifth;
    opacities are sigmoid(N(0, 2)), harmonics of degree 3 are random. Beyond the number of points, copies are
    scattered around them.
    """
    generator = make_numpy_generator(seed, f"cloud of {num_gaussians}")
    source, points, colors, viewmat, K = _read_garden(width, height) or _make_surface(width, height, generator)
    chosen = generator.permutation(len(points))[:num_gaussians]
    points, colors = points[chosen], colors[chosen]
    extra = num_gaussians - len(points)
    if extra > 0:
        parents = generator.integers(0, len(points), extra)
        jitter = generator.normal(size=(extra, 3)) * _neighbour_distances(points)[parents, None]
        points = np.concatenate([points, points[parents] + jitter])
        colors = np.concatenate([colors, colors[parents]])
    scales = _neighbour_distances(points)[:, None] * np.exp(generator.normal(scale=0.5, size=(num_gaussians, 3)))
    scales[np.arange(num_gaussians), generator.integers(0, 3, num_gaussians)] *= 0.2
    sh = generator.normal(scale=0.1, size=(num_gaussians, 16, 3))
    sh[:, 0] = (colors - 0.5) / SH_C0
    return Cloud(
        source=source,
        means=_tensor(points),
        quats=_tensor(generator.normal(size=(num_gaussians, 4))),
        scales=_tensor(scales),
        opacities=_tensor(1 / (1 + np.exp(-generator.normal(scale=2.0, size=num_gaussians)))),
        sh=_tensor(sh),
        viewmat=_tensor(viewmat),
        K=_tensor(K),
        width=width,
        height=height,
    )


def count_intersections(meta: dict[str, Any], *, tile_size: int = 16) -> int:
    """Pairs of Gaussian and tile where the Gaussian reaches 1/255 somewhere in the tile.

    Counted here, apart from any backend, so that pairs per second mean the same for all of them.

    Args:
        meta: Of a rendering of one camera with `packed=False`.
        tile_size: Pixels.
    """
    shown = (meta["radii"][0] > 0).all(-1)
    means = meta["means2d"][0][shown].double().numpy()
    a, b, c = meta["conics"][0][shown].double().numpy().T
    limit = np.log(meta["opacities"][0][shown].double().numpy() / ALPHA_MIN)  # largest sigma that is drawn
    reach = np.sqrt(2 * np.maximum(limit, 0)[:, None] * np.stack([c, a], 1) / (a * c - b * b)[:, None])
    tiles = np.array([-(-meta["width"] // tile_size), -(-meta["height"] // tile_size)])
    low = np.clip(np.floor((means - reach) / tile_size), 0, tiles).astype(np.int64)
    high = np.clip(np.ceil((means + reach) / tile_size), 0, tiles).astype(np.int64)
    spans = np.maximum(high - low, 0)
    per_splat = spans.prod(1)
    splat = np.repeat(np.arange(len(per_splat)), per_splat)
    within = np.arange(len(splat)) - np.repeat(np.cumsum(per_splat) - per_splat, per_splat)
    corner = low[splat] + np.stack([within % spans[splat, 0], within // spans[splat, 0]], 1)
    near = corner * tile_size + 0.5 - means[splat]  # first and last pixel centres of the tile, seen from the splat
    lowest = _lowest_sigma(near, near + tile_size - 1, a[splat], b[splat], c[splat])
    return int((lowest <= limit[splat]).sum())


def _lowest_sigma(low: np.ndarray, high: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Smallest (a x^2 + 2 b x y + c y^2) / 2 over a rectangle: zero inside, otherwise on one of the four sides."""
    best = np.where(((low <= 0) & (high >= 0)).all(1), 0.0, np.inf)
    for x in (low[:, 0], high[:, 0]):
        y = np.clip(-b * x / c, low[:, 1], high[:, 1])
        best = np.minimum(best, 0.5 * (a * x * x + c * y * y) + b * x * y)
    for y in (low[:, 1], high[:, 1]):
        x = np.clip(-b * y / a, low[:, 0], high[:, 0])
        best = np.minimum(best, 0.5 * (a * x * x + c * y * y) + b * x * y)
    return best


_Scene = tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _read_garden(width: int, height: int) -> _Scene | None:
    """The sparse points of Mip-NeRF 360's garden and its first camera, stretched to the wanted size."""
    if not GARDEN.is_file():
        return None
    with np.load(GARDEN, allow_pickle=False) as archive:
        stretch = np.array([width / int(archive["width"]), height / int(archive["height"]), 1.0])[:, None]
        points = archive["means3d"].astype(np.float64)
        colors = archive["colors"].astype(np.float64) / 255
        return (
            f"garden_points, {len(points)} points",
            points,
            colors,
            archive["viewmats"][0],
            archive["Ks"][0] * stretch,
        )


def _make_surface(width: int, height: int, generator: np.random.Generator) -> _Scene:
    """A rolling floor seen from the side; half of it lies outside the picture, as in the garden."""
    ground = generator.uniform(-1, 1, size=(138_766, 2)) * [4.0, 2.0]
    heights = 0.3 * np.sin(3 * ground[:, 0]) * np.cos(2 * ground[:, 1])
    points = np.stack([ground[:, 0], 0.5 + heights, 4 + ground[:, 1]], 1)  # OpenCV camera: y down, z forward
    K = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1.0]])
    colors = generator.uniform(size=(len(points), 3))
    return "synthetic surface (garden_points is not here)", points, colors, np.eye(4), K


def _neighbour_distances(points: np.ndarray) -> np.ndarray:
    """Mean distance to the three nearest other points; never zero."""
    distances = np.asarray(cKDTree(points).query(points, k=4, workers=-1)[0])
    return np.maximum(distances[:, 1:].mean(1), 1e-7)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
