"""Owns triangle meshes on disk: binary PLY in double, and GLB for everything that shows glTF."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Float32, Int, UInt8

from scene3d.errors import InputError, LimitExceeded, SettingsError
from scene3d.geometry.mesh import TriangleMesh
from scene3d.io.atomic import make_folder, replace_file
from scene3d.io.opening import check_plain_file
from scene3d.limits import MAX_MESH_FILE_BYTES

MESH_SUFFIXES = (".ply", ".glb")
"""What is written."""

_READ_SUFFIXES = (*MESH_SUFFIXES, ".obj", ".stl", ".off")
_GREY = 0.5
_GLB_MAGIC, _GLB_VERSION, _GLB_JSON, _GLB_BINARY = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_GLTF_FLOAT, _GLTF_UINT32 = 5126, 5125
_GLTF_Y_UP = (-np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5))
"""The turn (xyzw) that brings our z up to glTF's y up."""


def write_mesh(path: Path, mesh: TriangleMesh, *, comments: Sequence[str] = ()) -> None:
    """Write a mesh whole; its suffix is the format.

    A .ply keeps coordinates in double and colours in 8 bits. A .glb keeps positions around the middle in float32 and
    the middle itself in double, y up as glTF wants it, colours linear and unlit.

    Args:
        path: Ends with .ply or .glb; its folder is made.
        mesh: Grey where it has no colours.
        comments: Lines for people, kept in the file.

    Raises:
        SettingsError: Another suffix.
        InputError: Numbers that are not finite, or a path that cannot be written.
        LimitExceeded: The disk is full.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        known = " or ".join(MESH_SUFFIXES)
        raise SettingsError(f"cannot write a mesh as '{path.suffix}'", where=path, remedy=f"use {known}")
    if not np.isfinite(mesh.vertices).all() or (mesh.colors is not None and not np.isfinite(mesh.colors).all()):
        raise InputError("the mesh holds numbers that are not finite", where=path)
    make_folder(path.parent)
    with replace_file(path) as temporary:
        temporary.write_bytes(writer(mesh, comments))


def read_mesh(path: Path) -> TriangleMesh:
    """Read a PLY, GLB, OBJ, STL or OFF as one mesh, z up; colours where its vertices have some.

    Raises:
        InputError: Not such a file, damaged, or without a triangle.
        LimitExceeded: Larger than is accepted.
    """
    if path.suffix.lower() not in _READ_SUFFIXES:
        raise InputError("is no mesh", where=path, remedy=f"give one of {', '.join(_READ_SUFFIXES)}")
    check_plain_file(path, max_bytes=MAX_MESH_FILE_BYTES)
    try:
        vertices, faces, colors = _joined(trimesh.load_scene(path, process=False))
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to read this mesh", where=path) from error
    except Exception as error:  # the parsers of a dozen formats have no common error
        raise InputError(f"is no usable mesh: {error}", where=path) from error
    if len(faces) == 0 or not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError("holds no triangle, or one of corners that are not there", where=path)
    if path.suffix.lower() == ".glb":
        vertices = vertices[:, [0, 2, 1]] * (1.0, -1.0, 1.0)
        colors = None if colors is None else _srgb_from_linear(colors)
    return TriangleMesh(vertices=vertices, faces=faces, colors=colors)


def _joined(
    scene: Any,
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"], Float[np.ndarray, "v 3"] | None]:
    """All triangles of a scene in its own frame; colours if every part has some."""
    vertices, faces, colors = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        part = scene.geometry[name]
        if hasattr(part, "faces"):
            faces.append(np.asarray(part.faces, np.int64) + sum(len(each) for each in vertices))
            vertices.append(trimesh.transform_points(np.asarray(part.vertices, np.float64), transform))
            colors.append(_colors_of(part))
    known = [each for each in colors if each is not None]
    whole = np.concatenate(known) if colors and len(known) == len(colors) else None
    return np.concatenate(vertices), np.concatenate(faces), whole


def _colors_of(part: Any) -> Float[np.ndarray, "v 3"] | None:
    """Colours of a part's vertices, 0 to 1, where it has them: beside a material or without."""
    beside = getattr(part.visual, "vertex_attributes", {})
    if "color" in beside:
        colors = np.asarray(beside["color"])
        white = 1.0 if colors.dtype.kind == "f" else float(np.iinfo(colors.dtype).max)
        return colors[:, :3].astype(np.float64) / white
    if part.visual.kind == "vertex":
        return np.asarray(part.visual.vertex_colors, np.float64)[:, :3] / 255
    return None


