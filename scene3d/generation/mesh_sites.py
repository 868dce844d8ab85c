"""Owns training sites out of models: things placed on level ground as in a village, and tracts of land cut to size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from scene3d.errors import InputError, Scene3dError
from scene3d.events import Reporter
from scene3d.generation.mesh_parts import find_models, is_land, join_meshes, read_parts, unite
from scene3d.generation.mesh_voxels import find_crossings, voxelise
from scene3d.generation.sites import Site, fit_level, make_site, site_columns
from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.mesh import TriangleMesh
from scene3d.geometry.voxels import VoxelField
from scene3d.seeding import make_numpy_generator

_LOTS = 5
"""Lots along each side of a site."""

_LOT_FILLED = (0.45, 0.85)
"""Share of its lot that a thing's wider side takes."""

_LOT_EMPTY = 0.25
_GROUND_COLOR = np.array([0.42, 0.46, 0.32])
_LEVEL_QUANTILE = 0.2
_LEVEL_ROUNDS = 4
_STEEP = 0.25
"""A site whose heights span more than this share of its side lies on a slope."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model ready to be made into voxels."""

    name: str
    solid: TriangleMesh
    """Its union; where it could not be closed, its parts put together."""

    colored: TriangleMesh
    closed: bool
    land: bool


def load_models(folder: Path, reporter: Reporter) -> list[Model]:
    """Every usable model below a folder; what cannot be used is told.

    Raises:
        InputError: None can be used.
    """
    models = []
    for path in find_models(folder):
        try:
            parts = read_parts(path)
        except Scene3dError as error:
            reporter.note(f"left out: {error}", level="warning")
            continue
        land = is_land(parts)
        solid = None if land else unite(parts)
        joined = join_meshes(parts)
        models.append(Model(path.name, solid or joined, joined, solid is not None, land))
    if not models:
        raise InputError("no model in it can be used", where=folder)
    things = sum(not model.land for model in models)
    open_things = sum(not model.land and not model.closed for model in models)
    reporter.note(
        f"{things} things ({open_things} not closed: solid below their surface), {len(models) - things} lands"
    )
    return models


def make_mesh_site(spec: GeneratorSpec, models: Sequence[Model], seed: int, number: int) -> Site:
    """One site: a cut of a tract of land, or things on a plain; lands and things take turns where there are both."""
    dice = make_numpy_generator(seed, f"mesh site {number}")
    lands = [model for model in models if model.land]
    things = [model for model in models if not model.land]
    if lands and (not things or number % 2 == 0):
        return _cut_land(spec, lands[int(dice.integers(len(lands)))], dice)
    return _place_things(spec, things, dice)


def _cut_land(spec: GeneratorSpec, model: Model, dice: np.random.Generator) -> Site:
    """A cut around a random triangle, over ground that is levelled as in the procedural world."""
    side, size = site_columns(spec), spec.voxel_m
    mesh = model.solid
    middle = mesh.vertices[mesh.faces[int(dice.integers(len(mesh.faces)))], :2].mean(axis=0)
    corner = middle - (0.5 + 0.3 * (dice.random(2) - 0.5)) * side * size
    part = _cut(mesh, corner - 4 * size, corner + (side + 4) * size)
    shape, origin = (side, side, spec.block_voxels), np.array([*corner, 0.0])
    level = _find_level(part, shape[:2], origin, size)
    origin[2] = spec.height_range[0] * spec.block_voxels * size
    field = voxelise(part, shape, origin, size, truncation=spec.truncation_voxels * size, fill_below=True, level=level)
    return _site_on_ground(field, spec)


def _find_level(
    mesh: TriangleMesh, shape: tuple[int, int], origin: Float[np.ndarray, "3"], voxel_size: float
) -> Float[np.ndarray, "x y"]:
    """Height of smooth ground under each column: a quadratic surface under what rises above it."""
    columns, heights = find_crossings(mesh, shape, origin, voxel_size)
    if len(columns) == 0:
        return np.zeros(shape)
    top = np.full(shape, -np.inf)
    np.maximum.at(top, (columns[:, 0], columns[:, 1]), (heights + 0.5) * voxel_size)
    where = np.argwhere(np.isfinite(top))
    height = top[tuple(where.T)]
    chosen = height <= np.quantile(height, _LEVEL_QUANTILE) + 2.0 * voxel_size
    if np.ptp(height) > _STEEP * len(top) * voxel_size:
        chosen = np.ones(len(height), bool)  # a slope: its low end alone says nothing of it
    for _ in range(_LEVEL_ROUNDS):
        level = fit_level(where[chosen].astype(np.float64), height[chosen], where.astype(np.float64))
        chosen = height <= level + voxel_size
        if chosen.sum() < 50:
            break
    grid = np.argwhere(np.ones(shape, bool)).astype(np.float64)
    chosen = chosen if chosen.any() else np.ones(len(height), bool)
    return fit_level(where[chosen].astype(np.float64), height[chosen], grid).reshape(shape)


