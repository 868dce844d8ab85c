"""Owns the way from anchors to a standard Gaussian set that every viewer reads: exact, or fitted in the view mode."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.errors import SettingsError
from scene3d.gaussians.anchors import Anchors, decode_anchors, find_in_view, gaussians_of, view_directions
from scene3d.gaussians.decoder import Decoder
from scene3d.gaussians.gaussians import SH_C0, Gaussians, resize_sh
from scene3d.gaussians.transform import sh_basis, sphere_directions

NUM_DIRECTIONS = 64
"""Directions that colours are fitted to, per anchor."""

CONE_WIDENING = 1.5
"""How much wider than what the training views cover the fitted cone is, measured in solid angle."""

NARROWEST_CONE = 0.02
"""Share of the sphere that the cone covers at least."""

RIDGE = 1e-3
"""Pull of view-dependent coefficients towards zero, as a share of a direction's weight: the cone says little of
what lies outside of it."""

ANCHORS_AT_ONCE = 2048


@torch.no_grad()
def bake_anchors(anchors: Anchors, decoder: Decoder, sh_degree: int, cameras: Sequence[Camera] = ()) -> Gaussians:
    """The Gaussians of anchors as a standard set; Gaussian i belongs to anchor i // k.

    The static mode is exact. In the view mode opacity, size and rotation are those for the mean direction of the
    cameras that see the anchor, and colour is a least-squares fit over the cone of these directions.

    Args:
        anchors: What was trained.
        decoder: The student.
        sh_degree: Degree of colour of the result; what the decoder emits beyond is dropped, what lacks is zero.
        cameras: Those it was trained with; the view mode needs them.

    Raises:
        SettingsError: The view mode, and no cameras.
    """
    anchors = anchors.detach()
    if decoder.shape.mode == "static":
        gaussians, _ = decode_anchors(anchors, decoder, sh_degree=sh_degree)
        return replace(gaussians, sh=resize_sh(gaussians.sh, sh_degree))
    if not cameras:
        raise SettingsError("anchors of the view mode cannot be exported without cameras")
    axes, spreads = find_cones(anchors, cameras)
    parts = []
    for start in range(0, len(anchors), ANCHORS_AT_ONCE):
        rows = torch.arange(start, min(start + ANCHORS_AT_ONCE, len(anchors)), device=axes.device)
        parts.append(_bake_part(anchors.select(rows), decoder, axes[rows], spreads[rows], sh_degree))
    return Gaussians.concatenate(parts)


@torch.no_grad()
def find_cones(anchors: Anchors, cameras: Sequence[Camera]) -> tuple[Float[Tensor, "a 3"], Float[Tensor, "a"]]:
    """Mean direction in which each anchor is seen, and the share of the sphere that those directions take.

    An anchor that no camera sees is treated as if all did.
    """
    seen_sum = torch.zeros_like(anchors.positions)
    all_sum, count = torch.zeros_like(seen_sum), torch.zeros_like(seen_sum[:, 0])
    for camera in cameras:
        directions = view_directions(anchors, camera)
        assert directions is not None
        rows = find_in_view(anchors, camera, near=0.0, margin=0.0)
        seen_sum[rows] += directions[rows]
        all_sum += directions
        count[rows] += 1
    unseen = count == 0
    seen_sum[unseen], count[unseen] = all_sum[unseen], float(len(cameras))
    # A cap whose cosines are uniform in [1 - 2 s, 1] has the mean cosine 1 - s.
    spreads = CONE_WIDENING * (1 - seen_sum.norm(dim=1) / count)
    return torch.nn.functional.normalize(seen_sum, dim=1), spreads.clamp(NARROWEST_CONE, 1.0)


def _bake_part(
    anchors: Anchors,
    decoder: Decoder,
    axes: Float[Tensor, "a 3"],
    spreads: Float[Tensor, "a"],
    sh_degree: int,
) -> Gaussians:
    gaussians = gaussians_of(anchors, decoder(anchors.features, axes))
    directions = cone_directions(axes, spreads)  # [a, m, 3]
    num_anchors, m = directions.shape[:2]
    colors = decoder(anchors.features.repeat_interleave(m, 0), directions.flatten(0, 1)).sh
    wanted = SH_C0 * colors.reshape(num_anchors, m, -1)  # [a, m, k * 3]
    basis = sh_basis(directions.flatten(0, 1).double().cpu().numpy(), sh_degree)
    matrix = torch.from_numpy(basis).to(wanted.device).unflatten(0, (num_anchors, m))  # type: ignore[no-untyped-call]
    pull = torch.full((matrix.shape[2],), RIDGE * m, dtype=torch.float64, device=matrix.device)
    pull[0] = 0
    normal = matrix.mT @ matrix + torch.diag(pull)
    fitted = torch.linalg.solve(normal, matrix.mT @ wanted.double())  # [a, c, k * 3]
    sh = fitted.reshape(num_anchors, -1, anchors.num_offsets, 3).transpose(1, 2).flatten(0, 1)
    return replace(gaussians, sh=sh.float().contiguous())


def cone_directions(axes: Float[Tensor, "a 3"], spreads: Float[Tensor, "a"]) -> Float[Tensor, "a m 3"]:
    """Evenly spread unit directions in a cap around each axis that covers a share of the sphere."""
    spiral = torch.from_numpy(sphere_directions(NUM_DIRECTIONS)).to(axes)
    cosine = 1 - spreads[:, None] * (1 - spiral[:, 2])
    sine = (1 - cosine.square()).clamp_min(0).sqrt()
    turn = torch.nn.functional.normalize(spiral[:, :2], dim=1)
    # Any two directions across the axis: start from the coordinate axis least along it.
    least = torch.nn.functional.one_hot(axes.abs().argmin(1), 3).to(axes)
    first = torch.nn.functional.normalize(torch.linalg.cross(axes, least), dim=1)
    second = torch.linalg.cross(axes, first)
    across = turn[:, 0, None] * first[:, None] + turn[:, 1, None] * second[:, None]
    return cosine[..., None] * axes[:, None] + sine[..., None] * across
