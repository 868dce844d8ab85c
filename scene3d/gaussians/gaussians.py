"""Owns the explicit Gaussian set: raw parameters as every 3DGS file stores them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SH_C0 = 0.28209479177387814
"""Value of the constant spherical-harmonics basis function."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaussians:
    """n Gaussians with raw (unactivated) parameters, float32."""

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    """wxyz, need not be unit."""

    log_scales: Float[Tensor, "n 3"]
    opacity_logits: Float[Tensor, "n"]
    sh: Float[Tensor, "n k 3"]
    """k = (degree + 1)^2; `sh[:, 0]` is the constant term."""

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Degree of the stored spherical harmonics."""
        return round(self.sh.shape[1] ** 0.5) - 1

    @property
    def scales(self) -> Float[Tensor, "n 3"]:
        """Standard deviations in world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, "n"]:
        """Opacities in (0, 1)."""
        return self.opacity_logits.sigmoid()

    def select(self, index: Bool[Tensor, "n"] | Int[Tensor, "m"]) -> "Gaussians":
        """The Gaussians of a mask or index list, in order."""
        return Gaussians(**{part.name: getattr(self, part.name)[index] for part in fields(self)})

    def detach(self) -> "Gaussians":
        """The same values outside any gradient."""
        return Gaussians(**{part.name: getattr(self, part.name).detach() for part in fields(self)})

    def to(self, device: torch.device | str) -> "Gaussians":
        """The same values on another device."""
        return Gaussians(**{part.name: getattr(self, part.name).to(device) for part in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence["Gaussians"]) -> "Gaussians":
        """All Gaussians of several sets of one SH degree, in order."""
        return cls(**{part.name: torch.cat([getattr(each, part.name) for each in parts]) for part in fields(cls)})


def resize_sh(sh: Float[Tensor, "n k 3"], sh_degree: int) -> Float[Tensor, "n m 3"]:
    """Coefficients up to a degree: higher ones are dropped, missing ones are zero."""
    count = (sh_degree + 1) ** 2
    if sh.shape[1] >= count:
        return sh[:, :count].contiguous()
    return torch.cat([sh, sh.new_zeros(len(sh), count - sh.shape[1], 3)], 1)
