"""Owns Adam for Gaussian rows: rows that a view does not see keep their values and moments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rasterizer import make_row_adam_columns, row_adam_step


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamConstants:
    """Decay rates of Adam (Kingma & Ba 2015) with 3DGS's small epsilon."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-15


@dataclass(slots=True, eq=False)
class Moments:
    """First and second moments of one parameter."""

    first: Tensor
    second: Tensor

    @classmethod
    def zeros_like(cls, parameter: Tensor) -> "Moments":
        """Moments before any step."""
        return cls(torch.zeros_like(parameter), torch.zeros_like(parameter))


class RowAdam:
    """Adam whose bias correction counts the steps of each row.

    A row that was seen t times is corrected for t steps: with one global count, a Gaussian first seen late, or just
    split, would jump by three times its step size.
    """

    def __init__(self, parameters: Mapping[str, Tensor], constants: AdamConstants | None = None) -> None:
        self.constants = constants or AdamConstants()
        self.moments = {name: Moments.zeros_like(value.detach()) for name, value in parameters.items()}
        first = next(iter(parameters.values()))
        self.row_steps: Float[Tensor, n] = torch.zeros(len(first), device=first.device)

    @torch.no_grad()
    def step(
        self,
        parameters: Mapping[str, Tensor],
        rates: Mapping[str, float | Sequence[float]],
        visible: Bool[Tensor, "n"],
        decays: Mapping[str, Sequence[float]] | None = None,
        *,
        backend: str | None = None,
    ) -> None:
        """One update of the visible rows from `.grad`.

        Args:
            parameters: Leaves of shape [n, ...], with gradients.
            rates: Step size per parameter, or one per column of its flattened rows.
            visible: Rows to update.
            decays: Decoupled weight decay per column (Loshchilov & Hutter 2019), as a share of the step size.
            backend: `cpu` or `reference`; by itself the fastest.
        """
        self.row_steps += visible
        for name, parameter in parameters.items():
            if parameter.grad is None or len(parameter) == 0:
                continue
            rate = rates[name]
            columns = make_row_adam_columns(
                [rate] * parameter[0].numel() if isinstance(rate, float) else rate,
                (decays or {}).get(name),
                beta1=self.constants.beta1,
                beta2=self.constants.beta2,
                epsilon=self.constants.epsilon,
                device=parameter.device,
            )
            moments = self.moments[name]
            row_adam_step(
                parameter.detach(),
                parameter.grad,
                moments.first,
                moments.second,
                columns=columns,
                row_steps=self.row_steps,
                rows=visible,
                backend=backend,
            )

    def take(self, index: Tensor, fresh: Bool[Tensor, "m"]) -> None:
        """Follows a rearrangement of rows; fresh rows start without history."""
        self.row_steps = self.row_steps[index]
        self.row_steps[fresh] = 0
        for moments in self.moments.values():
            moments.first, moments.second = moments.first[index], moments.second[index]
            moments.first[fresh] = 0
            moments.second[fresh] = 0

    def capture(self) -> dict[str, Tensor]:
        """Copies of moments and step counts."""
        state = {"adam.row_steps": self.row_steps.clone()}
        for name, moments in self.moments.items():
            state[f"adam.{name}.first"] = moments.first.clone()
            state[f"adam.{name}.second"] = moments.second.clone()
        return state

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from what `capture` described."""
        device = self.row_steps.device
        self.row_steps = tensors["adam.row_steps"].clone().to(device)
        for name in self.moments:
            first, second = tensors[f"adam.{name}.first"], tensors[f"adam.{name}.second"]
            self.moments[name] = Moments(first.clone().to(device), second.clone().to(device))
