"""Owns what one training step draws: the activated Gaussians of the field, then those that are only a backdrop."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rasterizer import rasterization
from scene3d.cameras.camera import Camera
from scene3d.gaussians.gaussians import Gaussians, resize_sh
from scene3d.render import NEAR_PLANE, camera_tensors
from scene3d.training.terms import RenderedView


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rendered:
    """One rendered training view and what the gradient needs of it."""

    image: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"] | None
    """Expected depth divided by alpha, where it was asked for."""

    means2d: Tensor
    """[1, n + backdrop, 2], with its gradient kept."""

    visible: Bool[Tensor, "n"]
    """Of the field's Gaussians."""

    width: int
    height: int

    def as_view(self) -> RenderedView:
        """What the further terms of the loss see."""
        assert self.depth is not None, "terms need depth"
        return RenderedView(image=self.image, alpha=self.alpha, depth=self.depth)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splats:
    """Activated Gaussians: the field's first."""

    means: Float[Tensor, "m 3"]
    quats: Float[Tensor, "m 4"]
    scales: Float[Tensor, "m 3"]
    opacities: Float[Tensor, "m"]
    sh: Float[Tensor, "m k 3"]
    num_trained: int

    def render(
        self, camera: Camera, background: Float[Tensor, "3"], *, depth: bool = False, backend: str | None = None
    ) -> Rendered:
        """One differentiable image, with the gradient of screen positions kept."""
        colors, alphas, meta = rasterization(
            self.means,
            self.quats,
            self.scales,
            self.opacities,
            self.sh,
            *camera_tensors([camera], self.means.device),
            camera.width,
            camera.height,
            near_plane=NEAR_PLANE,
            sh_degree=round(self.sh.shape[1] ** 0.5) - 1,
            packed=False,
            backgrounds=background[None],
            render_mode="RGB+ED" if depth else "RGB",
            backend=backend,
        )
        means2d: Any = meta["means2d"]
        if means2d.requires_grad:
            means2d.retain_grad()
        return Rendered(
            image=colors[0, :, :, :3],
            alpha=alphas[0, :, :, 0],
            depth=colors[0, :, :, 3] if depth else None,
            means2d=means2d,
            visible=(meta["radii"][0, : self.num_trained] > 0).all(-1),
            width=camera.width,
            height=camera.height,
        )


def make_splats(
    gaussians: Gaussians, backdrop: Gaussians | None, *, drop_share: float, generator: torch.Generator
) -> Splats:
    """Everything a step draws; gradients flow back to the field alone.

    Args:
        gaussians: The field's, as the camera sees them.
        backdrop: Drawn and not trained; cut or filled up to the field's degree of colour.
        drop_share: Share of the field's Gaussians whose opacity is 0 in this step.
        generator: Chooses them; not drawn from when the share is 0.
    """
    opacities = gaussians.opacities
    if drop_share > 0:
        keep = torch.rand(len(gaussians), generator=generator) >= drop_share
        opacities = opacities * keep.to(opacities.device)
    parts = [gaussians.means, gaussians.quats, gaussians.scales, opacities, gaussians.sh]
    if backdrop is not None and len(backdrop):
        behind = [backdrop.means, backdrop.quats, backdrop.scales, backdrop.opacities]
        behind.append(resize_sh(backdrop.sh, gaussians.sh_degree))
        parts = [torch.cat([mine, other]) for mine, other in zip(parts, behind, strict=True)]
    means, quats, scales, opacities, sh = parts
    return Splats(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh, num_trained=len(gaussians))
