"""A scene that comes in parts is written as if it came whole, or not at all."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scene3d import exporting
from scene3d.errors import InputError, SettingsError
from scene3d.exporting import find_offset, read_scene, write_scene, write_scene_parts
from scene3d.gaussians.cleaning import scene_radius
from scene3d.gaussians.gaussians import Gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.io import ply
from scene3d.io.ply import write_gaussians_ply, write_gaussians_ply_parts
from tests.scene3d.io.gaussian_sets import random_gaussians

TURN = np.array([[0.0, -1.0, 0.0], [0.8, 0.0, -0.6], [0.6, 0.0, 0.8]])


def cut(gaussians: Gaussians, sizes: Sequence[int]) -> Iterator[Gaussians]:
    start = 0
    for size in sizes:
        yield gaussians.select(torch.arange(start, start + size))
        start += size


@pytest.mark.parametrize("degree", [0, 3])
@given(sizes=st.lists(st.integers(0, 40), max_size=6), rows=st.integers(1, 50))
def test_parts_make_the_same_bytes_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, degree: int, sizes: list[int], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    whole = random_gaussians(sum(sizes), degree=degree)
    write_gaussians_ply(folder / "whole.ply", whole, comments=("from a test",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ply, "_ROWS_AT_ONCE", rows)
        write_gaussians_ply_parts(
            folder / "parts.ply",
            cut(whole, sizes),
            num_gaussians=len(whole),
            sh_degree=degree,
            comments=("from a test",),
        )
    assert (folder / "parts.ply").read_bytes() == (folder / "whole.ply").read_bytes()


@pytest.mark.parametrize("promised", [0, 29, 31])
def test_another_number_than_promised_leaves_what_was_there(tmp_path: Path, promised: int) -> None:
    path = tmp_path / "scene.ply"
    path.write_text("before")
    whole = random_gaussians(30)
    with pytest.raises(InputError, match=f"30 Gaussians came for a file of {promised}"):
        write_gaussians_ply_parts(path, cut(whole, [10, 20]), num_gaussians=promised, sh_degree=3)
    assert [each.name for each in tmp_path.iterdir()] == ["scene.ply"]
    assert path.read_text() == "before"


def test_a_late_part_that_is_not_finite_leaves_no_file(tmp_path: Path) -> None:
    good = random_gaussians(20)
    means = good.means.clone()
    means[3, 1] = float("inf")
    with pytest.raises(InputError, match="1 of 20 Gaussians are not finite"):
        write_gaussians_ply_parts(
            tmp_path / "scene.ply", [good, replace(good, means=means)], num_gaussians=40, sh_degree=3
        )
    assert not list(tmp_path.iterdir())


def test_a_source_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[Gaussians]:
        yield random_gaussians(10)
        raise InputError("block b7 is damaged")

    with pytest.raises(InputError, match="b7"):
        write_gaussians_ply_parts(tmp_path / "scene.ply", failing(), num_gaussians=20, sh_degree=3)
    assert not list(tmp_path.iterdir())


def test_parts_of_another_degree_are_refused(tmp_path: Path) -> None:
    parts = [random_gaussians(5, degree=3), random_gaussians(5, degree=1)]
    with pytest.raises(InputError, match="degree 1, the file degree 3"):
        write_gaussians_ply_parts(tmp_path / "scene.ply", parts, num_gaussians=10, sh_degree=3)


@pytest.mark.parametrize("shift", [0.0, 3e6])
def test_a_scene_in_parts_is_the_scene_that_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    monkeypatch.setattr(exporting, "_ROWS_AT_ONCE", 64)
    whole = random_gaussians(300)
    world_from_capture = Similarity(0.25, TURN, np.array([shift, -shift / 3, 2.0]))
    middle = np.median(whole.means.double().numpy(), axis=0)
    expected = write_scene(tmp_path / "whole.ply", whole, world_from_capture)
    record = write_scene_parts(
        tmp_path / "parts.ply",
        cut(whole, [0, 100, 1, 199]),
        world_from_capture,
        num_gaussians=300,
        sh_degree=3,
        middle=tuple(middle.tolist()),
        radius=scene_radius(whole.means),
    )
    assert (expected["offset"] is None) == (shift == 0)
    assert record == {**expected, "file": "parts.ply"}
    assert (tmp_path / "parts.ply").read_bytes() == (tmp_path / "whole.ply").read_bytes()
    back = read_scene(tmp_path / "parts.ply", record)
    for name in ("means", "log_scales", "sh"):
        torch.testing.assert_close(getattr(back, name), getattr(whole, name), atol=1e-4, rtol=1e-4)


def test_nothing_in_parts_needs_no_offset(tmp_path: Path) -> None:
    far_away = Similarity(1.0, TURN, np.full(3, 1e7))
    record = write_scene_parts(
        tmp_path / "none.ply", [], far_away, num_gaussians=0, sh_degree=0, middle=(0.0, 0.0, 0.0), radius=1.0
    )
    assert record["offset"] is None
    assert find_offset(random_gaussians(0), far_away) is None


def test_only_ply_can_be_written_in_parts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\.spz"):
        write_scene_parts(
            tmp_path / "scene.spz",
            [random_gaussians(3)],
            Similarity.identity(),
            num_gaussians=3,
            sh_degree=3,
            middle=(0.0, 0.0, 0.0),
            radius=1.0,
        )
    assert not list(tmp_path.iterdir())


def test_no_more_than_one_part_is_held(tmp_path: Path) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def parts() -> Iterator[Gaussians]:
        for seed in range(6):
            # The one that is handed out may still be held by whoever asks for the next.
            assert sum(each() is not None for each in alive) <= 1
            part = random_gaussians(50, seed=seed)
            alive.append(weakref.ref(part.means))
            yield part
            del part

    write_gaussians_ply_parts(tmp_path / "scene.ply", parts(), num_gaussians=300, sh_degree=3)
    assert len(alive) == 6
