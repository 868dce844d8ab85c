"""Owns the layers that work on three planes at once, each plane with its own weights.

Planes travel as [b, 3 f, r, r]: the channels of xy, then of xz, then of zy. That is the roll-out of the planes side by
side, stacked the other way: a convolution with three groups never looks across a plane's border.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scene3d.generation.spec import NUM_PLANES


class GroupConv(nn.Module):
    """A convolution with its own weights for each plane.

    Args:
        inputs: Channels of each plane.
        outputs: Channels of each plane afterwards.
        kernel: Side of the kernel.
        stride: Pixels from one place of it to the next.
        zero: Begin with weights of zero.
        repeat: Continue a plane by its last pixel instead of by zeros: a border then looks like what goes on there.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        zero: bool = False,
        repeat: bool = False,
    ) -> None:
        super().__init__()
        self._padding = (kernel - stride + 1) // 2
        self._repeat = repeat
        padding = 0 if repeat else self._padding
        total = NUM_PLANES * inputs, NUM_PLANES * outputs
        self.conv = nn.Conv2d(*total, kernel, stride=stride, padding=padding, groups=NUM_PLANES)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)
        if zero:
            nn.init.zeros_(self.conv.weight)

    def forward(self, planes: Float[Tensor, "b c r r"]) -> Float[Tensor, "b d s s"]:
        """Planes with other channels, and smaller by the stride."""
        if self._repeat and self._padding:
            planes = functional.pad(planes, [self._padding] * 4, mode="replicate")
        return self.conv(planes)


class PlaneMixing(nn.Module):
    """Gives each plane the other two, averaged along the axis that it lacks (Rodin's 3D-aware convolution, pooled)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = GroupConv(3 * channels, channels, kernel=1, zero=True)

    def forward(self, planes: Float[Tensor, "b c r r"]) -> Float[Tensor, "b c r r"]:
        """The planes plus what the others know; at first nothing, because the weights begin at zero."""
        xy, xz, zy = planes.chunk(NUM_PLANES, dim=1)
        size = xy.shape
        rows_of_x = (xz.mean(-1, keepdim=True).expand(size), xy.mean(-1, keepdim=True).expand(size))
        columns_of_y = (zy.mean(-2, keepdim=True).expand(size), xy.mean(-2, keepdim=True).expand(size))
        columns_of_z = zy.mean(-1)[..., None, :].expand(size)
        rows_of_z = xz.mean(-2)[..., None].expand(size)
        parts = [xy, rows_of_x[0], columns_of_y[0], xz, rows_of_x[1], columns_of_z, zy, rows_of_z, columns_of_y[1]]
        return planes + self.mix(torch.cat(parts, dim=1))


class PlaneAttention(nn.Module):
    """Attention among all pixels of all planes; begins as the identity."""

    def __init__(self, channels: int, *, heads: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attend = nn.MultiheadAttention(channels, heads, batch_first=True)
        nn.init.zeros_(self.attend.out_proj.weight)
        nn.init.zeros_(self.attend.out_proj.bias)

    def forward(self, planes: Float[Tensor, "b c r r"]) -> Float[Tensor, "b c r r"]:
        """The planes plus what each pixel found elsewhere."""
        batch, _, rows, columns = planes.shape
        tokens = planes.reshape(batch, NUM_PLANES, -1, rows * columns).permute(0, 1, 3, 2).flatten(1, 2)
        normed = self.norm(tokens)
        tokens = self.attend(normed, normed, normed, need_weights=False)[0]
        back = tokens.reshape(batch, NUM_PLANES, rows * columns, -1).permute(0, 1, 3, 2)
        return planes + back.reshape(planes.shape)


class PlaneBlock(nn.Module):
    """Two convolutions with a shortcut; with a time embedding the second is scaled and shifted by it.

    A local block has no normalisation and continues borders: what it says of a pixel depends on its neighbours only.
    """

    def __init__(self, inputs: int, outputs: int, *, time_width: int = 0, local: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.Identity() if local else _plane_norm(inputs)
        self.conv1 = GroupConv(inputs, outputs, repeat=local)
        self.norm2 = nn.Identity() if local else _plane_norm(outputs)
        self.conv2 = GroupConv(outputs, outputs, zero=True, repeat=local)
        self.shortcut = nn.Identity() if inputs == outputs else GroupConv(inputs, outputs, kernel=1)
        self.time = nn.Linear(time_width, 2 * NUM_PLANES * outputs) if time_width else None

    def forward(self, planes: Float[Tensor, "b c r r"], time: Float[Tensor, "b t"] | None = None) -> Tensor:
        """Planes of the other width."""
        hidden = self.norm2(self.conv1(functional.silu(self.norm1(planes))))
        if self.time is not None and time is not None:
            scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
            hidden = hidden * (1.0 + scale) + shift
        return self.shortcut(planes) + self.conv2(functional.silu(hidden))


def _plane_norm(channels: int) -> nn.GroupNorm:
    """Statistics of each plane apart, so that nothing leaks from one to another."""
    groups = 4 if channels % 4 == 0 else 1
    return nn.GroupNorm(NUM_PLANES * groups, NUM_PLANES * channels)
