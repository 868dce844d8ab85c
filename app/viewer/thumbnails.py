"""Owns small copies of photographs for the page, made once and kept."""

from pathlib import Path

from app.viewer.stage import Stage
from scene3d.data.photos import read_photo
from scene3d.errors import InputError
from scene3d.io.images import write_image

THUMB_WIDTH_PX = 200
PHOTO_WIDTH_PX = 1280


def make_thumbnail(stage: Stage, index: int, width: int, folder: Path) -> Path:
    """A copy of a photograph, undistorted as the scene shows it, no wider than asked for.

    Raises:
        InputError: There is no such photograph, or it cannot be read.
    """
    if not 0 <= index < len(stage.views):
        raise InputError("there is no such photograph")
    view = stage.views[index]
    stamp = int(view.image_path.stat().st_mtime_ns) if view.image_path.is_file() else 0
    path = folder / f"photo-{index}-{width}-{stamp:x}.jpg"
    if not path.is_file():
        photo = read_photo(view, min(1.0, width / view.camera.width))
        write_image(path, photo.image.astype("float32") / 255)
    return path
