"""COLMAP models that lie or contradict themselves are refused, with the file and a remedy."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scene3d.errors import InputError, LimitExceeded
from scene3d.io import colmap_binary
from scene3d.io.colmap import ColmapModel, read_colmap, write_colmap
from tests.scene3d.io.colmap_models import LENS, small_model

BREAKS: dict[str, tuple[Callable[[ColmapModel], ColmapModel], str]] = {
    "no camera": (lambda m: replace(m, cameras={5: LENS}), "camera 4, which is not among"),
    "twin ids": (lambda m: replace(m, images=(*m.images, replace(m.images[0], name="z"))), "two images have the id 1"),
    "twin names": (
        lambda m: replace(m, images=(*m.images, replace(m.images[0], id=8, name="./a.jpg"))),
        "two images have the name 'a.jpg'",
    ),
    "twin points": (
        lambda m: replace(m, points=replace(m.points, ids=np.array([5, 3, 5, 12]))),
        "two points have the id 5",
    ),
    "impossible point": (
        lambda m: replace(m, points=replace(m.points, ids=np.array([5, 3, -1, 12]))),
        "impossible id -1",
    ),
    "zero turn": (lambda m: _with_first(m, qvec=np.zeros(4)), "turns nowhere"),
    "nan turn": (lambda m: _with_first(m, qvec=np.full(4, np.nan)), "turns nowhere"),
    "infinite place": (lambda m: _with_first(m, tvec=np.array([0, np.inf, 0])), "not finite"),
    "huge turn": (lambda m: _with_first(m, qvec=np.array([1e200, 1, 0, 0])), "turns nowhere"),
    "place beyond reason": (lambda m: _with_first(m, tvec=np.array([0, 1e300, 0])), "not finite"),
    "climbing name": (lambda m: _with_first(m, name="../../etc/passwd"), "leaves its folder"),
    "absolute name": (lambda m: _with_first(m, name="/etc/passwd"), "leaves its folder"),
    "drive name": (lambda m: _with_first(m, name="C:/a.jpg"), "leaves its folder"),
    "backslash name": (lambda m: _with_first(m, name="a\\b.jpg"), "leaves its folder"),
    "empty name": (lambda m: _with_first(m, name=""), "names no file"),
    "long name": (lambda m: _with_first(m, name="x" * 256), "too long"),
}


def _with_first(model: ColmapModel, **changes: object) -> ColmapModel:
    return replace(model, images=(replace(model.images[0], **changes), *model.images[1:]))


@pytest.mark.parametrize("case", BREAKS)
def test_a_model_that_contradicts_itself_is_refused(tmp_path: Path, case: str) -> None:
    change, message = BREAKS[case]
    write_colmap(tmp_path, change(small_model()))
    with pytest.raises(InputError, match=message) as caught:
        read_colmap(tmp_path)
    assert caught.value.where
    assert caught.value.remedy


def camera_bytes(model: int = 1, width: int = 80, focal: float = 70.0, params: int = 4) -> bytes:
    values = [focal, 70.0, 40.0, 30.0, *[0.0] * 12][:params]
    return struct.pack(f"<IiQQ{params}d", 4, model, width, 60, *values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not even a count"),
        (struct.pack("<Q", 2**40) + camera_bytes(), "claims 1,099,511,627,776 records"),
        (struct.pack("<Q", 1) + camera_bytes(model=99), "unknown model number 99"),
        (struct.pack("<Q", 1) + camera_bytes(model=-1), "unknown model number -1"),
        (struct.pack("<Q", 1) + camera_bytes(model=7, params=5), "FOV"),
        (struct.pack("<Q", 1) + camera_bytes(width=0), "0 x 60"),
        (struct.pack("<Q", 1) + camera_bytes(focal=0.0), "must be positive"),
        (struct.pack("<Q", 1) + camera_bytes(focal=float("nan")), "not finite"),
        (struct.pack("<Q", 1) + camera_bytes(focal=1e300), "absurd"),
        (struct.pack("<Q", 1) + camera_bytes()[:-4], "needs 32 bytes"),
        (struct.pack("<Q", 2) + camera_bytes() * 2, "two cameras have the id 4"),
        (struct.pack("<Q", 1) + camera_bytes() + b"\0", "end at byte"),
    ],
)
def test_a_damaged_cameras_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_colmap(tmp_path, small_model())
    (tmp_path / "cameras.bin").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_colmap(tmp_path)
    assert caught.value.where == str(tmp_path / "cameras.bin")


def test_counts_that_lie_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    for part, offset in [("images", 0), ("points3D", 0), ("images", 8 + 64 + len("a.jpg") + 1), ("points3D", 8 + 43)]:
        for lie in (2**63, 2**40, 2**64 - 1):
            write_colmap(tmp_path, small_model())
            path = tmp_path / f"{part}.bin"
            content = bytearray(path.read_bytes())
            content[offset : offset + 8] = struct.pack("<Q", lie)
            path.write_bytes(content)
            with pytest.raises(InputError, match=r"bytes|ends inside"):
                read_colmap(tmp_path)


def test_more_records_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_colmap(tmp_path, small_model())
    for limit in ("MAX_CAMERAS", "MAX_VIEWS", "MAX_POINTS"):
        with monkeypatch.context() as patch:
            patch.setattr(colmap_binary, limit, 0)
            with pytest.raises(LimitExceeded, match="at most 0"):
                read_colmap(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"sparse/0"):
            read_colmap(folder)


def test_memory_running_out_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_colmap(tmp_path, small_model())

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(colmap_binary, "parse_points", exhausted)
    with pytest.raises(LimitExceeded, match="memory"):
        read_colmap(tmp_path)