def _ply_bytes(mesh: TriangleMesh, comments: Sequence[str]) -> bytes:
    vertices = np.zeros(len(mesh.vertices), [*((n, "<f8") for n in "xyz"), *((n, "u1") for n in "rgb")])
    colors = _bytes_of(mesh)
    for axis, (place, color) in enumerate(zip("xyz", "rgb", strict=True)):
        vertices[place], vertices[color] = mesh.vertices[:, axis], colors[:, axis]
    faces = np.zeros(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {' '.join(line.split())}" for line in comments)]
    lines += [f"element vertex {len(vertices)}", *(f"property double {name}" for name in "xyz")]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(lines).encode("ascii", "backslashreplace") + vertices.tobytes() + faces.tobytes()


def _glb_bytes(mesh: TriangleMesh, comments: Sequence[str]) -> bytes:
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2 if len(mesh.vertices) else np.zeros(3)
    positions = (mesh.vertices - middle).astype("<f4")
    colors = _linear_from_srgb(_bytes_of(mesh) / 255).astype("<f4")
    parts = [positions.tobytes(), colors.tobytes(), mesh.faces.astype("<u4").tobytes()]
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).tolist()
    document = {
        "asset": {"version": "2.0", "generator": "scene3d", "extras": {"comments": list(comments)}},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [
            {"mesh": 0, "rotation": list(_GLTF_Y_UP), "translation": [middle[0], middle[2], -middle[1]]},
        ],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}, "doubleSided": True}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}]}],
        "accessors": [
            {**_accessor(0, _GLTF_FLOAT, len(positions), "VEC3"), **_bounds(positions)},
            _accessor(1, _GLTF_FLOAT, len(colors), "VEC3"),
            _accessor(2, _GLTF_UINT32, mesh.faces.size, "SCALAR"),
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(part)}
            for start, part in zip(starts, parts, strict=False)
        ],
        "buffers": [{"byteLength": starts[-1]}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(parts)  # all parts are multiples of four bytes
    chunks = b"".join(_uint32(len(chunk), kind) + chunk for chunk, kind in ((text, _GLB_JSON), (binary, _GLB_BINARY)))
    return _uint32(_GLB_MAGIC, _GLB_VERSION, 12 + len(chunks)) + chunks


_WRITERS: dict[str, Callable[[TriangleMesh, Sequence[str]], bytes]] = {".ply": _ply_bytes, ".glb": _glb_bytes}


def _accessor(view: int, kind: int, count: int, shape: str) -> dict[str, Any]:
    return {"bufferView": view, "componentType": kind, "count": count, "type": shape}


def _bounds(positions: Float32[np.ndarray, "v 3"]) -> dict[str, Any]:
    if len(positions) == 0:
        return {}
    return {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}


def _uint32(*numbers: int) -> bytes:
    return np.array(numbers, "<u4").tobytes()


def _bytes_of(mesh: TriangleMesh) -> UInt8[np.ndarray, "v 3"]:
    colors = np.full((len(mesh.vertices), 3), _GREY) if mesh.colors is None else mesh.colors
    return np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)


def _linear_from_srgb(colors: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """glTF wants vertex colours linear; ours are as a photograph's (IEC 61966-2-1)."""
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def _srgb_from_linear(colors: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    return np.where(colors <= 0.0031308, colors * 12.92, 1.055 * np.maximum(colors, 1e-12) ** (1 / 2.4) - 0.055)
