"""`.spz`: what is lost is only rounding, axes are turned as the format demands, lies and bombs are refused."""

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scene3d.errors import InputError, LimitExceeded, SettingsError
from scene3d.io import spz_packing
from scene3d.io.spz import read_spz, write_spz
from tests.scene3d.io.gaussian_sets import angle_deg, import_gsply, ordinary_gaussians, random_gaussians

FLIP = np.diag([1.0, -1.0, -1.0])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_an_spz_reads_back_within_its_rounding(tmp_path: Path, degree: int) -> None:
    gaussians = ordinary_gaussians(degree=degree)
    write_spz(tmp_path / "a.spz", gaussians)
    read = read_spz(tmp_path / "a.spz")
    assert (read.means - gaussians.means).abs().max() <= 2**-13
    assert (read.log_scales - gaussians.log_scales).abs().max() <= 0.5 / 16 + 1e-5
    assert (read.opacities - gaussians.opacities).abs().max() <= 0.5 / 255 + 1e-5
    assert (read.sh[:, 0] - gaussians.sh[:, 0]).abs().max() <= 0.5 / 255 / 0.15 + 1e-5
    assert angle_deg(read.quats, gaussians.quats).max() < 0.35
    first, higher = read.sh[:, 1:4] - gaussians.sh[:, 1:4], read.sh[:, 4:] - gaussians.sh[:, 4:]
    assert degree < 1 or first.abs().max() <= 4 / 128 + 1e-5
    assert degree < 2 or higher.abs().max() <= 8 / 128 + 1e-5


def test_more_bits_keep_more_of_the_view_dependent_colour(tmp_path: Path) -> None:
    gaussians = ordinary_gaussians()
    sizes = []
    for bits in (3, 5, 8):
        write_spz(tmp_path / "a.spz", gaussians, sh_bits=(bits, bits))
        error = (read_spz(tmp_path / "a.spz").sh[:, 1:] - gaussians.sh[:, 1:]).abs().max()
        assert error <= (1 << (8 - bits)) / 256 + 1e-5
        sizes.append((tmp_path / "a.spz").stat().st_size)
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("bits", [(0, 4), (5, 9)])
def test_bits_out_of_range_are_refused(tmp_path: Path, bits: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="sh_bits"):
        write_spz(tmp_path / "a.spz", ordinary_gaussians(3), sh_bits=bits)


def test_writing_what_was_read_gives_the_same_bytes(tmp_path: Path) -> None:
    write_spz(tmp_path / "a.spz", ordinary_gaussians())
    write_spz(tmp_path / "b.spz", read_spz(tmp_path / "a.spz"))
    write_spz(tmp_path / "c.spz", read_spz(tmp_path / "b.spz"))
    assert (tmp_path / "b.spz").read_bytes() == (tmp_path / "c.spz").read_bytes()
    again, once = read_spz(tmp_path / "b.spz"), read_spz(tmp_path / "a.spz")
    for field in ("means", "log_scales", "opacity_logits", "sh"):
        assert torch.equal(getattr(again, field), getattr(once, field))


def test_gsply_reads_our_spz_with_y_and_z_negated(tmp_path: Path) -> None:
    gsply = import_gsply()
    gaussians = ordinary_gaussians(40)
    write_spz(tmp_path / "a.spz", gaussians)
    raw = gsply.read_spz(tmp_path / "a.spz")  # it copies the numbers as they stand in the file
    ours = read_spz(tmp_path / "a.spz")
    np.testing.assert_allclose(raw.means, ours.means.numpy() @ FLIP, atol=1e-6)
    np.testing.assert_allclose(raw.scales, ours.log_scales, atol=1e-5)
    np.testing.assert_allclose(raw.sh0, ours.sh[:, 0], atol=1e-5)
    np.testing.assert_allclose(raw.quats * [1, 1, -1, -1], ours.quats, atol=1e-5)
    assert (np.sign(raw.shN[:, 0]) * np.sign(ours.sh[:, 1].numpy()) <= 0).all()
    np.testing.assert_allclose(raw.shN[:, 2], ours.sh[:, 3], atol=1e-6)
    middle = (ours.opacities > 0.01) & (ours.opacities < 0.99)
    np.testing.assert_allclose(raw.opacities[middle], ours.opacity_logits[middle], atol=1e-4)


def test_an_spz_of_gsply_is_read_with_y_and_z_negated(tmp_path: Path) -> None:
    gsply = import_gsply()
    ours = ordinary_gaussians(degree=2)
    data = gsply.GSData.from_arrays(
        means=ours.means.numpy(),
        scales=ours.log_scales.numpy(),
        quats=ours.quats.numpy(),
        opacities=ours.opacity_logits.numpy(),
        sh0=np.ascontiguousarray(ours.sh[:, 0].numpy()),
        shN=np.ascontiguousarray(ours.sh[:, 1:].numpy()),
        format="ply",
    )
    gsply.write_spz(tmp_path / "a.spz", data)
    read = read_spz(tmp_path / "a.spz")
    np.testing.assert_allclose(read.means.numpy() @ FLIP, ours.means, atol=2**-11)
    assert angle_deg(spz_packing.turned(read).quats, ours.quats).max() < 0.35


