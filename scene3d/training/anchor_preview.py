"""Owns looking at anchors that are still in training: from a saved state to the standard Gaussians it stands for."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError
from scene3d.gaussians.anchor_baking import bake_anchors
from scene3d.gaussians.anchors import Anchors
from scene3d.gaussians.decoder import Decoder, write_parameters
from scene3d.gaussians.gaussians import Gaussians
from scene3d.seeding import make_generator
from scene3d.training.anchor_field import PARAMETERS
from scene3d.training.settings import ReconstructSettings

MAX_CAMERAS = 64
"""Of the view mode, from which the mean direction of each anchor is found; more would hardly turn it."""


@torch.no_grad()
def bake_state(
    tensors: Mapping[str, Tensor],
    student: Float[Tensor, "p"],
    settings: ReconstructSettings,
    cameras: Sequence[Camera] = (),
) -> Gaussians:
    """The Gaussians of an anchor field's saved state: exact in the static mode, a fit in the view mode.

    Args:
        tensors: What `AnchorField.capture` gave, perhaps among others.
        student: What `SharedDecoder.capture` gave as `decoder.student`.
        settings: That it is trained with.
        cameras: Of the training views; the view mode needs them.

    Raises:
        InputError: The state is not of these settings.
        SettingsError: The view mode, and no cameras.
    """
    decoder = Decoder(settings.anchors.decoder_shape(settings.sh_degree), make_generator(settings.seed, "decoder"))
    try:
        if student.numel() != sum(parameter.numel() for parameter in decoder.parameters()):
            raise InputError("the decoder in this state has another shape than the settings say")
        write_parameters(decoder, student)
        anchors = Anchors(**{name: tensors[f"field.{name}"] for name in ("positions", *PARAMETERS)})
        chosen = np.linspace(0, len(cameras) - 1, min(MAX_CAMERAS, len(cameras))).round().astype(int)
        return bake_anchors(anchors, decoder, settings.sh_degree, [cameras[i] for i in chosen])
    except (KeyError, RuntimeError) as error:
        raise InputError(f"this is no state of anchors ({error})") from error


def is_anchor_state(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a saved state is one of anchors, and not of explicit Gaussians."""
    return all(f"field.{name}" in tensors for name in ("positions", *PARAMETERS))
