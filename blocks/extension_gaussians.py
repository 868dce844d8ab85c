"""Owns making Gaussians of new territory: its surface, colours that match, and none that a photograph would show."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from blocks.extension_border import Canvas
from blocks.extension_seam import ColorPairs
from blocks.extension_settings import ExtendSettings
from blocks.old_views import keep_photographs
from scene3d.cameras.camera import Camera
from scene3d.events import Reporter
from scene3d.fusion.redistancing import paint_nearest
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.surface_sampling import SurfaceSamples, make_flat_gaussians, sample_surface
from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.mesh import TriangleMesh
from scene3d.geometry.voxels import VoxelField
from scene3d.seeding import make_numpy_generator

FINEST_SHARE, COARSEST_SHARE = 1 / 256, 1 / 48
"""Bounds of the spacing of samples, in edges of a cell."""

MIN_OPACITY = 0.5
"""Gaussians fainter than this say nothing about how dense a surface is covered."""

BAND = (0.5, 1.0)
"""Share of known voxels around a place between which new samples thin out: half a voxel inside what is known."""

KEPT_SHARE = 0.75
"""A surface with more known voxels than this around it must not change in photographs."""

MATCH_REACH = 3 / 32
"""New surface this near to what is known is matched to it, in edges of a cell."""

MIN_PAIRS = 20
MATCH_RIDGE = 0.05
"""How strongly the colour map holds on to leaving colours as they are, per pair."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewGaussians:
    """What is added to a scene."""

    gaussians: Gaussians
    """World frame."""

    mesh: TriangleMesh
    """Surface of the new territory, in the canvas' frame."""

    color_pairs: ColorPairs
    """New colours at the border and the known ones beside them."""

    facts: dict[str, Any]
    """Counts and figures for the record."""


