"""`.splat` and `.spz`: what is lost is only rounding, axes are turned where the format demands it, lies are refused."""

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from scene3d.errors import InputError, LimitExceeded
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.io import splat_formats, spz, spz_packing
from scene3d.io.splat_formats import read_splat, read_spz, write_splat, write_spz
from tests.scene3d.io.gaussian_sets import FIELDS, random_gaussians

FLIP = np.diag([1.0, -1.0, -1.0])


def ordinary_gaussians(num: int = 400, degree: int = 3) -> Gaussians:
    """Gaussians inside the ranges both formats can hold."""
    gaussians = random_gaussians(num, degree=degree)
    return replace(gaussians, sh=gaussians.sh.clamp(-0.9, 0.9), opacity_logits=gaussians.opacity_logits.clamp(-4, 4))


def covariances(gaussians: Gaussians) -> np.ndarray:
    turns = Rotation.from_quat(gaussians.quats[:, [1, 2, 3, 0]].numpy()).as_matrix()
    halves = turns * gaussians.scales.double().numpy()[:, None, :]
    return halves @ halves.transpose(0, 2, 1)


def angle_deg(left: Tensor, right: Tensor) -> np.ndarray:
    a, b = (torch.nn.functional.normalize(each.double(), dim=1) for each in (left, right))
    return np.degrees(2 * np.arccos(np.clip((a * b).sum(dim=1).abs().numpy(), 0, 1)))


def harmonics(d: np.ndarray) -> np.ndarray:
    """The sixteen basis polynomials of 3DGS in their order, without their constants."""
    x, y, z = d.T
    degree_2 = [x * y, y * z, 2 * z * z - x * x - y * y, x * z, x * x - y * y]
    degree_3 = [y * (3 * x * x - y * y), x * y * z, y * (4 * z * z - x * x - y * y)]
    degree_3 += [z * (2 * z * z - 3 * x * x - 3 * y * y), x * (4 * z * z - x * x - y * y)]
    degree_3 += [z * (x * x - y * y), x * (x * x - 3 * y * y)]
    return np.stack([np.ones_like(x), y, z, x, *degree_2, *degree_3], axis=1)


def test_turning_moves_positions_shapes_and_colours_together() -> None:
    gaussians = random_gaussians(50)
    turned = spz_packing.turned(gaussians)
    np.testing.assert_allclose(turned.means, gaussians.means.numpy() @ FLIP, rtol=1e-6)
    np.testing.assert_allclose(covariances(turned), FLIP @ covariances(gaussians) @ FLIP, rtol=1e-5, atol=1e-9)
    directions = np.random.default_rng(0).normal(size=(30, 3))
    before = np.einsum("dk,nkc->ndc", harmonics(directions), gaussians.sh)
    after = np.einsum("dk,nkc->ndc", harmonics(directions @ FLIP), turned.sh)
    np.testing.assert_allclose(after, before, atol=1e-4)
    for field in FIELDS:
        assert torch.equal(getattr(spz_packing.turned(turned), field), getattr(gaussians, field))


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


def test_writing_what_was_read_gives_the_same_bytes(tmp_path: Path) -> None:
    write_spz(tmp_path / "a.spz", ordinary_gaussians())
    write_spz(tmp_path / "b.spz", read_spz(tmp_path / "a.spz"))
    write_spz(tmp_path / "c.spz", read_spz(tmp_path / "b.spz"))
    assert (tmp_path / "b.spz").read_bytes() == (tmp_path / "c.spz").read_bytes()
    again, once = read_spz(tmp_path / "b.spz"), read_spz(tmp_path / "a.spz")
    for field in ("means", "log_scales", "opacity_logits", "sh"):
        assert torch.equal(getattr(again, field), getattr(once, field))


def test_gsply_reads_our_spz_with_y_and_z_negated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gsply = pytest.importorskip("gsply", reason="gsply is not installed")
    # Its decoder as plain Python: compiling it takes half a minute.
    monkeypatch.setattr(gsply.spz, "_decode_spz_kernel", gsply.spz._decode_spz_kernel.py_func)
    monkeypatch.setattr(gsply.spz, "_ensure_kernel_compiled", lambda: None)
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
    gsply = pytest.importorskip("gsply", reason="gsply is not installed")
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
    return gzip.compress(header + (body if body is not None else bytes(20 * count)))


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
        (gzip.compress(b"NGSP"), "is no .spz file"),
        (gzip.compress(b"XXXX" + bytes(50)), "is no .spz file"),
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


def test_an_empty_spz_is_written_and_read(tmp_path: Path) -> None:
    write_spz(tmp_path / "a.spz", random_gaussians(0))
    assert len(read_spz(tmp_path / "a.spz")) == 0


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
