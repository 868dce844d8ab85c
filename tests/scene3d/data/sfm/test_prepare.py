"""Preparing photographs: choices, staging, failure, and the eleven of Sceaux."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scene3d.data.reading import read_capture
from scene3d.data.sfm.exif import PhotoTags, read_photo_tags
from scene3d.data.sfm.prepare import choose_matcher, prepare_capture, shares_camera, stage_photos
from scene3d.data.sfm.settings import PrepareSettings
from scene3d.errors import InputError
from scene3d.events import Quiet
from tests.helpers import shared_data

TAGS = PhotoTags(
    width=4000, height=3000, orientation=1, format="JPEG", mode="RGB", camera="DJI", focal_px=2800.0,
    latitude_deg=46.0, longitude_deg=-91.0, altitude_m=200.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("count", "with_gps", "expected"),
    [(20, True, "exhaustive"), (150, False, "exhaustive"), (151, True, "spatial"), (151, False, "sequential")],
)
def test_the_matcher_follows_count_and_gps(count: int, with_gps: bool, expected: str) -> None:
    tag = TAGS if with_gps else dataclasses.replace(TAGS, latitude_deg=None)
    assert choose_matcher({f"{i}.jpg": tag for i in range(count)}, PrepareSettings()) == expected


def test_one_lens_is_shared_only_by_photographs_that_look_alike() -> None:
    assert shares_camera({"a": TAGS, "b": TAGS}, PrepareSettings())
    assert not shares_camera({"a": TAGS, "b": dataclasses.replace(TAGS, width=3000)}, PrepareSettings())
    assert not shares_camera({"a": TAGS, "b": dataclasses.replace(TAGS, focal_px=5600.0)}, PrepareSettings())
    assert not shares_camera({"a": TAGS, "b": TAGS}, PrepareSettings(share_camera="no"))


def test_turned_and_transparent_photographs_are_staged_upright_and_plain(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    turned = Image.fromarray(np.zeros((30, 40, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(photos / "a.jpg", exif=exif)
    Image.new("RGBA", (20, 10)).save(photos / "a.png")
    tags = {name: read_photo_tags(photos / name) for name in ("a.jpg", "a.png")}
    admitted = stage_photos(photos, tmp_path / "staged", tags, Quiet())
    assert len(set(admitted.values())) == 2
    with Image.open(tmp_path / "staged" / admitted["a.jpg"]) as image:
        assert image.size == (30, 40)
        assert image.getexif()[0x0112] == 1
    with Image.open(tmp_path / "staged" / admitted["a.png"]) as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_photographs_are_an_error_that_says_so(tmp_path: Path, count: int) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(count):
        Image.new("RGB", (40, 30)).save(photos / f"{i}.jpg")
    with pytest.raises(InputError, match="overlap"):
        prepare_capture(photos, tmp_path / "out", PrepareSettings())
    assert not (tmp_path / "out").exists()


def test_photographs_of_nothing_fail_and_leave_nothing(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        Image.new("RGB", (320, 320), (90, 90, 90)).save(photos / f"{i}.jpg")
    with pytest.raises(InputError, match="overlap"):
        prepare_capture(photos, tmp_path / "out", PrepareSettings(num_threads=1))
    assert not (tmp_path / "out").exists()


@pytest.mark.timeout(300)
def test_the_photographs_of_sceaux_become_a_level_capture(tmp_path: Path) -> None:
    settings = PrepareSettings(feature_image_size=800, num_features=2500)
    report = prepare_capture(shared_data("sceaux") / "images", tmp_path / "out", settings)
    assert report["num_registered"] == 11
    assert report["mean_reprojection_error_px"] < 1.0
    assert report["model_sizes"][0] == 11
    assert json.loads((tmp_path / "out" / "prepare.json").read_text())["num_points"] == report["num_points"]
    assert not (tmp_path / "out" / ".work").exists()
    capture = read_capture(tmp_path / "out")
    assert len(capture.views) == 11
    assert all(view.lens is None for view in capture.views)
    # The facade stands: every camera's up is the world's up, within hand-held tilt.
    ups = np.array([-view.camera.cam_from_world[1, :3] for view in capture.views])
    assert np.degrees(np.arccos(ups[:, 2])).max() < 20
