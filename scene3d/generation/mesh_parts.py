"""Owns reading models for training: parts with colours out of any file that trimesh reads, upright, made solid."""

from collections.abc import Sequence
from pathlib import Path

import manifold3d
import numpy as np
import trimesh
from jaxtyping import Float
from trimesh.visual.color import ColorVisuals
from trimesh.visual.texture import TextureVisuals

from scene3d.errors import InputError, LimitExceeded
from scene3d.geometry.mesh import TriangleMesh
from scene3d.io.opening import check_plain_file
from scene3d.limits import MAX_MESH_FILE_BYTES, MAX_MESH_TRIANGLES

MESH_SUFFIXES = frozenset({".gltf", ".glb", ".ply", ".obj", ".stl"})
GREY = 0.6
"""Of what has no colour."""

_FLAT_RATIO = 0.3
"""A wide model is a tract of land when one axis is so much shorter than both others: that axis is up."""

_LAND_SIDE = 100.0
"""A model at least so wide, in its own units, is a tract of land and not a thing that stands on one."""


def find_models(folder: Path) -> list[Path]:
    """Model files below a folder, sorted.

    Raises:
        InputError: There are none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MESH_SUFFIXES and path.is_file())
    if not paths:
        endings = ", ".join(sorted(MESH_SUFFIXES))
        raise InputError("holds no models", where=folder, remedy=f"give a folder with {endings} files")
    return paths


def read_parts(path: Path) -> list[TriangleMesh]:
    """The parts of a model, each with colours, z up, standing on height 0 with its middle at x = y = 0.

    glTF says that y is up; of wide flat models the shortest axis is taken, since maps are often stored with z up.

    Raises:
        InputError: Not such a file, or nothing in it.
        LimitExceeded: Too large.
    """
    check_plain_file(path, max_bytes=MAX_MESH_FILE_BYTES)
    try:
        scene = trimesh.load_scene(path)
        found = [part for part in scene.dump(concatenate=False) if isinstance(part, trimesh.Trimesh)]
    except Exception as error:  # Readers of many formats, without a common root of their errors.
        raise InputError(f"is no usable model: {error}", where=path) from error
    parts = [_convert(part) for part in found if len(part.faces)]
    if not parts:
        raise InputError("holds no triangles", where=path)
    if sum(len(part.faces) for part in parts) > MAX_MESH_TRIANGLES:
        raise LimitExceeded(f"more than {MAX_MESH_TRIANGLES:,} triangles", where=path, remedy="simplify it")
    return stand_upright(parts)


def stand_upright(parts: Sequence[TriangleMesh]) -> list[TriangleMesh]:
    """Parts turned z up if they are y up, and moved onto the origin."""
    vertices = np.concatenate([part.vertices for part in parts])
    size = np.ptp(vertices, axis=0)
    is_map = size[2] < _FLAT_RATIO * min(size[0], size[1]) and max(size[0], size[1]) > _LAND_SIDE
    turn = np.eye(3) if is_map else np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    turned = vertices @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    base = np.array([0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), low[2]])
    return [
        TriangleMesh(vertices=part.vertices @ turn.T - base, faces=part.faces, colors=part.colors) for part in parts
    ]


def is_land(parts: Sequence[TriangleMesh]) -> bool:
    """Whether a model is a tract of land, to be cut, and not a thing, to be placed."""
    return bool(np.ptp(np.concatenate([part.vertices for part in parts])[:, :2], axis=0).min() >= _LAND_SIDE)


def unite(parts: Sequence[TriangleMesh]) -> TriangleMesh | None:
    """The union of closed parts as one watertight mesh without colours; None where a part is not closed."""
    solids = []
    for part in parts:
        mesh = manifold3d.Mesh(part.vertices.astype(np.float32), part.faces.astype(np.uint32))
        mesh.merge()
        solid = manifold3d.Manifold(mesh)
        if solid.status() != manifold3d.Error.NoError or solid.is_empty():
            return None
        solids.append(solid)
    mesh = manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add).to_mesh()
    vertices = np.asarray(mesh.vert_properties, np.float64)[:, :3]
    return TriangleMesh(vertices=vertices, faces=np.asarray(mesh.tri_verts, np.int64))


def join_meshes(parts: Sequence[TriangleMesh]) -> TriangleMesh:
    """Parts as one mesh, just put together; colours grey where a part has none."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    colors = [np.full((len(p.vertices), 3), GREY) if p.colors is None else p.colors for p in parts]
    return TriangleMesh(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, starts[:-1], strict=True)]),
        colors=np.concatenate(colors),
    )


def _convert(part: trimesh.Trimesh) -> TriangleMesh:
    return TriangleMesh(
        vertices=np.asarray(part.vertices, np.float64),
        faces=np.asarray(part.faces, np.int64),
        colors=_vertex_colors(part),
    )


def _vertex_colors(part: trimesh.Trimesh) -> Float[np.ndarray, "v 3"]:
    visual = part.visual
    if isinstance(visual, TextureVisuals):
        visual = visual.to_color()  # type: ignore[no-untyped-call]
    if not isinstance(visual, ColorVisuals):
        return np.full((len(part.vertices), 3), GREY)
    colors = np.asarray(visual.vertex_colors, np.float64)[:, :3] / 255.0
    # One colour for everything comes as a single row.
    return np.broadcast_to(colors, (len(part.vertices), 3)).copy()
