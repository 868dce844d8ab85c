"""Owns training sites out of an observed field: a scene's own voxels, turned by any angle about the vertical."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.ndimage import uniform_filter

from scene3d.errors import InputError
from scene3d.generation.sites import Site, make_site, site_columns
from scene3d.generation.spec import GeneratorSpec
from scene3d.generation.voxel_tensors import values_from_field
from scene3d.geometry.voxels import VoxelField
from scene3d.seeding import make_numpy_generator

OBSERVED_COLUMN = 0.5
"""A column of voxels counts as observed when this share of it is known."""

OBSERVED_BLOCK = 0.75
"""A site stands around a place where this share of a block's columns is observed."""

MIN_PLACES = 0.25
"""There must be so many such places, in floor areas of a block: with fewer, every site would show the same."""


class FieldSites:
    """Makes sites of one field.

    Args:
        field: One block high, over level ground, with what of it is known.
        spec: The blocks that will be cut out of the sites.
        seed: Of the places and turns.

    Raises:
        InputError: Its height is not a block's, or it knows too little ground.
    """

    def __init__(self, field: VoxelField, spec: GeneratorSpec, seed: int) -> None:
        if field.shape[2] != spec.block_voxels:
            raise InputError(f"the field is {field.shape[2]} voxels high, and blocks are {spec.block_voxels}")
        self._values, self._known = values_from_field(field, spec), field.known
        self._spec, self._seed = spec, seed
        self._places = find_places(field.known, spec)
        if len(self._places) < MIN_PLACES * spec.block_voxels**2:
            share = field.known.mean()
            raise InputError(
                f"it shows too little ground to learn from: {len(self._places):,} places where most of a block is "
                f"observed, {share:.0%} of all voxels",
                remedy="take smaller blocks with --edge, or a scene that shows more",
            )

    def make(self, number: int) -> Site:
        """The site of that number: around a random place, turned at random. Nothing is said of classes."""
        dice = make_numpy_generator(self._seed, f"field site {number}")
        middle = self._places[int(dice.integers(len(self._places)))] + dice.uniform(0.0, 1.0, 2)
        columns = turned_columns(site_columns(self._spec), middle, dice.uniform(0.0, 2.0 * np.pi))
        values, known = sample_columns(self._values, self._known, columns)
        nothing = np.full(values.shape[:2], -1)
        return make_site(values[..., 0], values[..., 1:], nothing, known)


def find_places(known: Bool[np.ndarray, "x y z"], spec: GeneratorSpec) -> Int[np.ndarray, "n 2"]:
    """Columns around which most of a block's columns are observed."""
    observed = (known.mean(axis=2) >= OBSERVED_COLUMN).astype(np.float64)
    around = uniform_filter(observed, spec.block_voxels, mode="constant")
    return np.argwhere((around >= OBSERVED_BLOCK) & (observed > 0))


def turned_columns(side: int, middle: Float[np.ndarray, "2"], angle_rad: float) -> Float[np.ndarray, "s s 2"]:
    """Where the columns of a turned square stand, in voxels of the field: (i + 0.5, j + 0.5) is a column's middle."""
    axis = np.arange(side) - (side - 1) / 2.0
    across = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return across @ np.array([[cosine, sine], [-sine, cosine]]) + middle


def sample_columns(
    values: Float32[np.ndarray, "x y z 4"], known: Bool[np.ndarray, "x y z"], columns: Float[np.ndarray, "s s 2"]
) -> tuple[Float[np.ndarray, "s s z 4"], Bool[np.ndarray, "s s z"]]:
    """Values between columns, and what of them is known: where all four columns around are, at that height.

    Distances are bilinear; colours count where a surface is near. What is unknown is free and black.
    """
    low = np.floor(columns - 0.5).astype(np.int64)
    part = columns - 0.5 - low
    shape = (*columns.shape[:2], values.shape[2])
    distance, color, weight = np.zeros(shape), np.zeros((*shape, 3)), np.zeros(shape)
    told = np.ones(shape, bool)
    for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
        place = low + step
        inside = np.all((place >= 0) & (place < known.shape[:2]), axis=-1, keepdims=True)
        x, y = np.moveaxis(np.clip(place, 0, np.array(known.shape[:2]) - 1), -1, 0)
        share = np.where(np.array(step) == 1, part, 1.0 - part).prod(axis=-1)[..., None]
        corner = values[x, y]
        near = np.where(np.abs(corner[..., 0]) < 1.0, share, 0.0)
        distance += share * corner[..., 0]
        color += near[..., None] * corner[..., 1:]
        weight += near
        told &= known[x, y] & inside
    color /= np.maximum(weight, 1e-9)[..., None]
    distance = np.where(told, distance, 1.0)
    color = np.where((told & (np.abs(distance) < 1.0))[..., None], color, 0.0)
    return np.concatenate([distance[..., None], color], axis=-1), told
