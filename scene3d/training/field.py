"""Owns the explicit Gaussian field in training: parameters, their optimiser, and rearranging both together."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scene3d.gaussians.gaussians import Gaussians, resize_sh
from scene3d.training.adam import Moments, RowAdam

PARAMETERS = ("means", "quats", "log_scales", "opacity_logits", "sh")


class ExplicitField:
    """Plain 3D Gaussians as leaves of the gradient, with one Adam state per row.

    Colour starts without view dependence and grows with `raise_sh_degree`, so that short and early training neither
    stores nor moves coefficients that are still zero.
    """

    def __init__(self, gaussians: Gaussians, *, sh_degree: int = 0) -> None:
        """Starts from raw parameters; coefficients above `sh_degree` are dropped."""
        self.parameters: dict[str, Tensor] = {
            name: getattr(gaussians, name).detach().clone().contiguous().float() for name in PARAMETERS
        }
        self.parameters["sh"] = resize_sh(self.parameters["sh"], sh_degree)
        self._require_gradients()
        self.adam = RowAdam(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters["means"])

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.parameters["means"].device

    @property
    def sh_degree(self) -> int:
        """Degree of view-dependent colour in use."""
        return round(self.parameters["sh"].shape[1] ** 0.5) - 1

    def gaussians(self) -> Gaussians:
        """The parameters themselves: gradients flow back to them."""
        return Gaussians(**{name: self.parameters[name] for name in PARAMETERS})

    def baked(self, sh_degree: int) -> Gaussians:
        """A detached copy of one colour degree, ready for a file."""
        values = {name: value.detach().clone() for name, value in self.parameters.items()}
        values["sh"] = resize_sh(values["sh"], sh_degree)
        return Gaussians(**values)

    def raise_sh_degree(self, sh_degree: int) -> None:
        """Adds coefficients, all zero, up to a degree; does nothing if they are there."""
        if sh_degree <= self.sh_degree:
            return
        self.parameters["sh"] = resize_sh(self.parameters["sh"].detach(), sh_degree)
        moments = self.adam.moments["sh"]
        moments.first, moments.second = resize_sh(moments.first, sh_degree), resize_sh(moments.second, sh_degree)
        self._require_gradients()

    def take(self, index: Int[Tensor, "m"], fresh: Bool[Tensor, "m"]) -> None:
        """Keeps, drops and repeats rows: row i becomes the old row `index[i]`; fresh rows forget their moments."""
        self.parameters = {name: value.detach()[index].contiguous() for name, value in self.parameters.items()}
        self._require_gradients()
        self.adam.take(index, fresh)

    def zero_gradients(self) -> None:
        """Forgets the gradients of the last iteration."""
        for value in self.parameters.values():
            value.grad = None

    def capture(self) -> dict[str, Tensor]:
        """Copies of everything that training changes."""
        state = {f"field.{name}": value.detach().clone() for name, value in self.parameters.items()}
        for name, moments in self.adam.moments.items():
            state[f"adam.{name}.first"] = moments.first.clone()
            state[f"adam.{name}.second"] = moments.second.clone()
        state["adam.row_steps"] = self.adam.row_steps.clone()
        return state

    @classmethod
    def restore(cls, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> "ExplicitField":
        """The field that `capture` described, bit for bit."""
        state = {name: value.to(device) for name, value in state.items() if name.startswith(("field.", "adam."))}
        gaussians = Gaussians(**{name: state[f"field.{name}"] for name in PARAMETERS})
        field = cls(gaussians, sh_degree=gaussians.sh_degree)
        for name in PARAMETERS:
            field.adam.moments[name] = Moments(
                state[f"adam.{name}.first"].clone(), state[f"adam.{name}.second"].clone()
            )
        field.adam.row_steps = state["adam.row_steps"].clone()
        return field

    def find_nonfinite(self) -> Float[Tensor, "n"] | None:
        """Number of values that are not finite in each row, or None when all are finite."""
        # A sum is finite only if every term is (an overflow of finite float32 parameters would be as bad).
        if all(bool(value.detach().sum().isfinite()) for value in self.parameters.values()):
            return None
        bad = [(~value.detach().isfinite()).reshape(len(self), -1).sum(1) for value in self.parameters.values()]
        return torch.stack(bad).sum(0).float()

    def _require_gradients(self) -> None:
        for value in self.parameters.values():
            value.requires_grad_(True)
