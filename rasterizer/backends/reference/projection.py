"""Owns the projection of 3D Gaussians to 2D ones, in plain torch."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from rasterizer.constants import ALPHA_MIN, EXTENT_SIGMA_MAX, FRUSTUM_SLACK, MAX_RADIUS_PX
from rasterizer.types import Projected


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """What every camera of one call shares."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    eps2d: float
    radius_clip: float


@dataclass(frozen=True, slots=True, eq=False)
class _Splats:
    """One camera's view of some Gaussians."""

    means2d: Float[Tensor, "n 2"]
    depths: Float[Tensor, "n"]
    conics: Float[Tensor, "n 3"]
    compensations: Float[Tensor, "n"]
    variances: Float[Tensor, "n 2"]
    determinants: Float[Tensor, "n"]


def project(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    viewmats: Float[Tensor, "c 4 4"],
    Ks: Float[Tensor, "c 3 3"],
    lens: Lens,
) -> Projected:
    """Projects all Gaussians into all cameras; see `Ops.project` for what is culled and what is differentiable.

    Each camera is done twice: once without gradient, to learn what it sees, and once for those Gaussians alone.
    So whatever a culled row holds, NaN or infinity, never enters a derivative.
    """
    cameras = [
        _project_into_one(means, quats, scales, opacities.detach(), viewmats[i], Ks[i], lens)
        for i in range(viewmats.shape[0])
    ]
    return Projected(
        means2d=torch.stack([camera.means2d for camera in cameras]),
        depths=torch.stack([camera.depths for camera in cameras]),
        conics=torch.stack([camera.conics for camera in cameras]),
        compensations=torch.stack([camera.compensations for camera in cameras]),
        radii=torch.stack([camera.radii for camera in cameras]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _OneCamera:
    means2d: Float[Tensor, "n 2"]
    depths: Float[Tensor, "n"]
    conics: Float[Tensor, "n 3"]
    compensations: Float[Tensor, "n"]
    radii: Int32[Tensor, "n 2"]


def _project_into_one(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    lens: Lens,
) -> _OneCamera:
    with torch.no_grad():
        splats = _make_splats(means, quats, scales, viewmat, K, lens)
        given = torch.cat([means, quats, scales, opacities[:, None]], dim=1)
        sound = given.isfinite().all(dim=1) & _has_direction(quats)
        radii = _find_radii(splats, opacities, sound, lens)
        visible = (radii > 0).all(dim=1)
        ids = visible.nonzero()[:, 0]
    seen = _make_splats(means[ids], quats[ids], scales[ids], viewmat, K, lens)
    num = means.shape[0]
    return _OneCamera(
        means2d=_spread(seen.means2d, ids, num),
        depths=_spread(seen.depths, ids, num),
        conics=_spread(seen.conics, ids, num),
        compensations=_spread(seen.compensations, ids, num),
        radii=radii,
    )


def _make_splats(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    lens: Lens,
) -> _Splats:
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    x, y, z = (means @ rotation.T + translation).unbind(dim=1)
    # Columns are the ellipsoid's half axes in the camera frame, so that covariance = axes @ axes.T.
    axes = rotation @ (_rotations(quats) * scales[:, None, :])  # [n, 3, 3]
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    slope_x = _limit_slope(x / z, fx, cx, lens.width)
    slope_y = _limit_slope(y / z, fy, cy, lens.height)
    # Rows of Jacobian @ axes; the Jacobian of the perspective is taken at the limited slope (EWA, eq. 29).
    row_x = (fx / z)[:, None] * (axes[:, 0] - slope_x[:, None] * axes[:, 2])
    row_y = (fy / z)[:, None] * (axes[:, 1] - slope_y[:, None] * axes[:, 2])
    var_x, var_y, cov_xy = (row_x**2).sum(dim=1), (row_y**2).sum(dim=1), (row_x * row_y).sum(dim=1)
    # Lagrange's identity: the determinant of row @ row.T is the squared length of the cross product. Unlike
    # xx * yy - xy^2 it cannot come out negative for a needle.
    area = torch.linalg.vector_norm(torch.linalg.cross(row_x, row_y), dim=1)
    determinants = area**2 + lens.eps2d * (var_x + var_y) + lens.eps2d**2
    variances = torch.stack([var_x, var_y], dim=1) + lens.eps2d
    return _Splats(
        means2d=torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1),
        depths=z,
        conics=torch.stack([variances[:, 1], -cov_xy, variances[:, 0]], dim=1) / determinants[:, None],
        compensations=area / determinants.sqrt(),
        variances=variances,
        determinants=determinants,
    )


def _rotations(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    w, x, y, z = (quats / torch.linalg.vector_norm(quats, dim=1, keepdim=True)).unbind(dim=1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, dim=1).reshape(-1, 3, 3)


def _limit_slope(
    slope: Float[Tensor, "n"], focal: Float[Tensor, ""], center: Float[Tensor, ""], side: int
) -> Float[Tensor, "n"]:
    """Keeps x/z near the image, measured from the principal point, where the affine approximation still holds."""
    slack = FRUSTUM_SLACK * 0.5 * side / focal
    return torch.maximum(torch.minimum(slope, (side - center) / focal + slack), -(center / focal + slack))


def _has_direction(quats: Float[Tensor, "n 4"]) -> Bool[Tensor, "n"]:
    norm2 = (quats**2).sum(dim=1)
    return (norm2 > 0) & norm2.isfinite()


def _find_radii(
    splats: _Splats, opacities: Float[Tensor, "n"], sound: Bool[Tensor, "n"], lens: Lens
) -> Int32[Tensor, "n 2"]:
    extent = torch.sqrt(2 * torch.log(opacities / ALPHA_MIN)).clamp(max=EXTENT_SIGMA_MAX)
    radii = torch.ceil(extent[:, None] * splats.variances.sqrt()).clamp(max=MAX_RADIUS_PX)
    corner = torch.tensor([lens.width, lens.height], dtype=radii.dtype, device=radii.device)
    values = torch.cat([splats.means2d, splats.conics, splats.compensations[:, None], radii], dim=1)
    visible = (
        sound
        & values.isfinite().all(dim=1)
        & (splats.depths >= lens.near_plane)
        & (splats.depths <= lens.far_plane)
        & (splats.determinants > 0)
        & (opacities >= ALPHA_MIN)
        & (radii > lens.radius_clip).any(dim=1)
        & (splats.means2d + radii > 0).all(dim=1)
        & (splats.means2d - radii < corner).all(dim=1)
    )
    # A NaN has no integer; it is replaced before the conversion, not after.
    return torch.where(visible[:, None], radii, torch.zeros_like(radii)).to(torch.int32)


def _spread(rows: Tensor, ids: Tensor, num: int) -> Tensor:
    """Puts rows in their places among `num`, zeros elsewhere; the gradient takes the same way back."""
    return rows.new_zeros((num, *rows.shape[1:])).index_copy(0, ids, rows)
