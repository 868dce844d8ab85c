"""Owns turning a mesh into Gaussians: samples spread evenly over the surface, and a flat Gaussian on each."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from scene3d.errors import InputError, LimitExceeded
from scene3d.gaussians.gaussians import SH_C0, Gaussians, resize_sh
from scene3d.geometry.mesh import TriangleMesh
from scene3d.limits import MAX_POINTS

DISK = 0.77
"""No two samples are closer than this, in units of the spacing; filled up, there is about one for each square of it."""

IN_PLANE = 0.7
"""Deviation along the surface in units of the spacing: at 0.6 the surface shows holes, at 0.8 it is blurred more."""

ACROSS = 0.05
"""Deviation across the surface in units of the spacing."""

DEPTH_SHARE = 0.1
"""Centres lie so far below the surface, in units of the spacing: what is drawn is then on it."""

OPACITY = 0.95

FINEST = 0.5
"""At sharp edges samples lie so much closer, at most."""

_CANDIDATES = (1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0)
"""Darts of each round, for every sample that an even spread would have: later ones find the last gaps."""

_NEIGHBOURS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfaceSamples:
    """Points spread over a surface."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    """Unit, outward."""

    colors: Float[np.ndarray, "n 3"]
    spacing: Float[np.ndarray, "n"]
    """Root of the area for each, world units: smaller where the surface is curved."""

    def __len__(self) -> int:
        return len(self.points)

    def select(self, rows: Bool[np.ndarray, "n"] | Int[np.ndarray, "m"]) -> "SurfaceSamples":
        """Some of the samples."""
        return SurfaceSamples(
            points=self.points[rows], normals=self.normals[rows], colors=self.colors[rows], spacing=self.spacing[rows]
        )


def sample_surface(mesh: TriangleMesh, spacing: float, *, generator: np.random.Generator) -> SurfaceSamples:
    """A maximal Poisson-disk sample (Cook 1986): no two samples are closer than `DISK`, and no room is left.

    Of two samples that face different ways neither crowds the other out, so that both sides of a thin wall and both
    sides of an edge are covered. Where the surface is curved the spacing shrinks, down to `FINEST` of it.

    Args:
        mesh: Any; triangles without area are not hit.
        spacing: Root of the area for each sample on a plane, world units.
        generator: Source of all randomness.

    Raises:
        InputError: The spacing is not positive.
        LimitExceeded: More samples than are accepted.
    """
    if not spacing > 0:
        raise InputError(f"the spacing of samples is {spacing}; it must be positive")
    surface = _Surface.of(mesh, spacing)
    if surface.num_expected > MAX_POINTS:
        raise LimitExceeded(f"about {surface.num_expected:,.0f} samples are too many", remedy="use a larger spacing")
    taken = _none()
    for share in _CANDIDATES:
        darts = surface.throw(int(np.ceil(share * surface.num_expected)), generator)
        darts = darts.select(~_crowded(darts, taken, spacing))
        darts = darts.select(_thin_out(darts, spacing))
        if len(darts):
            taken = _joined(taken, darts)
    return taken


def make_flat_gaussians(samples: SurfaceSamples, *, sh_degree: int) -> Gaussians:
    """A flat, nearly opaque Gaussian on each sample, in its plane.

    Its deviations are 0.7, 0.7 and 0.05 of the spacing, its centre lies a tenth of it below the surface. Its colour
    does not depend on the view.

    Args:
        samples: In the frame of the result.
        sh_degree: Of the result; coefficients above degree 0 are zero.
    """
    spacing = samples.spacing[:, None]
    means = samples.points - DEPTH_SHARE * spacing * samples.normals
    scales = spacing * np.array([IN_PLANE, IN_PLANE, ACROSS])
    quats = _rotations_onto(samples.normals).as_quat()[:, [3, 0, 1, 2]]
    constant = torch.from_numpy((samples.colors - 0.5) / SH_C0).float()
    return Gaussians(
        means=torch.from_numpy(means).float(),
        quats=torch.from_numpy(quats).float(),
        log_scales=torch.from_numpy(np.log(scales)).float(),
        opacity_logits=torch.full((len(samples),), float(np.log(OPACITY / (1 - OPACITY)))),
        sh=resize_sh(constant[:, None], sh_degree),
    )


def vertex_normals(mesh: TriangleMesh) -> Float[np.ndarray, "v 3"]:
    """Unit normals at the vertices: the mean of the triangles around, by their area; zero at vertices of none."""
    corners = mesh.vertices[mesh.faces]
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(sums, mesh.faces[:, corner], areas)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """A mesh that darts are thrown at."""

    mesh: TriangleMesh
    normals: Float[np.ndarray, "v 3"]
    spacing: Float[np.ndarray, "v"]
    cumulative: Float[np.ndarray, "f"]
    """Sums of the triangles' areas, in units of the squared spacing there."""

    @classmethod
    def of(cls, mesh: TriangleMesh, spacing: float) -> "_Surface":
        normals = vertex_normals(mesh)
        local = spacing * _fineness(mesh, normals, spacing)
        corners = mesh.vertices[mesh.faces]
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
        share = areas / local[mesh.faces].mean(axis=1) ** 2 if len(areas) else areas
        return cls(mesh, normals, local, np.cumsum(share))

    @property
    def num_expected(self) -> float:
        """About as many samples as fit."""
        return float(self.cumulative[-1]) if len(self.cumulative) else 0.0

    def throw(self, count: int, generator: np.random.Generator) -> SurfaceSamples:
        """Places at random, evenly by the number of samples that fit."""
        if count == 0:
            return _none()
        faces = np.searchsorted(self.cumulative, generator.random(count) * self.cumulative[-1], side="right")
        rows = self.mesh.faces[np.minimum(faces, len(self.cumulative) - 1)]
        first, second = generator.random((2, count))
        root = np.sqrt(first)
        weights = np.stack([1 - root, root * (1 - second), root * second], axis=1)

        def mix(values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "n c"]:
            return np.einsum("nc,nck->nk", weights, values[rows])

        normals = mix(self.normals)
        colors = np.full((count, 3), 0.5) if self.mesh.colors is None else mix(self.mesh.colors)
        return SurfaceSamples(
            points=mix(self.mesh.vertices),
            normals=normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12),
            colors=colors,
            spacing=mix(self.spacing[:, None])[:, 0],
        )


