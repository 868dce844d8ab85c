"""Small random scenes, and which backends can draw them here, for the tests of the rasterizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from rasterizer import find_backend, rasterization

BACKENDS = ("reference", "cpu")
GAUSSIAN_FIELDS = ("means", "quats", "scales", "opacities", "sh")


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Gaussians, and the cameras that look at them."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def render(self, backend: str, **options: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Renders by harmonics of the degree that the scene holds, or by `colors` if those are given."""
        if "colors" not in options:
            options |= {"colors": self.sh, "sh_degree": round(self.sh.shape[1] ** 0.5) - 1}
        colors = options.pop("colors")
        return rasterization(
            self.means,
            self.quats,
            self.scales,
            self.opacities,
            colors,
            self.viewmats,
            self.Ks,
            self.width,
            self.height,
            backend=backend,
            **options,
        )

    def to(self, dtype: torch.dtype) -> "Scene":
        """The same scene in another precision."""
        return replace(self, **{name: tensor.to(dtype) for name, tensor in self.tensors()})

    def tracked(self, *names: str) -> "Scene":
        """The same scene with fresh leaves that record gradients: all of its Gaussians' fields, or those named."""
        chosen = names or GAUSSIAN_FIELDS
        leaves = {name: getattr(self, name).detach().clone().requires_grad_() for name in chosen}
        return replace(self, **leaves)

    def rows(self, keep: Tensor) -> "Scene":
        """Some of its Gaussians."""
        return replace(self, **{name: getattr(self, name)[keep] for name in GAUSSIAN_FIELDS})

    def camera(self, index: int) -> "Scene":
        """One of its cameras."""
        one = slice(index, index + 1)
        return replace(self, viewmats=self.viewmats[one], Ks=self.Ks[one])

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values of everything that is a tensor."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield field.name, value


def make_scene(
    seed: int = 0,
    *,
    num: int = 60,
    cameras: int = 1,
    width: int = 47,
    height: int = 35,
    sh_degree: int = 3,
    dtype: torch.dtype = torch.float32,
) -> Scene:
    """Gaussians of all shapes in front of cameras with off-centre principal points; a few are opaque, a few unseen."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * (high - low) + low

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    depth = uniform(num, low=2.0, high=6.0)
    depth[: num // 12] *= -1  # behind the camera
    across = uniform(num, 2, low=-0.75, high=0.75) * depth.abs()[:, None]
    opacities = uniform(num, low=0.05, high=0.95)
    opacities[num // 2 : num // 2 + num // 6] = 1.0
    viewmats = torch.eye(4, dtype=torch.float64).repeat(cameras, 1, 1)
    viewmats[:, :3, :3] = small_rotations(normal(cameras, 3) * 0.1)
    viewmats[:, :3, 3] = normal(cameras, 3) * 0.2
    Ks = torch.zeros(cameras, 3, 3, dtype=torch.float64)
    Ks[:, 0, 0], Ks[:, 1, 1] = 0.9 * width, 0.85 * width
    Ks[:, 0, 2], Ks[:, 1, 2], Ks[:, 2, 2] = 0.42 * width, 0.61 * height, 1.0
    scene = Scene(
        means=torch.cat([across, depth[:, None]], dim=1),
        quats=normal(num, 4) * 1.7,
        scales=torch.exp(normal(num, 3) * 0.7 - 2.0),
        opacities=opacities,
        sh=normal(num, (sh_degree + 1) ** 2, 3) * 0.3,
        viewmats=viewmats,
        Ks=Ks,
        width=width,
        height=height,
    )
    return scene.to(dtype)


def small_rotations(vectors: Tensor) -> Tensor:
    """Rotation matrices of rotation vectors [c, 3]."""
    cross = torch.zeros(len(vectors), 3, 3, dtype=vectors.dtype)
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -vectors[:, 2], vectors[:, 1], -vectors[:, 0]
    return torch.linalg.matrix_exp(cross - cross.transpose(1, 2))


def random_like(tensor: Tensor, seed: int) -> Tensor:
    """Standard normal numbers of a tensor's shape."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)


def backward(colors: Tensor, alphas: Tensor) -> None:
    """Differentiates one fixed random function of an image and its alpha."""
    ((colors * random_like(colors, 101)).sum() + (alphas * random_like(alphas, 102)).sum()).backward()


def gradients(scene: Scene, *names: str) -> dict[str, Tensor]:
    """The gradients that arrived at a tracked scene."""
    return {name: getattr(scene, name).grad for name in names or GAUSSIAN_FIELDS}


def relative_error(found: Tensor, truth: Tensor) -> float:
    """Relative L2 distance."""
    return float((found.double() - truth.double()).norm() / truth.double().norm().clamp_min(1e-30))


def require_backend(name: str) -> str:
    """The name, or a skip that says why that backend cannot run here."""
    if find_backend(name) is None:
        pytest.skip(f"backend '{name}' cannot run here")
    return name


@contextmanager
def unchecked_shapes() -> Iterator[None]:
    """Turns the shape checks of the test run off: to meet our own errors, or where a thousand calls are made."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