def make_new_gaussians(
    known: VoxelField,
    filled: VoxelField,
    canvas: Canvas,
    scene: Gaussians,
    cameras: Sequence[Camera],
    settings: ExtendSettings,
    *,
    reporter: Reporter,
) -> NewGaussians:
    """Gaussians of the surface where a canvas was not known before.

    Args:
        known: The canvas as it was.
        filled: The canvas with new cells.
        canvas: Where it lies.
        scene: The photographed Gaussians, world frame.
        cameras: Of the photographs.
        settings: Their seed, and what of the photographs must not change.
        reporter: Hears of the progress.
    """
    generator = make_numpy_generator(settings.seed, "surface samples")
    mesh = extract_mesh(_painted(known, filled))
    share = known_share(known, mesh.vertices)
    new_mesh = _keep_faces(mesh, (share[mesh.faces] < BAND[1]).any(axis=1))
    matrix, color_pairs = match_colors(mesh, share, MATCH_REACH * canvas.grid.cell_edge)
    if new_mesh.colors is not None:
        new_mesh = replace(new_mesh, colors=apply_color_map(matrix, new_mesh.colors))
    spacing = find_spacing(scene, canvas)
    samples = sample_surface(new_mesh, spacing, generator=generator)
    samples = samples.select(_dither(known_share(known, samples.points), generator))
    gaussians = make_flat_gaussians(_lifted(samples, canvas), sh_degree=scene.sh_degree)

    def shows_known(points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        places = canvas.lower(points)
        return ~canvas.covers(places) | (known_share(known, places) >= KEPT_SHARE)

    is_kept = None if settings.keep == "views" else shows_known
    kept, old_views = keep_photographs(scene, gaussians, cameras, is_kept, reporter=reporter)
    facts = {
        "spacing": spacing,
        "color_map": matrix.tolist(),
        "num_color_pairs": len(color_pairs.new),
        "num_samples": len(gaussians),
        "num_in_photographs": int((~kept).sum()),
        "keep": settings.keep,
        "old_views": asdict(old_views),
    }
    return NewGaussians(gaussians=gaussians.select(kept), mesh=new_mesh, color_pairs=color_pairs, facts=facts)


def known_share(known: VoxelField, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """How much of what surrounds a place was known: trilinear, 0 to 1."""
    places = known.to_voxels(points).T - 0.5
    return np.asarray(map_coordinates(known.known.astype(np.float32), places, order=1, mode="nearest"))


def find_spacing(scene: Gaussians, canvas: Canvas) -> float:
    """Of new samples, world units: about what lies between the photographed Gaussians at the border."""
    edge = canvas.grid.cell_edge
    solid = scene.means[scene.opacities > MIN_OPACITY].double().numpy()
    box = canvas.box
    places = canvas.lower(solid)
    high = box.origin + np.array(box.shape) * box.voxel_size
    near = solid[((places >= box.origin) & (places < high)).all(axis=1)]
    if len(near) < 2:
        return COARSEST_SHARE * edge
    gaps = np.asarray(cKDTree(near).query(near, k=2)[0])[:, 1]
    return float(np.clip(np.median(gaps), FINEST_SHARE * edge, COARSEST_SHARE * edge))


def match_colors(
    mesh: TriangleMesh, share: Float[np.ndarray, "v"], reach: float
) -> tuple[Float[np.ndarray, "3 4"], ColorPairs]:
    """The affine map of colours that makes new surface at the border look like the known surface beside it.

    Closed form: least squares over pairs of a new vertex and the nearest known one, held back towards the identity.

    Args:
        mesh: Surface of known and new.
        share: How much of what surrounds each vertex was known.
        reach: From a new vertex to its known one, world units.

    Returns:
        The map, and the pairs, the new colours mapped already.
    """
    identity = np.eye(3, 4)
    new, old = np.flatnonzero(share < 0.5), np.flatnonzero(share >= 0.5)
    if mesh.colors is None or len(new) == 0 or len(old) == 0:
        return identity, ColorPairs.none()
    gaps, rows = cKDTree(mesh.vertices[old]).query(mesh.vertices[new], distance_upper_bound=reach)
    paired = np.isfinite(gaps)
    source, target = mesh.colors[new[paired]], mesh.colors[old[rows[paired]]]
    pairs = ColorPairs(source, target, mesh.vertices[new[paired]])
    if len(source) < MIN_PAIRS:
        return identity, pairs
    terms = np.concatenate([source, np.ones((len(source), 1))], axis=1)
    ridge = MATCH_RIDGE * len(source) * np.diag([1.0, 1.0, 1.0, 0.1])
    matrix = np.linalg.solve(terms.T @ terms + ridge, terms.T @ target + ridge @ identity.T).T
    return matrix, pairs._replace(new=apply_color_map(matrix, source))


def apply_color_map(matrix: Float[np.ndarray, "3 4"], colors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Colours through an affine map, kept in 0 to 1."""
    return np.clip(colors @ matrix[:, :3].T + matrix[:, 3], 0.0, 1.0)


def _painted(known: VoxelField, filled: VoxelField) -> VoxelField:
    """The filled canvas with colours where what was known has none: inside of matter, where new surface may begin."""
    colored = filled.known & ~(known.known & (np.abs(known.sdf) >= known.truncation))
    return replace(filled, rgb=paint_nearest(filled.rgb, colored))


def _keep_faces(mesh: TriangleMesh, kept: Bool[np.ndarray, "f"]) -> TriangleMesh:
    faces = mesh.faces[kept]
    used, renumbered = np.unique(faces, return_inverse=True)
    return TriangleMesh(
        vertices=mesh.vertices[used],
        faces=renumbered.reshape(-1, 3).astype(np.int64),
        colors=None if mesh.colors is None else mesh.colors[used],
    )


def _dither(share: Float[np.ndarray, "n"], generator: np.random.Generator) -> Bool[np.ndarray, "n"]:
    """Fewer and fewer samples across the border: density fades, not opacity."""
    wanted = np.clip((BAND[1] - share) / (BAND[1] - BAND[0]), 0, 1)
    return np.asarray(generator.random(len(share)) < wanted)


def _lifted(samples: SurfaceSamples, canvas: Canvas) -> SurfaceSamples:
    return replace(samples, points=canvas.lift(samples.points), normals=canvas.turn(samples.normals))
