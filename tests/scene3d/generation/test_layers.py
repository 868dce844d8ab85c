"""Each plane has its own weights; only mixing and attention let one know of another."""

import pytest
import torch

from scene3d.generation.layers import GroupConv, PlaneAttention, PlaneBlock, PlaneMixing
from tests.scene3d.generation.small import generator

WIDTH, SIDE = 4, 6


def planes(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3 * WIDTH, SIDE, SIDE, generator=generator(seed))


def changed_planes(layer: torch.nn.Module, disturbed: int) -> list[float]:
    """How much each plane of the result changes when one plane of the input does."""
    first = planes()
    second = first.clone()
    second[:, disturbed * WIDTH : (disturbed + 1) * WIDTH] += 1.0 + planes(5)[:, :WIDTH]
    with torch.no_grad():
        change = (layer(second) - layer(first)).abs()
    return [float(part.max()) for part in change.chunk(3, dim=1)]


def awake(layer: torch.nn.Module) -> torch.nn.Module:
    """The layer with no weight at zero."""
    for number, weight in enumerate(layer.parameters()):
        weight.data = 0.3 * torch.randn(weight.shape, generator=generator(number)) + 0.01
    return layer


@pytest.mark.parametrize("disturbed", [0, 1, 2])
@pytest.mark.parametrize("layer", [GroupConv(WIDTH, WIDTH), GroupConv(WIDTH, WIDTH, repeat=True), PlaneBlock(WIDTH, 8)])
def test_a_plane_does_not_leak_into_others_through_convolutions(layer, disturbed):
    changes = changed_planes(awake(layer), disturbed)
    assert changes[disturbed] > 0.1
    assert all(change == 0.0 for plane, change in enumerate(changes) if plane != disturbed)


@pytest.mark.parametrize("disturbed", [0, 1, 2])
@pytest.mark.parametrize("layer", [PlaneMixing(WIDTH), PlaneAttention(WIDTH, heads=2)])
def test_mixing_and_attention_tell_every_plane(layer, disturbed):
    assert min(changed_planes(awake(layer), disturbed)) > 1e-4


@pytest.mark.parametrize("layer", [PlaneMixing(WIDTH), PlaneAttention(WIDTH, heads=2), PlaneBlock(WIDTH, WIDTH)])
def test_new_layers_begin_as_the_identity(layer):
    assert torch.allclose(layer(planes()), planes(), atol=1e-6)


def test_mixing_commutes_with_a_quarter_turn_when_weights_are_tied():
    """A yaw by 90 degrees maps x to z: xy becomes zy turned over, and xz is transposed."""
    layer = awake(PlaneMixing(WIDTH))
    own, rows, columns = (0.2 * torch.randn(WIDTH, WIDTH, generator=generator(k)) for k in range(3))
    weights = torch.cat([own, rows, columns], dim=1)  # what comes from rows and from columns
    # The floor plan hears of x and z by the same weights, or a turn would change what it hears.
    plan = torch.cat([own, rows, rows], dim=1)
    layer.mix.conv.weight.data = torch.cat([weights, plan, weights])[:, :, None, None]
    layer.mix.conv.bias.data = torch.zeros(3 * WIDTH)

    def turned(triplane: torch.Tensor) -> torch.Tensor:
        xy, xz, zy = triplane.chunk(3, dim=1)
        return torch.cat([zy, xz.transpose(-1, -2), xy], dim=1)

    with torch.no_grad():
        assert torch.allclose(layer(turned(planes())), turned(layer(planes())), atol=1e-5)


def test_repeated_borders_keep_a_constant_plane_constant():
    layer = awake(GroupConv(WIDTH, WIDTH, repeat=True))
    with torch.no_grad():
        result = layer(torch.ones(1, 3 * WIDTH, SIDE, SIDE))
    assert torch.allclose(result, result[:, :, :1, :1].expand_as(result), atol=1e-5)
