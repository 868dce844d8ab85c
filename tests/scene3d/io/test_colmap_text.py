"""COLMAP's text files: what people and other programs write is read, what is damaged is refused."""

from pathlib import Path

import numpy as np
import pytest

from scene3d.errors import InputError
from scene3d.io.colmap import NO_POINT, read_colmap

TEXT = {
    "cameras.txt": "# comment\n4 PINHOLE 80 60 70 71 40 30\n",
    "images.txt": "# comment\n\n1 1 0 0 0 0 0 1 4 a b.jpg\n1.5 2.5 9 3 4 -1\n2 1 0 0 0 0 0 1 4 c.jpg\n\n",
    "points3D.txt": "# comment\r\n9 1e1 2 3 10 20 30 -1 1 0\r\n",
}


def write_text_model(folder: Path, **changed: str) -> None:
    for name, text in TEXT.items():
        (folder / name).write_text(changed.get(name.removesuffix(".txt"), text), encoding="utf-8")


def test_text_may_have_comments_empty_lines_and_spaces_in_names(tmp_path: Path) -> None:
    write_text_model(tmp_path)
    model = read_colmap(tmp_path)
    assert [image.name for image in model.images] == ["a b.jpg", "c.jpg"]
    assert model.images[0].keypoints.tolist() == [[1.5, 2.5], [3, 4]]
    assert model.images[0].point_ids.tolist() == [9, NO_POINT]
    assert len(model.images[1].keypoints) == 0
    assert model.points.positions.tolist() == [[10, 2, 3]]
    assert np.isnan(model.points.errors_px).all()
    assert model.points.track_image_ids.tolist() == [1]


def test_a_last_image_without_its_empty_line_is_read(tmp_path: Path) -> None:
    write_text_model(tmp_path, images=TEXT["images.txt"].rstrip("\n"))
    assert len(read_colmap(tmp_path).images) == 2


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("cameras", "4 PINHOLE 80 60 70,5 71 40 30"),
        ("cameras", "4 PINHOLE 80 60"),
        ("cameras", "4 SOMETHING 80 60 1 2 3 4"),
        ("cameras", "x PINHOLE 80 60 70 71 40 30"),
        ("cameras", "4 PINHOLE 8_0 60 70 71 40 30"),
        ("cameras", "4 PINHOLE -80 60 70 71 40 30"),
        ("cameras", "4 PINHOLE " + "9" * 5000 + " 60 70 71 40 30"),
        ("cameras", "4"),
        ("images", "1 1 0 0 0 0 0 1 4\n"),
        ("images", "1 1 0 0 0 0 0 1,5 4 a.jpg\n"),
        ("images", "1 1 0 0 0 0 0 1 4 a.jpg\n1 2\n"),
        ("images", "1 1 0 0 0 0 0 1 4 a.jpg\n1 2 x\n"),
        ("images", "1 1 0 0 0 0 0 1 4 a.jpg\n1 2 0.5\n"),
        ("images", "1 1 0 0 0 0 0 1 4 a.jpg\n1 2 1e300\n"),
        ("images", "99999999999 1 0 0 0 0 0 1 4 a.jpg\n\n"),
        ("points3D", "9 1 2 3 10 20 30\n"),
        ("points3D", "9 1 2 3 10 20 30 1 1\n"),
        ("points3D", "9 1 2 3 10 20 300 1 1 0\n"),
        ("points3D", "9 1 2 3 10 nan 30 1 1 0\n"),
        ("points3D", "9 1 2 3 10 20 30 1 1 1_0\n"),
        ("points3D", "9 1,5 2 3 10 20 30 1 1 0\n"),
        ("points3D", "9.5 1 2 3 10 20 30 1 1 0\n"),
    ],
)
def test_damaged_text_is_refused(tmp_path: Path, part: str, text: str) -> None:
    write_text_model(tmp_path, **{part: text})
    with pytest.raises(InputError) as caught:
        read_colmap(tmp_path)
    assert caught.value.where
    assert caught.value.remedy


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    write_text_model(tmp_path)
    (tmp_path / "images.txt").write_bytes(b"1 1 0 0 0 0 0 1 4 \xff\xfe.jpg\n\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_colmap(tmp_path)
