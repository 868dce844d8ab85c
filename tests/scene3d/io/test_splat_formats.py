"""`.splat`: what is lost is only rounding, and what cannot be a Gaussian is refused."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scene3d.errors import InputError, LimitExceeded
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.io import splat_formats, spz
from scene3d.io.splat_formats import read_splat, read_spz, write_splat, write_spz
from tests.scene3d.io.gaussian_sets import angle_deg, ordinary_gaussians, random_gaussians


def test_a_splat_reads_back_within_its_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splat_formats, "_ROWS_AT_ONCE", 64)
    gaussians = ordinary_gaussians(degree=0)
    write_splat(tmp_path / "a.splat", gaussians)
    assert (tmp_path / "a.splat").stat().st_size == 32 * len(gaussians)
    read = read_splat(tmp_path / "a.splat")
    assert torch.equal(read.means, gaussians.means)
    assert (read.log_scales - gaussians.log_scales).abs().max() < 1e-5
    assert (read.opacities - gaussians.opacities).abs().max() <= 0.5 / 255 + 1e-5
    assert (read.sh - gaussians.sh).abs().max() <= 0.5 / 255 / SH_C0 + 1e-5
    assert angle_deg(read.quats, gaussians.quats).max() < 1.2


def test_a_splat_row_stands_as_viewers_expect_it(tmp_path: Path) -> None:
    gaussians = Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        quats=torch.tensor([[0.0, 0.0, -3.0, 0.0]]),
        log_scales=torch.log(torch.tensor([[0.5, 1.0, 2.0]])),
        opacity_logits=torch.tensor([0.0]),
        sh=torch.tensor([[[0.5 / SH_C0, 0.0, -9.0]]]),
    )
    write_splat(tmp_path / "a.splat", gaussians)
    row = (tmp_path / "a.splat").read_bytes()
    np.testing.assert_allclose(struct.unpack("<6f", row[:24]), [1, 2, 3, 0.5, 1, 2], rtol=1e-6)
    assert list(row[24:]) == [255, 128, 0, 128, 128, 128, 0, 128]


def test_view_dependent_colour_is_left_out_of_a_splat(tmp_path: Path) -> None:
    gaussians = ordinary_gaussians(degree=3)
    write_splat(tmp_path / "a.splat", gaussians)
    write_splat(tmp_path / "b.splat", replace(gaussians, sh=gaussians.sh[:, :1]))
    assert (tmp_path / "a.splat").read_bytes() == (tmp_path / "b.splat").read_bytes()
    assert read_splat(tmp_path / "a.splat").sh_degree == 0


@pytest.mark.parametrize("size", [0, 1, 31, 33, 100])
def test_a_splat_of_no_whole_number_of_rows_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.splat").write_bytes(bytes(size))
    with pytest.raises(InputError, match=f"holds {size} bytes"):
        read_splat(tmp_path / "a.splat")


def test_text_that_calls_itself_a_splat_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.splat").write_bytes(b"\xff" * 3200)
    with pytest.raises(InputError, match="not finite"):
        read_splat(tmp_path / "a.splat")
    (tmp_path / "a.splat").write_bytes(b"this is a plain text, no scene. " * 100)
    with pytest.raises(InputError, match="not finite"):
        read_splat(tmp_path / "a.splat")


def splat_row(scale: float = 1.0, rotation: int = 255) -> bytes:
    return struct.pack("<6f8B", 0, 0, 0, scale, 1, 1, 9, 9, 9, 9, rotation, 128, 128, 128)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (splat_row(scale=-1), "1 of 99 Gaussians"),
        (splat_row(scale=np.nan), "1 of 99"),
        (splat_row(rotation=128), "zero"),
    ],
)
def test_bad_rows_of_a_splat_are_refused(tmp_path: Path, row: bytes, message: str) -> None:
    (tmp_path / "a.splat").write_bytes(splat_row() * 98 + row)
    with pytest.raises(InputError, match=message):
        read_splat(tmp_path / "a.splat")


def test_a_scale_of_zero_in_a_splat_is_read_as_tiny(tmp_path: Path) -> None:
    (tmp_path / "a.splat").write_bytes(splat_row(scale=0))
    assert 0 < float(read_splat(tmp_path / "a.splat").scales[0, 0]) < 1e-30


WRITERS: list[tuple[str, Callable[[Path, Gaussians], None], Callable[[Path], Gaussians]]] = [
    (".splat", write_splat, read_splat),
    (".spz", write_spz, read_spz),
]


@pytest.mark.parametrize(("suffix", "write", "read"), WRITERS)
def test_gaussians_that_are_not_finite_are_not_written(
    tmp_path: Path, suffix: str, write: Callable[[Path, Gaussians], None], read: Callable[[Path], Gaussians]
) -> None:
    gaussians = random_gaussians(3)
    broken = replace(gaussians, opacity_logits=torch.tensor([0.0, float("nan"), 0.0]))
    with pytest.raises(InputError, match="1 of 3 Gaussians"):
        write(tmp_path / f"a{suffix}", broken)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / f"a{suffix}", replace(gaussians, opacity_logits=torch.tensor([-80.0, 80.0, 0.0])))
    assert torch.isfinite(read(tmp_path / f"a{suffix}").opacity_logits).all()


def test_memory_running_out_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    write_spz(tmp_path / "a.spz", random_gaussians(3))
    write_splat(tmp_path / "a.splat", random_gaussians(3))
    monkeypatch.setattr(spz, "_unpack", exhausted)
    monkeypatch.setattr(splat_formats, "_decode", exhausted)
    for read, name in ((read_spz, "a.spz"), (read_splat, "a.splat")):
        with pytest.raises(LimitExceeded, match="memory"):
            read(tmp_path / name)
