"""Owns sets of anchors: making them from points, selecting, joining, and decoding them into Gaussians."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.gaussians.decoder import Decoded, Decoder
from scene3d.gaussians.decoder_shape import DecoderShape
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.initialization import neighbour_scales

START_SPREAD = 0.1
"""Standard deviation of the first offsets, in the anchor's own size: enough to tell an anchor's Gaussians apart."""

REACH_SIGMAS = 3.5
"""Standard deviations beyond which a Gaussian draws nothing (half a step of 8 bits at full opacity lies at 3.33)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anchors:
    """a anchors, each with k Gaussians whose parameters a decoder tells from the features."""

    positions: Float[Tensor, "a 3"]
    features: Float[Tensor, "a f"]
    """The first three are the base colour, as the constant coefficient of spherical harmonics."""

    offsets: Float[Tensor, "a k 3"]
    """Of the Gaussians' centres from the anchor, in its own size."""

    log_scales: Float[Tensor, "a 6"]
    """Logarithms, world units: the unit of the offsets along x, y, z, then the largest size of the Gaussians."""

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def num_offsets(self) -> int:
        """Gaussians per anchor."""
        return self.offsets.shape[1]

    @property
    def num_gaussians(self) -> int:
        """Gaussians of all anchors."""
        return self.offsets.shape[0] * self.offsets.shape[1]

    def means(self) -> Float[Tensor, "a k 3"]:
        """Centres of the Gaussians."""
        return self.positions[:, None] + self.offsets * self.log_scales[:, None, :3].exp()

    def reach(self) -> Float[Tensor, "a"]:
        """Radius around the anchor that its Gaussians draw in, at most."""
        farthest = (self.offsets * self.log_scales[:, None, :3].exp()).norm(dim=2).amax(1)
        return farthest + REACH_SIGMAS * self.log_scales[:, 3:].exp().amax(1)

    def select(self, index: Bool[Tensor, "a"] | Int[Tensor, "m"]) -> "Anchors":
        """The anchors of a mask or index list, in order."""
        rows = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        return Anchors(**{part.name: getattr(self, part.name).index_select(0, rows) for part in fields(self)})

    def detach(self) -> "Anchors":
        """The same values outside any gradient."""
        return Anchors(**{part.name: getattr(self, part.name).detach() for part in fields(self)})

    def to(self, device: torch.device | str) -> "Anchors":
        """The same values on another device."""
        return Anchors(**{part.name: getattr(self, part.name).to(device) for part in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence["Anchors"]) -> "Anchors":
        """All anchors of several sets of one shape, in order."""
        return cls(**{part.name: torch.cat([getattr(each, part.name) for each in parts]) for part in fields(cls)})


def find_voxel(positions: Float[np.ndarray, "n 3"], ratio: float) -> float:
    """The side of a voxel: `ratio` times the median distance between nearest neighbours; 1 where there is no other.

    Points in one place count once.
    """
    places = np.unique(positions, axis=0)
    if len(places) < 2:
        return 1.0
    nearest = np.asarray(cKDTree(places).query(places, k=2)[0])[:, 1]
    return ratio * float(np.median(nearest))


def make_anchors(points: Gaussians, shape: DecoderShape, *, voxel: float, generator: torch.Generator) -> Anchors:
    """One anchor per voxel that holds points, in their middle and of their mean colour.

    Args:
        points: Gaussians as `gaussians_from_points` makes them; centres and constant colour are used.
        shape: Of the decoder the anchors are for.
        voxel: Side of a voxel, world units.
        generator: Draws features other than colour, and offsets.
    """
    positions = points.means.detach().cpu().double().numpy()
    cells = np.round(positions / voxel).astype(np.int64)
    _, owner, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    owner = owner.reshape(-1)
    centers = np.zeros((len(counts), 3))
    np.add.at(centers, owner, positions)
    centers /= counts[:, None]
    colors = np.zeros((len(counts), 3))
    np.add.at(colors, owner, points.sh[:, 0].detach().cpu().double().numpy())
    features = 0.1 * torch.randn(len(counts), shape.num_features, generator=generator)
    features[:, :3] = torch.from_numpy(colors / counts[:, None]).float()
    scales = torch.from_numpy(np.log(neighbour_scales(centers))).float()
    return Anchors(
        positions=torch.from_numpy(centers).float(),
        features=features,
        offsets=START_SPREAD * torch.randn(len(counts), shape.num_offsets, 3, generator=generator),
        log_scales=scales[:, None].repeat(1, 6),
    ).to(points.means.device)


def decode_anchors(
    anchors: Anchors, decoder: Decoder, camera: Camera | None = None, *, sh_degree: int | None = None
) -> tuple[Gaussians, Decoded]:
    """The Gaussians of all anchors, k after k, and what the heads said of them; differentiable.

    Args:
        camera: Who looks; the view mode needs one.
        sh_degree: Highest degree of colour in the static mode.
    """
    decoded = decoder(anchors.features, view_directions(anchors, camera), sh_degree=sh_degree)
    return gaussians_of(anchors, decoded), decoded


def gaussians_of(anchors: Anchors, decoded: Decoded) -> Gaussians:
    """Anchors and what the heads said of them as Gaussians, k after k."""
    return Gaussians(
        means=anchors.means().flatten(0, 1),
        quats=decoded.quats.flatten(0, 1),
        log_scales=(anchors.log_scales[:, None, 3:] + decoded.log_shares).flatten(0, 1),
        opacity_logits=decoded.opacity_logits.flatten(),
        sh=decoded.sh.flatten(0, 1),
    )


def view_directions(anchors: Anchors, camera: Camera | None) -> Float[Tensor, "a 3"] | None:
    """Unit vectors from the camera to the anchors; None without a camera."""
    if camera is None:
        return None
    center = torch.from_numpy(camera.center).to(anchors.positions)
    return torch.nn.functional.normalize(anchors.positions - center, dim=1)


IMAGE_MARGIN = 0.15
"""Share of the image on each side within which an anchor still counts as in view: projections of large Gaussians are
not exact, and a pseudo view looks a little further."""


@torch.no_grad()
def find_in_view(anchors: Anchors, camera: Camera, *, near: float, margin: float = IMAGE_MARGIN) -> Int[Tensor, "m"]:
    """Rows of the anchors that may draw into a camera's image: a ball around each against the widened frustum.

    Args:
        anchors: Detached.
        camera: Who looks.
        near: Nearest depth drawn, world units.
        margin: Share of the image added on each side.
    """
    device = anchors.positions.device
    cam_from_world = torch.from_numpy(camera.cam_from_world).to(device, torch.float32)
    x, y, z = (anchors.positions @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]).unbind(1)
    reach = anchors.reach()
    seen = z >= near - reach
    for along, focal, center, size in (
        (x, float(camera.K[0, 0]), float(camera.K[0, 2]), camera.width),
        (y, float(camera.K[1, 1]), float(camera.K[1, 2]), camera.height),
    ):
        for sign, edge in ((1.0, center + margin * size), (-1.0, (1 + margin) * size - center)):
            seen &= sign * focal * along + edge * z >= -reach * float(np.hypot(focal, edge))
    return seen.nonzero()[:, 0]
