"""Owns the per-photograph exposure: one affine colour transform each, whose mean is the identity."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.training.adam import Moments, RowAdam


class Exposure:
    """A 3x4 affine transform per training view, gauge-fixed so that held-out views are rendered with the identity.

    Args:
        num_views: Training views.
        enabled: Otherwise every view keeps the identity.
        trainable: Otherwise every view keeps what it starts with.
        device: Where the images are.
    """

    def __init__(
        self, num_views: int, *, enabled: bool = True, trainable: bool = True, device: torch.device | str = "cpu"
    ) -> None:
        identity = torch.eye(3, 4, device=device).expand(num_views, 3, 4).clone()
        self.enabled = enabled
        self.trainable = enabled and trainable
        self.parameters = {"affine": identity.requires_grad_(self.trainable)}
        self.adam = RowAdam(self.parameters)

    @classmethod
    def fixed(cls, affine: Float[Tensor, "v 3 4"], device: torch.device | str = "cpu") -> "Exposure":
        """Exposures that were fitted before and do not change any more."""
        exposure = cls(len(affine), trainable=False, device=device)
        exposure.parameters["affine"].copy_(affine)
        return exposure

    @classmethod
    def from_gains(cls, gains: Float[Tensor, "v 3"], device: torch.device | str = "cpu") -> "Exposure":
        """Exposures that begin with measured gains of red, green and blue, and are trained from there.

        Their mean is brought to the identity, as it stays in training.
        """
        exposure = cls(len(gains), device=device)
        exposure.parameters["affine"].data[:, :, :3] = torch.diag_embed(gains / gains.mean(0)).to(device)
        return exposure

    def apply(self, image: Float[Tensor, "h w 3"], view: int) -> Float[Tensor, "h w 3"]:
        """The rendered image as photograph `view` was exposed."""
        if not self.enabled:
            return image
        affine = self.parameters["affine"][view]
        return image @ affine[:, :3].T + affine[:, 3]

    @torch.no_grad()
    def step(self, view: int, rate: float) -> None:
        """One Adam update of one view, then the mean of all is brought back to the identity."""
        affine = self.parameters["affine"]
        if not self.trainable or affine.grad is None:
            return
        visible = torch.zeros(len(affine), dtype=torch.bool, device=affine.device)
        visible[view] = True
        self.adam.step(self.parameters, {"affine": rate}, visible)
        affine -= affine.mean(0) - torch.eye(3, 4, device=affine.device)
        affine.grad = None

    def capture(self) -> dict[str, Tensor]:
        """Copies of everything that training changes."""
        moments = self.adam.moments["affine"]
        return {
            "exposure.affine": self.parameters["affine"].detach().clone(),
            "exposure.first": moments.first.clone(),
            "exposure.second": moments.second.clone(),
            "exposure.row_steps": self.adam.row_steps.clone(),
        }

    @classmethod
    def restore(
        cls,
        state: Mapping[str, Tensor],
        *,
        enabled: bool,
        trainable: bool = True,
        device: torch.device | str = "cpu",
    ) -> "Exposure":
        """The exposures that `capture` described, bit for bit."""
        state = {name: value.to(device) for name, value in state.items() if name.startswith("exposure.")}
        exposure = cls(len(state["exposure.affine"]), enabled=enabled, trainable=trainable, device=device)
        exposure.parameters["affine"].data.copy_(state["exposure.affine"])
        exposure.adam.moments["affine"] = Moments(state["exposure.first"].clone(), state["exposure.second"].clone())
        exposure.adam.row_steps = state["exposure.row_steps"].clone()
        return exposure
