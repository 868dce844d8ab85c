"""Owns everything a training needs to go on where it stopped, as tensors and a record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scene3d.errors import SettingsError
from scene3d.generation.model import Model, make_model
from scene3d.generation.spec import ModelConfig
from scene3d.generation.train_settings import TrainSettings

StageName = Literal["autoencoder", "denoiser"]
STAGES: tuple[StageName, ...] = ("autoencoder", "denoiser")
_BETAS = (0.9, 0.99)
_DECAY = 1e-4


@dataclass(slots=True, eq=False)
class TrainState:
    """Networks, their averaged weights, one optimizer, and how far the training is."""

    model: Model
    optimizer: torch.optim.AdamW
    averages: dict[str, Tensor]
    """Averaged weights of the network of the present stage."""

    stage: StageName = "autoencoder"
    step: int = 0
    """Steps done of the present stage."""

    losses: dict[str, list[list[float]]] = field(default_factory=lambda: {"autoencoder": [], "denoiser": []})
    """For each stage rows of step and figures."""

    def network(self) -> nn.Module:
        """The one being trained."""
        return self.model.autoencoder if self.stage == "autoencoder" else self.model.denoiser

    def to_tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        tensors = {f"model.{name}": value for name, value in self.model.to_tensors().items()}
        tensors |= {f"average.{name}": value for name, value in self.averages.items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        return tensors

    def record(self) -> dict[str, Any]:
        """The rest."""
        return {"stage": self.stage, "step": self.step, "losses": self.losses}

    def average(self, decay: float) -> None:
        """Follow the weights."""
        # In the first steps a long memory would remember the random start.
        decay = min(decay, (1.0 + self.step) / (10.0 + self.step))
        for name, value in self.network().state_dict().items():
            self.averages[name].lerp_(value, 1.0 - decay)

    def adopt_averages(self) -> None:
        """Take the averaged weights in place of the last ones."""
        self.network().load_state_dict(self.averages)

    def enter(self, stage: StageName, settings: TrainSettings) -> None:
        """Begin a stage."""
        self.stage, self.step = stage, 0
        self.optimizer, self.averages = _begin(self.network(), settings, stage)


def make_state(settings: TrainSettings, device: torch.device, start: Model | None = None) -> TrainState:
    """The beginning: random weights, or copies of those of a trained model.

    Raises:
        SettingsError: The trained model is of another size.
    """
    model = make_model(settings.config, settings.seed)
    if start is not None:
        if start.config != settings.config:
            raise SettingsError("the generator to start from has other blocks or networks than this training")
        for name, value in start.to_tensors().items():
            model.to_tensors()[name].copy_(value)
    model = to_device(model, device)
    return TrainState(model, *_begin(model.autoencoder, settings, "autoencoder"))


def restore_state(
    settings: TrainSettings, tensors: Mapping[str, Tensor], record: Mapping[str, Any], device: torch.device
) -> TrainState:
    """The state that `to_tensors` and `record` describe."""
    state = make_state(settings, device)
    if record["stage"] != state.stage:
        state.enter(record["stage"], settings)
    state.step, state.losses = int(record["step"]), {name: list(rows) for name, rows in record["losses"].items()}
    parts = _by_head(tensors)
    named = state.model.to_tensors()
    for name, value in parts["model"].items():
        named[name].copy_(value)
    for name, value in parts["average"].items():
        state.averages[name].copy_(value)
    described = state.optimizer.state_dict()
    # Copies lie in memory as the optimizer's own tensors do: what is read from a file may not, and rounds otherwise.
    described["state"] = {}
    for name, value in parts.get("optimizer", {}).items():
        index, _, key = name.partition(".")
        described["state"].setdefault(int(index), {})[key] = value.clone()
    state.optimizer.load_state_dict(described)
    return state


def to_device(model: Model, device: torch.device) -> Model:
    """The same networks on a device."""
    return Model(
        model.config,
        model.autoencoder.to(device),
        model.denoiser.to(device),
        model.code_mean.to(device),
        model.code_std.to(device),
    )


def on_cpu(model: Model) -> Model:
    """The same networks on the CPU."""
    return to_device(model, torch.device("cpu"))


def num_parameters(config: ModelConfig) -> int:
    """Weights of both networks."""
    model = make_model(config, 0)
    return sum(one.numel() for network in (model.autoencoder, model.denoiser) for one in network.parameters())


def _begin(
    network: nn.Module, settings: TrainSettings, stage: StageName
) -> tuple[torch.optim.AdamW, dict[str, Tensor]]:
    rate = settings.autoencoder_rate if stage == "autoencoder" else settings.denoiser_rate
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, betas=_BETAS, weight_decay=_DECAY, foreach=False)
    return optimizer, {name: value.detach().clone() for name, value in network.state_dict().items()}


def _by_head(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}}
    for name, value in tensors.items():
        head, _, rest = name.partition(".")
        parts.setdefault(head, {})[rest] = value
    return parts
