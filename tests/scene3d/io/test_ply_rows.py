"""Composing .ply files by their rows."""

from hashlib import sha256
from pathlib import Path

import pytest
import torch

from scene3d.errors import InputError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.ply import read_gaussians_ply, read_ply_comments, write_gaussians_ply
from scene3d.io.ply_rows import compose_ply, read_ply_layout
from scene3d.seeding import make_generator


def make_gaussians(count: int, degree: int = 1) -> Gaussians:
    generator = make_generator(count, "rows")

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return Gaussians(
        means=draw(count, 3),
        quats=draw(count, 4),
        log_scales=draw(count, 3),
        opacity_logits=draw(count),
        sh=draw(count, (degree + 1) ** 2, 3),
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.ply"
    write_gaussians_ply(path, make_gaussians(12), comments=["offset 1 2 3", "epsg 25832"])
    return path


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "part.ply"
    write_gaussians_ply(path, make_gaussians(5))
    return path


def test_a_composed_file_holds_all_rows_in_order(base: Path, part: Path, tmp_path: Path) -> None:
    target = tmp_path / "both.ply"
    compose_ply(target, read_ply_layout(base), [("a", read_ply_layout(part)), ("b", read_ply_layout(part))])
    means = read_gaussians_ply(target).means
    assert torch.equal(means, torch.cat([make_gaussians(12).means, *[make_gaussians(5).means] * 2]))
    assert read_ply_comments(target)[:2] == ("offset 1 2 3", "epsg 25832")
    layout = read_ply_layout(target)
    assert [(one.name, one.num_rows) for one in layout.parts] == [("a", 5), ("b", 5)]
    assert layout.num_base_rows == 12
    assert layout.base_sha256() == sha256(base.read_bytes()).hexdigest()


def test_composing_without_parts_gives_the_base_back(base: Path, part: Path) -> None:
    content = base.read_bytes()
    compose_ply(base, read_ply_layout(base), [("a", read_ply_layout(part))])
    assert base.read_bytes() != content
    compose_ply(base, read_ply_layout(base), [])
    assert base.read_bytes() == content


def test_rows_of_other_properties_are_refused_and_the_file_stays(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.ply"
    write_gaussians_ply(other, make_gaussians(5, degree=0))
    content = base.read_bytes()
    with pytest.raises(InputError, match="other properties"):
        compose_ply(base, read_ply_layout(base), [("a", read_ply_layout(other))])
    assert base.read_bytes() == content


def test_a_file_cut_short_is_refused(base: Path) -> None:
    base.write_bytes(base.read_bytes()[:-1])
    with pytest.raises(InputError):
        read_ply_layout(base)


@pytest.mark.parametrize("comment", ["scene3d: part a", "scene3d: part a many", "scene3d: part a 13"])
def test_a_damaged_comment_is_refused(base: Path, comment: str) -> None:
    content = base.read_bytes().replace(b"comment epsg 25832", f"comment {comment}".encode())
    base.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|more added rows"):
        read_ply_layout(base)


def test_a_file_of_points_with_faces_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    path.write_bytes(
        b"ply\nformat ascii 1.0\nelement vertex 1\n"
        b"property float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n"
    )
    with pytest.raises(InputError, match="Gaussians only"):
        read_ply_layout(path)