def spz_bytes(
    *, version: int = 3, count: int = 1, degree: int = 0, bits: int = 12, flags: int = 0, body: bytes | None = None
) -> bytes:
    header = struct.pack("<4sIIBBBB", b"NGSP", version, count, degree, bits, flags, 0)
    return gzip.compress(header + (body if body is not None else bytes(20 * count)), mtime=0)


def test_version_2_with_its_older_rotations_is_read(tmp_path: Path) -> None:
    position = b"".join(struct.pack("<i", value)[:3] for value in (4096, -8192, 1))
    body = position + bytes([128, 255, 0, 128, 160, 176, 0]) + bytes([255, 128, 128])
    (tmp_path / "a.spz").write_bytes(spz_bytes(version=2, body=body))
    read = read_spz(tmp_path / "a.spz")
    np.testing.assert_allclose(read.means, [[1, 2, -1 / 4096]])
    np.testing.assert_allclose(read.log_scales, [[0, 1, -10]])
    np.testing.assert_allclose(read.quats, [[0, 1, -1 / 255, -1 / 255]], atol=1e-6)
    np.testing.assert_allclose(read.opacities, [128 / 255], atol=1e-6)


def test_records_of_other_programs_behind_the_gaussians_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.spz").write_bytes(spz_bytes(flags=2, body=bytes(20) + b"extension"))
    assert len(read_spz(tmp_path / "a.spz")) == 1
    (tmp_path / "a.spz").write_bytes(spz_bytes(flags=0, body=bytes(20) + b"extension"))
    with pytest.raises(InputError, match="1 Gaussians, 20 bytes"):
        read_spz(tmp_path / "a.spz")


@pytest.mark.parametrize(("farthest", "bits"), [(3.0, 12), (5000.0, 10), (4_000_000.0, 1)])
def test_far_positions_get_fewer_fractional_bits(tmp_path: Path, farthest: float, bits: int) -> None:
    gaussians = random_gaussians(10, degree=0)
    gaussians = replace(
        gaussians, means=gaussians.means.clamp(-1, 1) * farthest, log_scales=torch.full_like(gaussians.means, -3.0)
    )
    write_spz(tmp_path / "a.spz", gaussians)
    header = gzip.decompress((tmp_path / "a.spz").read_bytes())[:16]
    assert header[13] == bits
    assert (read_spz(tmp_path / "a.spz").means - gaussians.means).abs().max() <= 0.51 / 2**bits


def test_small_gaussians_get_more_fractional_bits(tmp_path: Path) -> None:
    gaussians = random_gaussians(10, degree=0)
    gaussians = replace(gaussians, log_scales=torch.full_like(gaussians.means, -8.0))
    write_spz(tmp_path / "a.spz", gaussians)
    assert (read_spz(tmp_path / "a.spz").means - gaussians.means).abs().max() <= np.exp(-8) / 32


def test_positions_no_fixed_point_can_hold_are_refused(tmp_path: Path) -> None:
    gaussians = random_gaussians(3, degree=0)
    with pytest.raises(InputError, match="units from the origin"):
        write_spz(tmp_path / "a.spz", replace(gaussians, means=gaussians.means * 1e8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not gzip-compressed"),
        (b"a text", "not gzip-compressed"),
        (b"NGSP" + bytes(40), "version 4"),
        (b"\x1f\x8b" + bytes(40), "cannot be inflated"),
        (gzip.compress(b"NGSP", mtime=0), "is no .spz file"),
        (gzip.compress(b"XXXX" + bytes(50), mtime=0), "is no .spz file"),
        (spz_bytes(version=1), "version 1"),
        (spz_bytes(degree=4), "degree 4"),
        (spz_bytes(bits=0), "0 fractional bits"),
        (spz_bytes(bits=25), "25 fractional bits"),
        (spz_bytes(count=2, body=bytes(20)), "2 Gaussians, 40 bytes; it holds 20"),
        (spz_bytes(count=1, body=bytes(40)), "1 Gaussians, 20 bytes; it holds 21"),
        (spz_bytes(count=0, body=bytes(1)), "0 Gaussians"),
        (spz_bytes()[:-9], "1 Gaussians"),
        (spz_bytes()[:-8] + bytes(8), "cannot be inflated"),
    ],
)
def test_a_damaged_spz_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.spz").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_spz(tmp_path / "a.spz")
    assert caught.value.where == str(tmp_path / "a.spz")
    assert caught.value.remedy


def test_an_spz_bomb_is_refused_before_it_inflates(tmp_path: Path) -> None:
    for count in (2_000_000, 100_000_000):
        (tmp_path / "a.spz").write_bytes(spz_bytes(count=count, body=bytes(1 << 20)))
        with pytest.raises(LimitExceeded, match="claims to inflate"):
            read_spz(tmp_path / "a.spz")
    (tmp_path / "a.spz").write_bytes(spz_bytes(count=2**32 - 1, body=b""))
    with pytest.raises(LimitExceeded, match="at most 100,000,000"):
        read_spz(tmp_path / "a.spz")


def test_an_empty_spz_is_written_and_read(tmp_path: Path) -> None:
    write_spz(tmp_path / "a.spz", random_gaussians(0))
    assert len(read_spz(tmp_path / "a.spz")) == 0
