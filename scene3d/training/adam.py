"""Owns Adam for Gaussian rows: rows that a view does not see keep their values and moments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
    ) -> None:
        """One update of the visible rows from `.grad`.

        Args:
            parameters: Leaves of shape [n, ...], with gradients.
            rates: Step size per parameter, or one per column of its flattened rows.
            visible: Rows to update.
            decays: Decoupled weight decay per column (Loshchilov & Hutter 2019), as a share of the step size.
        """
        self.row_steps += visible
        for name, parameter in parameters.items():
            if parameter.grad is None:
                continue
            columns = parameter[0].numel() if len(parameter) else 1
            rate = rates[name]
            rate_row = [rate] * columns if isinstance(rate, float) else list(rate)
            decay_row = list((decays or {}).get(name, [0.0] * columns))
            _update_rows(parameter, self.moments[name], self.row_steps, visible, rate_row, decay_row, self.constants)

    def take(self, index: Tensor, fresh: Bool[Tensor, "m"]) -> None:
        """Follows a rearrangement of rows; fresh rows start without history."""
        self.row_steps = self.row_steps[index]
        self.row_steps[fresh] = 0
        for moments in self.moments.values():
            moments.first, moments.second = moments.first[index], moments.second[index]
            moments.first[fresh] = 0
            moments.second[fresh] = 0


def _update_rows(
    parameter: Tensor,
    moments: Moments,
    row_steps: Tensor,
    visible: Tensor,
    rate_row: Sequence[float],
    decay_row: Sequence[float],
    constants: AdamConstants,
) -> None:
    """The plain form of one update; the CPU library has the fast one."""
    assert parameter.grad is not None
    rows = visible.nonzero().squeeze(1)
    gradient = parameter.grad[rows].flatten(1) if parameter.dim() > 1 else parameter.grad[rows].unsqueeze(1)
    first = moments.first[rows].reshape_as(gradient).lerp(gradient, 1 - constants.beta1)
    second = moments.second[rows].reshape_as(gradient).mul(constants.beta2)
    second = second.addcmul(gradient, gradient, value=1 - constants.beta2)
    steps = row_steps[rows].unsqueeze(1)
    correction1, correction2 = 1 - constants.beta1**steps, 1 - constants.beta2**steps
    rate = torch.tensor(rate_row, device=parameter.device)
    decay = torch.tensor(decay_row, device=parameter.device)
    value = parameter[rows].reshape_as(gradient)
    value = value * (1 - rate * decay) - rate * (first / correction1) / (
        (second / correction2).sqrt() + constants.epsilon
    )
    shape = (len(rows), *parameter.shape[1:])
    parameter[rows] = value.reshape(shape)
    moments.first[rows] = first.reshape(shape)
    moments.second[rows] = second.reshape(shape)
