"""Owns reading and writing COLMAP models, binary or text, with nothing in them believed before it is checked."""

from collections.abc import Iterable
from pathlib import Path

from scene3d.cameras.models import CameraModel
from scene3d.errors import InputError, LimitExceeded
from scene3d.io import colmap_binary, colmap_text
from scene3d.io.atomic import make_folder, replace_file
from scene3d.io.colmap_checks import checked_model
from scene3d.io.colmap_model import NO_POINT, ColmapImage, ColmapModel, ColmapPoints
from scene3d.io.colmap_transform import cam_from_world, transform_colmap
from scene3d.io.findings import Finding, Severity
from scene3d.io.opening import map_file, read_file_bytes
from scene3d.limits import MAX_COLMAP_BINARY_BYTES, MAX_COLMAP_TEXT_BYTES

__all__ = [
    "NO_POINT",
    "ColmapImage",
    "ColmapModel",
    "ColmapPoints",
    "cam_from_world",
    "find_colmap_suffix",
    "read_colmap",
    "transform_colmap",
    "write_colmap",
]


def find_colmap_suffix(folder: Path) -> str | None:
    """`.bin` or `.txt`, whichever form of a COLMAP model the folder holds (binary if both); None if it holds none."""
    for suffix in (".bin", ".txt"):
        if all((folder / f"{part}{suffix}").is_file() for part in ("cameras", "images")):
            return suffix
    return None


def read_colmap(folder: Path) -> ColmapModel:
    """Read cameras, images and points3D from a folder.

    The rigs and frames files of newer versions only repeat them and are not read.

    Track entries and keypoints that lead nowhere, and up to 1 % of non-finite points, are left out and counted in the
    findings. A model without a points3D file has no points, which is a finding too.

    Raises:
        InputError: A file is missing, damaged, cut short, or contradicts another.
        LimitExceeded: More records than are accepted, or too little memory.
    """
    suffix = find_colmap_suffix(folder)
    if suffix is None:
        remedy = "give the folder that holds cameras.bin and images.bin (or .txt), often sparse/0"
        raise InputError("is not a COLMAP model", where=folder, remedy=remedy)
    paths = [folder / f"{part}{suffix}" for part in ("cameras", "images", "points3D")]
    try:
        cameras, images, points = _parse_binary(paths) if suffix == ".bin" else _parse_text(paths)
        model = checked_model(cameras, images, points, folder)
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to read this model", where=folder) from error
    return model if paths[2].exists() else _without_points_file(model, paths[2])


def write_colmap(folder: Path, model: ColmapModel) -> None:
    """Write cameras.bin, images.bin and points3D.bin, each whole; the folder is made where missing.

    Raises:
        InputError: The folder cannot be written.
        LimitExceeded: The disk is full.
    """
    make_folder(folder)
    _write_parts(folder / "points3D.bin", colmap_binary.encode_points(model.points))
    _write_parts(folder / "images.bin", colmap_binary.encode_images(model.images))
    _write_parts(folder / "cameras.bin", colmap_binary.encode_cameras(model.cameras))


_Parsed = tuple[dict[int, CameraModel], list[ColmapImage], ColmapPoints]


def _parse_binary(paths: list[Path]) -> _Parsed:
    cameras, images, *points = [
        map_file(path, max_bytes=MAX_COLMAP_BINARY_BYTES)
        for path in paths
        if path.name != "points3D.bin" or path.exists()
    ]
    return (
        colmap_binary.parse_cameras(cameras, paths[0]),
        colmap_binary.parse_images(images, paths[1]),
        colmap_binary.parse_points(points[0], paths[2]) if points else ColmapPoints.empty(),
    )


def _parse_text(paths: list[Path]) -> _Parsed:
    cameras, images = (read_file_bytes(path, max_bytes=MAX_COLMAP_TEXT_BYTES) for path in paths[:2])
    points = read_file_bytes(paths[2], max_bytes=MAX_COLMAP_TEXT_BYTES) if paths[2].exists() else b""
    return (
        colmap_text.parse_cameras(cameras, paths[0]),
        colmap_text.parse_images(images, paths[1]),
        colmap_text.parse_points(points, paths[2]),
    )


def _without_points_file(model: ColmapModel, path: Path) -> ColmapModel:
    missing = Finding(
        severity=Severity.WARNING,
        what="the model has no points file",
        where=str(path),
        remedy="export the points too; without them Gaussians start at random places",
    )
    return ColmapModel(
        cameras=model.cameras, images=model.images, points=model.points, findings=(*model.findings, missing)
    )


def _write_parts(path: Path, parts: Iterable[bytes]) -> None:
    with replace_file(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(parts)