def _place_things(spec: GeneratorSpec, things: Sequence[Model], dice: np.random.Generator) -> Site:
    side, size = site_columns(spec), spec.voxel_m
    shape, lot = (side, side, spec.block_voxels), side / _LOTS * size
    origin = np.array([0.0, 0.0, spec.height_range[0] * spec.block_voxels * size])
    truncation = spec.truncation_voxels * size
    sdf, rgb = np.full(shape, truncation), np.zeros((*shape, 3))
    for index in range(_LOTS * _LOTS):
        if dice.random() < _LOT_EMPTY:
            continue
        model = things[int(dice.integers(len(things)))]
        middle = (np.array(divmod(index, _LOTS)) + 0.5) * lot
        share = dice.uniform(*_LOT_FILLED)
        pose = _make_pose(model, middle, lot * share, int(dice.integers(4)))
        _add(sdf, rgb, model, pose, (origin, size, truncation))
    field = VoxelField(
        sdf=sdf, rgb=rgb, known=np.ones(shape, bool), origin=origin, voxel_size=size, truncation=truncation
    )
    return _site_on_ground(field, spec)


@dataclass(frozen=True, slots=True, eq=False)
class _Pose:
    turn: Float[np.ndarray, "3 3"]
    scale: float
    place: Float[np.ndarray, "3"]

    def apply(self, mesh: TriangleMesh) -> TriangleMesh:
        vertices = self.scale * mesh.vertices @ self.turn.T + self.place
        return TriangleMesh(vertices=vertices, faces=mesh.faces, colors=mesh.colors)


def _make_pose(model: Model, middle: Float[np.ndarray, "2"], width: float, quarter: int) -> _Pose:
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarter]
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    extent = np.ptp(model.solid.vertices, axis=0)
    return _Pose(turn, width / max(float(extent[:2].max()), float(extent[2]) / 1.5, 1e-9), np.array([*middle, 0.0]))


def _add(
    sdf: Float[np.ndarray, "x y z"],
    rgb: Float[np.ndarray, "x y z 3"],
    model: Model,
    pose: _Pose,
    grid: tuple[Float[np.ndarray, "3"], float, float],
) -> None:
    """Put a thing into the voxels around it."""
    origin, size, truncation = grid
    solid = pose.apply(model.solid)
    reach = int(np.ceil(truncation / size)) + 1
    low = np.floor((solid.vertices.min(axis=0) - origin) / size).astype(np.int64) - reach
    high = np.ceil((solid.vertices.max(axis=0) - origin) / size).astype(np.int64) + reach
    low, high = np.clip(low, 0, sdf.shape), np.clip(high, 0, sdf.shape)
    if (high <= low).any():
        return
    x, y, z = (int(n) for n in high - low)
    part = voxelise(
        solid,
        (x, y, z),
        origin + low * size,
        size,
        truncation=truncation,
        fill_below=not model.closed,
        colored=pose.apply(model.colored),
    )
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    nearer = part.sdf < sdf[window]
    sdf[window] = np.where(nearer, part.sdf, sdf[window])
    rgb[window] = np.where(nearer[..., None], part.rgb, rgb[window])


def _site_on_ground(field: VoxelField, spec: GeneratorSpec) -> Site:
    """A site of a field with level ground under it, capped below the block's top."""
    height = field.centers()[..., 2]
    level = field.origin[2] - spec.height_range[0] * spec.block_voxels * field.voxel_size
    ground = np.clip(height - level, -field.truncation, field.truncation)
    is_ground = ground < field.sdf
    sdf = np.minimum(field.sdf, ground)
    rgb = np.where(is_ground[..., None], _GROUND_COLOR, field.rgb)
    top = level + (spec.height_range[1] * spec.block_voxels - 1.5) * field.voxel_size
    sdf = np.maximum(sdf, np.minimum(height - top, field.truncation))
    rgb = np.where(np.abs(sdf)[..., None] < field.truncation, rgb, 0.0)
    return make_site(sdf / field.truncation, rgb, np.full(sdf.shape[:2], -1))


def _cut(mesh: TriangleMesh, low: Float[np.ndarray, "2"], high: Float[np.ndarray, "2"]) -> TriangleMesh:
    """Triangles that reach into a rectangle."""
    corners = mesh.vertices[mesh.faces][..., :2]
    keep = ((corners.max(axis=1) >= low) & (corners.min(axis=1) <= high)).all(axis=1)
    return TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[keep], colors=mesh.colors)
