"""Owns the networks of one generator together with the statistics of their codes."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scene3d.errors import InputError
from scene3d.generation.autoencoder import AutoEncoder
from scene3d.generation.denoiser import Denoiser
from scene3d.generation.spec import NUM_PLANES, ModelConfig
from scene3d.seeding import make_generator


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Auto-encoder, denoiser, and mean and spread of each channel of the codes."""

    config: ModelConfig
    autoencoder: AutoEncoder
    denoiser: Denoiser
    code_mean: Float[Tensor, "3 z"]
    code_std: Float[Tensor, "3 z"]

    def normalise(self, codes: Float[Tensor, "b 3 z s s"]) -> Float[Tensor, "b 3 z s s"]:
        """Codes with mean 0 and spread 1, which the denoiser works on."""
        return (codes - self.code_mean[..., None, None]) / self.code_std[..., None, None]

    def denormalise(self, codes: Float[Tensor, "b 3 z s s"]) -> Float[Tensor, "b 3 z s s"]:
        """Codes that the decoder understands."""
        return codes * self.code_std[..., None, None] + self.code_mean[..., None, None]

    def to_tensors(self) -> dict[str, Tensor]:
        """All weights by name."""
        tensors = {f"autoencoder.{key}": value for key, value in self.autoencoder.state_dict().items()}
        tensors |= {f"denoiser.{key}": value for key, value in self.denoiser.state_dict().items()}
        return tensors | {"code_mean": self.code_mean, "code_std": self.code_std}


def make_model(config: ModelConfig, seed: int) -> Model:
    """Networks that have learned nothing yet; the same seed gives the same weights."""
    autoencoder, denoiser = AutoEncoder(config), Denoiser(config)
    generator = make_generator(seed, "generator weights")
    for network in (autoencoder, denoiser):
        reset_weights(network, generator)
    shape = (NUM_PLANES, config.sizes.code_channels)
    return Model(config, autoencoder, denoiser, torch.zeros(shape), torch.ones(shape))


def model_from_tensors(config: ModelConfig, tensors: Mapping[str, Tensor], *, where: str) -> Model:
    """Networks with the weights of `Model.to_tensors`.

    Raises:
        InputError: The weights are not those of such networks.
    """
    model = make_model(config, 0)
    missing = set(model.to_tensors()) ^ set(tensors)
    if missing:
        raise InputError(f"weights and description disagree about {sorted(missing)[0]}", where=where)
    parts: dict[str, dict[str, Tensor]] = {"autoencoder": {}, "denoiser": {}}
    for name, value in tensors.items():
        head, _, rest = name.partition(".")
        if rest:
            parts[head][rest] = value
    try:
        model.autoencoder.load_state_dict(parts["autoencoder"])
        model.denoiser.load_state_dict(parts["denoiser"])
    except RuntimeError as error:
        raise InputError(f"weights do not fit their description: {error}", where=where) from error
    return Model(config, model.autoencoder, model.denoiser, tensors["code_mean"], tensors["code_std"])


def reset_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights anew from the passed generator; what began at zero stays zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and bool(module.weight.detach().any()):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MultiheadAttention):
            nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