def _fineness(mesh: TriangleMesh, normals: Float[np.ndarray, "v 3"], spacing: float) -> Float[np.ndarray, "v"]:
    """What the spacing shrinks by at each vertex, so that no deviation exceeds half the radius of curvature."""
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    turns = np.linalg.norm(normals[edges[:, 0]] - normals[edges[:, 1]], axis=1)
    curvature = np.zeros(len(mesh.vertices))
    bent = np.divide(turns, lengths, out=np.zeros_like(turns), where=lengths > 0.05 * spacing)
    for end in (0, 1):
        np.maximum.at(curvature, edges[:, end], bent)
    return np.clip(0.5 / np.maximum(curvature, 1e-12) / (IN_PLANE * spacing), FINEST, 1.0)


def _features(samples: SurfaceSamples, spacing: float) -> Float[np.ndarray, "n 6"]:
    """Places and normals in one space, in units of the disk: what faces the other way is two disks off."""
    return np.concatenate([samples.points / (DISK * spacing), samples.normals], axis=1)


def _crowded(darts: SurfaceSamples, taken: SurfaceSamples, spacing: float) -> Bool[np.ndarray, "n"]:
    """Which darts are too close to a sample."""
    if len(taken) == 0 or len(darts) == 0:
        return np.zeros(len(darts), bool)
    count = min(_NEIGHBOURS, len(taken))
    tree = cKDTree(_features(taken, spacing))
    gaps, rows = tree.query(_features(darts, spacing), k=count, distance_upper_bound=1.0)
    gaps, rows = gaps.reshape(-1, count), rows.reshape(-1, count)
    reach = np.append(taken.spacing, 0.0)[rows] / spacing
    return np.asarray((gaps < np.minimum(reach, darts.spacing[:, None] / spacing)).any(axis=1))


def _thin_out(darts: SurfaceSamples, spacing: float) -> Int[np.ndarray, "m"]:
    """Rows of darts of which no two are too close and every other one is too close to one: first come, first served."""
    if len(darts) == 0:
        return np.zeros(0, np.int64)
    features = _features(darts, spacing)
    pairs = cKDTree(features).query_pairs(1.0, output_type="ndarray")
    gaps = np.linalg.norm(features[pairs[:, 0]] - features[pairs[:, 1]], axis=1)
    pairs = pairs[gaps < np.minimum(darts.spacing[pairs[:, 0]], darts.spacing[pairs[:, 1]]) / spacing]
    # Darts come in random order, so that their numbers are their priorities: a dart stays when all earlier ones near
    # it are out, and is out when one of them stays. Whole generations are decided at once.
    undecided = np.ones(len(darts), bool)
    stays = np.zeros(len(darts), bool)
    pairs = np.sort(pairs, axis=1)
    while undecided.any():
        blocked = np.zeros(len(darts), bool)
        blocked[pairs[:, 1]] = True
        new = undecided & ~blocked
        stays |= new
        out = np.zeros(len(darts), bool)
        out[pairs[new[pairs[:, 0]], 1]] = True
        undecided &= ~new & ~out
        pairs = pairs[undecided[pairs[:, 0]] & undecided[pairs[:, 1]]]
    return np.flatnonzero(stays)


def _rotations_onto(normals: Float[np.ndarray, "n 3"]) -> Rotation:
    """Turns whose third axis is the normal; how they are turned about it does not matter."""
    helper = np.where(np.abs(normals[:, :1]) < 0.7, np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]))
    first = np.cross(helper, normals)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    axes = np.stack([first, np.cross(normals, first), normals], axis=2)
    return Rotation.from_matrix(axes) if len(normals) else Rotation.identity(0)


def _none() -> SurfaceSamples:
    return SurfaceSamples(
        points=np.zeros((0, 3)), normals=np.zeros((0, 3)), colors=np.zeros((0, 3)), spacing=np.zeros(0)
    )


def _joined(first: SurfaceSamples, second: SurfaceSamples) -> SurfaceSamples:
    return SurfaceSamples(
        points=np.concatenate([first.points, second.points]),
        normals=np.concatenate([first.normals, second.normals]),
        colors=np.concatenate([first.colors, second.colors]),
        spacing=np.concatenate([first.spacing, second.spacing]),
    )
