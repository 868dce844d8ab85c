"""Owns what a trainer asks of a field, whatever it is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.settings import ReconstructSettings

Region = Callable[[Float[Tensor, "n 3"]], Bool[Tensor, "n"]]
"""Tells which centres may grow; None stands for everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """What a field shows one camera, and where that came from."""

    gaussians: Gaussians
    """Differentiable."""

    rows: Int[Tensor, "m"] | None = None
    """Rows of the field these belong to, in order; None where every row is there."""

    distillation: Float[Tensor, ""] | None = None
    """Weighted difference between the shared decoder and its teacher; None without a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityReport:
    """What one round did."""

    cloned: int
    split: int
    pruned: int


@runtime_checkable
class Field(Protocol):
    """Trainable Gaussians: rows with private parameters, their optimiser, and what density rounds gathered."""

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""

    def __len__(self) -> int:
        """Rows that density rounds act on: Gaussians, or anchors."""

    @property
    def num_gaussians(self) -> int:
        """Gaussians of all rows."""

    @property
    def sh_degree(self) -> int:
        """Degree of view-dependent colour in use."""

    def raise_sh_degree(self, sh_degree: int) -> None:
        """Uses a higher degree from now on; does nothing for a lower one."""

    def gaussians(self, camera: Camera) -> Gaussians:
        """All Gaussians as a camera sees them, row by row; gradients flow back to the parameters."""

    def draw(self, camera: Camera) -> Drawn:
        """Those that a camera may see, with what the step needs of them."""

    def baked(self, sh_degree: int, cameras: Sequence[Camera] = ()) -> Gaussians:
        """A detached standard set of one colour degree, ready for a file.

        Args:
            sh_degree: Of the result.
            cameras: Those of the training views; only fields that look different from each side need them.
        """

    def centers(self) -> Float[Tensor, "n 3"]:
        """Detached positions of the rows, by which they belong to a place."""

    def observe(self, drawn: Drawn, norms: Float[Tensor, "g"], visible: Bool[Tensor, "g"]) -> None:
        """Gathers what the next density round goes by.

        Args:
            drawn: What this view was rendered from.
            norms: Length of the gradient of each Gaussian's screen position, in half images.
            visible: Which were on the screen.
        """

    def step(
        self,
        drawn: Drawn,
        visible: Bool[Tensor, "g"],
        settings: ReconstructSettings,
        *,
        held: Bool[Tensor, "n"] | None,
        iteration: int,
        scene_scale: float,
    ) -> None:
        """One optimiser step of the rows with a visible Gaussian that are not held, then gradients are forgotten."""

    def change_density(
        self,
        settings: ReconstructSettings,
        *,
        scene_scale: float,
        generator: torch.Generator,
        region: Region | None = None,
    ) -> DensityReport:
        """One round of growing and pruning; starts new statistics."""

    def capture(self) -> dict[str, Tensor]:
        """Copies of everything that training changes."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Becomes what `capture` described, bit for bit."""

    def find_nonfinite(self) -> Float[Tensor, "n"] | None:
        """Number of values that are not finite in each row, or None when all are finite."""


def find_nonfinite_rows(parameters: Mapping[str, Tensor]) -> Float[Tensor, "n"] | None:
    """Number of values that are not finite in each row of all parameters, or None when all are finite."""
    # A sum is finite only if every term is (an overflow of finite float32 parameters would be as bad).
    if all(bool(value.detach().sum().isfinite()) for value in parameters.values()):
        return None
    bad = [(~value.detach().isfinite()).reshape(len(value), -1).sum(1) for value in parameters.values()]
    return torch.stack(bad).sum(0).float()
