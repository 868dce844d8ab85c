"""Owns the learned perceptual distance LPIPS v0.1 (Zhang et al. 2018), computed from local weights only."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from scene3d.errors import InputError

LpipsNet = Literal["alex", "vgg"]

INPUT_SHIFT = (-0.030, -0.088, -0.188)
INPUT_SCALE = (0.458, 0.448, 0.450)
"""Mean and deviation of the backbones' training images, for inputs in -1..1."""
NORM_EPSILON = 1e-10
MIN_SIDE_PX = {"alex": 31, "vgg": 16}
"""Smaller images have no pixel left in the last layer."""


@dataclass(frozen=True, slots=True)
class _Convolution:
    """One layer of a backbone; `tapped` layers enter the distance after their ReLU."""

    key: int
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    pool_before: int = 0
    tapped: bool = True


_ALEX = (
    _Convolution(0, 3, 64, 11, stride=4),
    _Convolution(3, 64, 192, 5, pool_before=3),
    _Convolution(6, 192, 384, 3, pool_before=3),
    _Convolution(8, 384, 256, 3),
    _Convolution(10, 256, 256, 3),
)
_VGG = (
    _Convolution(0, 3, 64, 3, tapped=False),
    _Convolution(2, 64, 64, 3),
    _Convolution(5, 64, 128, 3, pool_before=2, tapped=False),
    _Convolution(7, 128, 128, 3),
    _Convolution(10, 128, 256, 3, pool_before=2, tapped=False),
    _Convolution(12, 256, 256, 3, tapped=False),
    _Convolution(14, 256, 256, 3),
    _Convolution(17, 256, 512, 3, pool_before=2, tapped=False),
    _Convolution(19, 512, 512, 3, tapped=False),
    _Convolution(21, 512, 512, 3),
    _Convolution(24, 512, 512, 3, pool_before=2, tapped=False),
    _Convolution(26, 512, 512, 3, tapped=False),
    _Convolution(28, 512, 512, 3),
)
_BACKBONES: Mapping[LpipsNet, tuple[_Convolution, ...]] = {"alex": _ALEX, "vgg": _VGG}


@dataclass(frozen=True, slots=True, eq=False)
class Lpips:
    """One network with its weights; smaller distances are more alike."""

    net: LpipsNet
    weights: Mapping[str, Tensor]

    @classmethod
    def load(cls, net: LpipsNet = "alex", weights: Path | None = None) -> "tuple[Lpips | None, str]":
        """The network, or None and the reason why there is none.

        Looks at `weights` (a file, or a folder with `lpips_<net>.safetensors`), else in the folder of the environment
        variable SCENE3D_WEIGHTS, else in the user cache.

        Raises:
            InputError: `weights` is given but is not there, or a file found is damaged or of another network.
        """
        for place in [weights] if weights else weight_folders():
            path = place / weights_name(net) if place.is_dir() else place
            if path.is_file():
                return cls(net, _read_weights(path, net)), ""
        if weights:
            raise InputError(f"there is no {weights_name(net)} here", where=weights)
        looked = " or ".join(str(folder) for folder in weight_folders())
        return None, f"LPIPS weights {weights_name(net)} are not in {looked}"

    @torch.no_grad()
    def distance(self, image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> float:
        """LPIPS of two images of values 0..1, which are scaled to -1..1 as the published figures are.

        Raises:
            InputError: The images are smaller than `MIN_SIDE_PX`.
        """
        if min(image.shape[:2]) < MIN_SIDE_PX[self.net]:
            raise InputError(f"LPIPS ({self.net}) needs images of at least {MIN_SIDE_PX[self.net]} pixels a side")
        total = 0.0
        for layer, (first, second) in enumerate(zip(self._features(image), self._features(target), strict=True)):
            difference = (_unit_length(first) - _unit_length(second)).square()
            total += float(functional.conv2d(difference, self.weights[_head_key(layer)]).double().mean())
        return total

    def _features(self, image: Float[Tensor, "h w 3"]) -> list[Float[Tensor, "1 c y x"]]:
        layers = _BACKBONES[self.net]
        shift, scale = image.new_tensor(INPUT_SHIFT), image.new_tensor(INPUT_SCALE)
        x = ((2 * image.float() - 1 - shift) / scale).permute(2, 0, 1)[None]
        tapped = []
        for layer in layers:
            if layer.pool_before:
                x = functional.max_pool2d(x, layer.pool_before, 2)
            weight, bias = (self.weights[f"features.{layer.key}.{part}"] for part in ("weight", "bias"))
            # AlexNet's first layer pads by 2, less than half its kernel.
            padding = 2 if layer.kernel == 11 else layer.kernel // 2
            x = functional.relu(functional.conv2d(x, weight, bias, stride=layer.stride, padding=padding))
            if layer.tapped:
                tapped.append(x)
        return tapped


def weights_name(net: LpipsNet) -> str:
    """File name of a network's weights."""
    return f"lpips_{net}.safetensors"


def weight_folders() -> tuple[Path, ...]:
    """Where weights are looked for, in order."""
    chosen = os.environ.get("SCENE3D_WEIGHTS")
    return (*([Path(chosen).expanduser()] if chosen else []), user_weights_folder())


def user_weights_folder() -> Path:
    """Where fetched weights are kept."""
    chosen = os.environ.get("SCENE3D_CACHE")
    return (Path(chosen).expanduser() if chosen else _platform_cache() / "scene3d") / "weights"


def expected_shapes(net: LpipsNet) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in a network's weights file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in _BACKBONES[net]:
        shapes[f"features.{layer.key}.weight"] = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
        shapes[f"features.{layer.key}.bias"] = (layer.outputs,)
    for index, layer in enumerate(layer for layer in _BACKBONES[net] if layer.tapped):
        shapes[_head_key(index)] = (1, layer.outputs, 1, 1)
    return shapes


def _platform_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _read_weights(path: Path, net: LpipsNet) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"LPIPS weights cannot be read ({error})", where=path) from error
    if {key: tuple(value.shape) for key, value in weights.items()} != expected_shapes(net):
        raise InputError(f"these are not LPIPS weights of the network '{net}'", where=path)
    return {key: value.float() for key, value in weights.items()}


def _head_key(layer: int) -> str:
    return f"lin{layer}.model.1.weight"


def _unit_length(features: Float[Tensor, "1 c y x"]) -> Float[Tensor, "1 c y x"]:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + NORM_EPSILON)
