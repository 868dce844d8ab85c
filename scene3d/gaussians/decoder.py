"""Owns the decoder that turns an anchor's features into the raw parameters of its Gaussians."""

import hashlib
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scene3d.gaussians.decoder_shape import DecoderShape
from scene3d.gaussians.gaussians import SH_C0

START_OPACITY = 0.1
"""Of every Gaussian before training, as for Gaussians from sparse points."""

SH_REST_GAIN = 0.1
"""View-dependent coefficients are emitted at this share: they learn as much more slowly than the constant one."""

FAINTEST_HEAD = 1e-4
"""Smallest value of the view mode's opacity head that counts as positive; its opacity is as small."""

OUTPUT_GAIN = 0.1
"""Share of the usual size of random output weights, so that training starts near the points themselves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """What the heads say of the k Gaussians of each of a anchors."""

    opacity_logits: Float[Tensor, "a k"]
    """Far below zero where a Gaussian is not drawn."""

    log_shares: Float[Tensor, "a k 3"]
    """Logarithm of the size as a share of the anchor's own."""

    quats: Float[Tensor, "a k 4"]
    sh: Float[Tensor, "a k c 3"]

    @property
    def opacities(self) -> Float[Tensor, "a k"]:
        """Opacities in (0, 1)."""
        return self.opacity_logits.sigmoid()


class Decoder(nn.Module):
    """Three two-layer perceptrons side by side: opacity, covariance, colour (Lu et al. 2024, Scaffold-GS, section 3.2).

    Their first layers are one matrix. The first three features are the anchor's base colour, to which the colour head
    adds. Rows of the colour head's last layer go by coefficient first, so that low degrees are its first rows;
    those of view-dependent coefficients start at zero: a degree that was never trained emits nothing.
    """

    def __init__(self, shape: DecoderShape, generator: torch.Generator) -> None:
        """Draws random weights; the same generator state gives the same decoder."""
        super().__init__()
        hidden, k = shape.num_hidden, shape.num_offsets
        self.shape = shape
        self.hidden = nn.Linear(shape.num_inputs, 3 * hidden)
        self.opacity = nn.Linear(hidden, k)
        self.covariance = nn.Linear(hidden, 7 * k)
        self.color = nn.Linear(hidden, shape.num_coefficients * k * 3)
        with torch.no_grad():
            self._draw(generator)

    def forward(
        self,
        features: Float[Tensor, "a f"],
        directions: Float[Tensor, "a 3"] | None = None,
        *,
        sh_degree: int | None = None,
    ) -> Decoded:
        """The raw parameters of each anchor's Gaussians.

        Args:
            features: Of the anchors.
            directions: Unit vectors from the camera to the anchors; the view mode needs them, the static one ignores
                them.
            sh_degree: Highest degree of colour to emit in the static mode; all there is if not given.
        """
        shape = self.shape
        if shape.mode == "view":
            assert directions is not None, "the view mode needs directions"
            inputs = torch.cat([features, directions], 1)
        else:
            inputs = features
        opacity, covariance, color = self.hidden(inputs).relu().split(shape.num_hidden, 1)
        covars = self.covariance(covariance).unflatten(1, (shape.num_offsets, 7))  # [a, k, 7]
        identity = covars.new_tensor([1.0, 0.0, 0.0, 0.0])
        return Decoded(
            opacity_logits=self._opacity_logits(self.opacity(opacity)),
            log_shares=nn.functional.logsigmoid(covars[..., :3]),
            quats=covars[..., 3:] + identity,
            sh=self._colors(color, features[:, :3], sh_degree),
        )

    def _opacity_logits(self, head: Float[Tensor, "a k"]) -> Float[Tensor, "a k"]:
        if self.shape.mode == "static":
            return head
        # tanh as published, dropped where it is not positive; its logit is log(tanh / (1 - tanh)).
        return torch.log(torch.expm1(2 * head.clamp_min(FAINTEST_HEAD)) / 2)

    def _colors(
        self, hidden: Float[Tensor, "a h"], base: Float[Tensor, "a 3"], sh_degree: int | None
    ) -> Float[Tensor, "a k c 3"]:
        shape = self.shape
        k = shape.num_offsets
        if shape.mode == "view":
            head = self.color(hidden).unflatten(1, (k, 1, 3)) + 4 * SH_C0 * base[:, None, None]
            return (head.sigmoid() - 0.5) / SH_C0
        count = (min(shape.sh_degree, shape.sh_degree if sh_degree is None else sh_degree) + 1) ** 2
        rows = count * k * 3
        head = nn.functional.linear(hidden, self.color.weight[:rows], self.color.bias[:rows])
        sh = head.reshape(-1, count, k, 3).transpose(1, 2)  # [a, k, c, 3]
        return torch.cat([sh[:, :, :1] + base[:, None, None], SH_REST_GAIN * sh[:, :, 1:]], 2)

    def _draw(self, generator: torch.Generator) -> None:
        for layer, gain in ((self.hidden, 1.0), (self.opacity, OUTPUT_GAIN), (self.covariance, OUTPUT_GAIN)):
            _draw_uniform(layer.weight, gain, generator)
            layer.bias.zero_()
        _draw_uniform(self.color.weight, OUTPUT_GAIN, generator)
        self.color.bias.zero_()
        self.color.weight[3 * self.shape.num_offsets :] = 0
        if self.shape.mode == "static":
            self.opacity.bias.fill_(math.log(START_OPACITY / (1 - START_OPACITY)))
        else:
            self.opacity.bias.fill_(math.atanh(START_OPACITY))


def flat_parameters(decoder: Decoder) -> Float[Tensor, "p"]:
    """All parameters one after another, names in order; a copy."""
    return torch.cat([value.detach().reshape(-1) for _, value in sorted(decoder.named_parameters())])


@torch.no_grad()
def write_parameters(decoder: Decoder, flat: Float[Tensor, "p"]) -> None:
    """Sets all parameters from what `flat_parameters` gives."""
    position = 0
    for _, parameter in sorted(decoder.named_parameters()):
        parameter.copy_(flat[position : position + parameter.numel()].reshape(parameter.shape))
        position += parameter.numel()


def decoder_checksum(decoder: Decoder) -> str:
    """SHA-256 of a decoder's float32 bytes, names in order."""
    return hashlib.sha256(flat_parameters(decoder).cpu().numpy().tobytes()).hexdigest()


def _draw_uniform(weight: Tensor, gain: float, generator: torch.Generator) -> None:
    """As torch's own linear layers: uniform within 1 / sqrt(inputs)."""
    bound = gain / math.sqrt(weight.shape[1])
    weight.copy_((2 * torch.rand(weight.shape, generator=generator) - 1) * bound)
