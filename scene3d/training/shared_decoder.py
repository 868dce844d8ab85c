"""Owns the one decoder of a run: student, momentum teacher, the only optimiser state of both."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.gaussians.decoder import Decoder, decoder_checksum, flat_parameters, write_parameters
from scene3d.seeding import make_generator
from scene3d.training.adam import AdamConstants
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.schedules import log_linear

DISTILL_WEIGHT, DISTILL_STEPS = 50.0, 100_000
"""Weight of the difference to the teacher, and the steps of the decoder from which on it is in full."""


class SharedDecoder:
    """Student and teacher decoder with one Adam (Kingma & Ba 2015) for the student.

    The trainer of a scene or the turns of its blocks own it, never a field: a decoder that every block stepped with its
    own stale moments is what Momentum-GS's release does, and what its paper does not mean.
    """

    def __init__(
        self,
        settings: AnchorSettings,
        *,
        steps: int,
        seed: int,
        sh_degree: int = 3,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draws the student; the teacher starts as its copy.

        Args:
            settings: Shape, step sizes, teacher.
            steps: Optimiser steps of the whole run, over which step sizes fall.
            seed: Of the run.
            sh_degree: Highest degree of colour.
            device: Where both live.
        """
        shape = settings.decoder_shape(sh_degree)
        self.settings = settings
        self.steps = steps
        self.student = Decoder(shape, make_generator(seed, "decoder")).to(device)
        self.teacher = Decoder(shape, make_generator(seed, "decoder")).to(device).requires_grad_(False)
        self.step_count = 0
        self.is_frozen = False
        self.constants = AdamConstants()
        self._rates = _make_rates(self.student, settings)
        self._first = torch.zeros_like(self._rates)
        self._second = torch.zeros_like(self._rates)

    @property
    def num_parameters(self) -> int:
        """Numbers that the student has."""
        return len(self._rates)

    @property
    def teaches(self) -> bool:
        """Whether the difference to the teacher is part of the loss."""
        return self.settings.teacher != "off" and self.distill_weight > 0 and not self.is_frozen

    @property
    def distill_weight(self) -> float:
        """Weight of the difference to the teacher."""
        chosen = self.settings.distill_weight
        return DISTILL_WEIGHT * min(1.0, self.steps / DISTILL_STEPS) if chosen is None else chosen

    def take_gradient(self) -> Float[Tensor, "p"]:
        """The flat gradient of what was run backward since the last call, then forgotten; zeros where there is none."""
        flat = torch.zeros_like(self._rates)
        position = 0
        for _, parameter in sorted(self.student.named_parameters()):
            if parameter.grad is not None and not self.is_frozen:
                flat[position : position + parameter.numel()] = parameter.grad.reshape(-1)
            parameter.grad = None
            position += parameter.numel()
        return flat

    @torch.no_grad()
    def step(self, gradient: Float[Tensor, "p"]) -> None:
        """One Adam step of the student, then the teacher follows if it does so every step; nothing when frozen."""
        if self.is_frozen:
            return
        beta1, beta2 = self.constants.beta1, self.constants.beta2
        progress = self.step_count / self.steps
        self.step_count += 1
        self._first.lerp_(gradient, 1 - beta1)
        self._second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        first = self._first / (1 - beta1**self.step_count)
        second = self._second / (1 - beta2**self.step_count)
        rates = self._rates * log_linear(1.0, self.settings.final_ratio, progress)
        write_parameters(
            self.student, flat_parameters(self.student) - rates * first / (second.sqrt() + self.constants.epsilon)
        )
        if self.settings.teacher in ("auto", "step"):
            self._follow()

    def end_round(self) -> None:
        """The teacher follows if it does so every round."""
        if self.settings.teacher == "round" and not self.is_frozen:
            self._follow()

    def freeze(self) -> None:
        """From now on the student stays as it is and the teacher is silent."""
        self.is_frozen = True
        for parameter in self.student.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None

    def is_finite(self) -> bool:
        """Whether all of the student's numbers are."""
        return bool(flat_parameters(self.student).isfinite().all())

    def checksum(self) -> str:
        """SHA-256 of the student's float32 bytes, names in order."""
        return decoder_checksum(self.student)

    def capture(self) -> dict[str, Tensor]:
        """Copies of everything that training changes."""
        return {
            "decoder.student": flat_parameters(self.student),
            "decoder.teacher": flat_parameters(self.teacher),
            "decoder.first": self._first.clone(),
            "decoder.second": self._second.clone(),
            "decoder.counters": torch.tensor([self.step_count, int(self.is_frozen)]),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from what `capture` described, bit for bit."""
        write_parameters(self.student, tensors["decoder.student"])
        write_parameters(self.teacher, tensors["decoder.teacher"])
        self._first.copy_(tensors["decoder.first"])
        self._second.copy_(tensors["decoder.second"])
        self.step_count, frozen = (int(value) for value in tensors["decoder.counters"])
        self.is_frozen = bool(frozen)
        for parameter in self.student.parameters():
            parameter.requires_grad_(not self.is_frozen)
            parameter.grad = None

    @torch.no_grad()
    def _follow(self) -> None:
        """teacher <- m teacher + (1 - m) student (Fan et al. 2025, Momentum-GS, eq. 6)."""
        momentum = self.settings.teacher_momentum
        write_parameters(
            self.teacher, momentum * flat_parameters(self.teacher) + (1 - momentum) * flat_parameters(self.student)
        )


def _make_rates(decoder: Decoder, settings: AnchorSettings) -> Float[Tensor, "p"]:
    """The first step size of every parameter, in the order of `flat_parameters`."""
    hidden = decoder.shape.num_hidden
    per_head = {"opacity": settings.opacity_lr, "covariance": settings.covariance_lr, "color": settings.color_lr}
    # The first layer's rows belong to one head after another.
    rows = torch.tensor(list(per_head.values())).repeat_interleave(hidden)
    parts = []
    for name, value in sorted(decoder.named_parameters()):
        head = name.split(".")[0]
        like = value.detach()
        if head == "hidden":
            rates = rows.to(like).reshape(-1, *[1] * (like.ndim - 1)).expand_as(like)
        else:
            rates = torch.full_like(like, per_head[head])
        parts.append(rates.reshape(-1))
    return torch.cat(parts)
