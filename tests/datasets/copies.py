"""Local copies laid out like the public data sets, and how the tests run the script on them."""

import importlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scene3d.data.reading import read_capture
from scene3d.data.split import split_views
from scene3d.io.colmap import ColmapModel, read_colmap, write_colmap

ROOT = Path(__file__).resolve().parents[2]
HELD_OUT = ("0003.png", "0009.png")


@pytest.fixture(scope="module")
def prepare():
    """The script, imported as Python runs it: with its own folder on the path."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT / "datasets"))
    try:
        yield importlib.import_module("prepare")
    finally:
        sys.path[:] = before


def part_of(model: ColmapModel, names) -> ColmapModel:
    """The images of a model with these names, without points."""
    images = tuple(image for image in model.images if image.name in names)
    kept = tuple(replace(image, point_ids=np.full(len(image.point_ids), -1)) for image in images)
    points = type(model.points).empty()
    return replace(model, images=kept, points=points)


def copy_photos(capture: Path, folder: Path, names) -> None:
    folder.mkdir(parents=True)
    for name in names:
        shutil.copy(capture / "images" / name, folder / name)


@pytest.fixture
def names(tiny_capture):
    return sorted(path.name for path in (tiny_capture / "images").iterdir())


@pytest.fixture
def mega_nerf(tiny_capture, names, tmp_path):
    """train/ and val/ with photographs in rgbs/ and a COLMAP model each, as CityGaussian leaves Mill 19."""
    model = read_colmap(tiny_capture / "sparse" / "0")
    for part, own in (("train", [name for name in names if name not in HELD_OUT]), ("val", HELD_OUT)):
        copy_photos(tiny_capture, tmp_path / "copy" / part / "rgbs", own)
        (tmp_path / "copy" / part / "metadata").mkdir()
        write_colmap(tmp_path / "copy" / part / "sparse" / "0", part_of(model, own))
    return tmp_path / "copy"


def split_names(capture_folder: Path) -> tuple[list[str], list[str]]:
    capture = read_capture(capture_folder)
    split = split_views(capture)
    assert split.rule == "train.txt and test.txt"
    assert split.findings == ()
    return tuple([capture.views[index].name for index in part] for part in (split.train, split.test))


def run(prepare, *words, code=0):
    assert prepare.main([str(word) for word in words]) == code
