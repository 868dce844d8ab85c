"""Owns the explicit Gaussian field in training: parameters, their optimiser, and rearranging both together."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.gaussians.gaussians import Gaussians, resize_sh
from scene3d.training.adam import RowAdam
from scene3d.training.density import DensityStatistics, change_density
from scene3d.training.field import DensityReport, Drawn, Region, find_nonfinite_rows
from scene3d.training.schedules import learning_rates
from scene3d.training.settings import ReconstructSettings

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
        self.statistics = DensityStatistics.zeros(len(self), self.device)

    def __len__(self) -> int:
        return len(self.parameters["means"])

    @property
    def num_gaussians(self) -> int:
        """Gaussians, which are its rows."""
        return len(self)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.parameters["means"].device

    @property
    def sh_degree(self) -> int:
        """Degree of view-dependent colour in use."""
        return round(self.parameters["sh"].shape[1] ** 0.5) - 1

    def gaussians(self, camera: Camera | None = None) -> Gaussians:
        """The parameters themselves, the same for every camera: gradients flow back to them."""
        return Gaussians(**{name: self.parameters[name] for name in PARAMETERS})

    def draw(self, camera: Camera) -> Drawn:
        """All Gaussians: finding those in view is the rasterizer's work."""
        return Drawn(gaussians=self.gaussians(camera))

    def centers(self) -> Float[Tensor, "n 3"]:
        """Detached centres."""
        return self.parameters["means"].detach()

    def baked(self, sh_degree: int, cameras: Sequence[Camera] = ()) -> Gaussians:
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

    def observe(self, drawn: Drawn, norms: Float[Tensor, "g"], visible: Bool[Tensor, "g"]) -> None:
        """Gathers screen gradients for the next density round."""
        self.statistics.observe(norms, visible)

    def step(
        self,
        drawn: Drawn,
        visible: Bool[Tensor, "g"],
        settings: ReconstructSettings,
        *,
        held: Bool[Tensor, "n"] | None = None,
        iteration: int,
        scene_scale: float,
    ) -> None:
        """One Adam step of the visible Gaussians that are not held."""
        rates = learning_rates(settings, iteration, scene_scale)
        columns = self.parameters["sh"].shape[1] * 3
        sh_rates = [rates["sh"]] * 3 + [rates["sh"] * settings.optimizer.sh_rest_ratio] * (columns - 3)
        decays = {"sh": [0.0] * 3 + [settings.loss.sh_weight] * (columns - 3)}
        moved = visible if held is None else visible & ~held
        self.adam.step(self.parameters, {**rates, "sh": sh_rates}, moved, decays)
        for value in self.parameters.values():
            value.grad = None

    def change_density(
        self,
        settings: ReconstructSettings,
        *,
        scene_scale: float,
        generator: torch.Generator,
        region: Region | None = None,
    ) -> DensityReport:
        """One round of cloning, splitting and pruning; starts new statistics."""
        report = change_density(
            self, self.statistics, settings.density, scene_scale=scene_scale, generator=generator, region=region
        )
        self.statistics = DensityStatistics.zeros(len(self), self.device)
        return report

    def capture(self) -> dict[str, Tensor]:
        """Copies of everything that training changes."""
        state = {f"field.{name}": value.detach().clone() for name, value in self.parameters.items()}
        return {**state, **self.adam.capture(), **self.statistics.capture()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Becomes the field that `capture` described, bit for bit."""
        device = self.device
        # `.to` copies only between devices; the clone keeps the state apart on one device too.
        self.parameters = {name: tensors[f"field.{name}"].clone().to(device) for name in PARAMETERS}
        self._require_gradients()
        self.adam = RowAdam(self.parameters)
        self.adam.restore(tensors)
        self.statistics = DensityStatistics.restore(tensors, device)

    def find_nonfinite(self) -> Float[Tensor, "n"] | None:
        """Number of values that are not finite in each row, or None when all are finite."""
        return find_nonfinite_rows(self.parameters)

    def _require_gradients(self) -> None:
        for value in self.parameters.values():
            value.requires_grad_(True)
