"""Point clouds as PLY: doubles and bytes there and back, colours of any type, vertices of meshes."""

from pathlib import Path

import numpy as np
import plyfile
import pytest

from scene3d.errors import InputError
from scene3d.events import Quiet
from scene3d.io.ply import read_gaussians_ply, read_points_ply, write_points_ply
from tests.scene3d.io.gaussian_sets import notes_of


def write_table(path: Path, table: np.ndarray) -> None:
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(path)


@pytest.mark.parametrize("text", [False, True])
def test_the_vertices_of_a_mesh_are_points_but_no_gaussian_scene(tmp_path: Path, text: bool) -> None:
    vertices = np.array([(1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.0)], [(name, "f4") for name in "xyz"])
    faces = np.zeros(1, [("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = [0, 1, 2]
    elements = [plyfile.PlyElement.describe(vertices, "vertex"), plyfile.PlyElement.describe(faces, "face")]
    plyfile.PlyData(elements, text=text).write(tmp_path / "a.ply")
    (positions, colors), notes = notes_of(tmp_path, read_points_ply, tmp_path / "a.ply")
    assert positions.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert (colors == 128).all()
    assert "no colours" in notes[0]
    with pytest.raises(InputError, match="mesh"):
        read_gaussians_ply(tmp_path / "a.ply")


def test_an_element_before_the_vertices_is_stepped_over(tmp_path: Path) -> None:
    first = np.zeros(3, [("a", "u1"), ("b", "f8")])
    points = np.array([(1.0, 2.0, 3.0)], [(name, "f8") for name in "xyz"])
    elements = [plyfile.PlyElement.describe(first, "camera"), plyfile.PlyElement.describe(points, "vertex")]
    plyfile.PlyData(elements).write(tmp_path / "a.ply")
    assert read_points_ply(tmp_path / "a.ply")[0].tolist() == [[1, 2, 3]]


def test_points_keep_double_precision_and_colours(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    positions = generator.normal(size=(100, 3)) + np.array([4.5e5, 5.9e6, 200])
    colors = generator.integers(0, 256, (100, 3), np.uint8)
    write_points_ply(tmp_path / "a.ply", positions, colors, comments=("local",))
    read_positions, read_colors = read_points_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(read_positions, positions)
    np.testing.assert_array_equal(read_colors, colors)
    vertex = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    np.testing.assert_array_equal(np.stack([vertex[name] for name in "xyz"], axis=1), positions)
    np.testing.assert_array_equal(vertex["green"], colors[:, 1])


def test_open3d_reads_the_points(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d", reason="open3d cannot be imported here", exc_type=ImportError)
    positions = np.arange(12.0).reshape(4, 3)
    colors = np.arange(12, dtype=np.uint8).reshape(4, 3) * 20
    write_points_ply(tmp_path / "a.ply", positions, colors)
    cloud = open3d.io.read_point_cloud(str(tmp_path / "a.ply"))
    np.testing.assert_array_equal(np.asarray(cloud.points), positions)
    np.testing.assert_allclose(np.asarray(cloud.colors) * 255, colors, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [("u1", 200, 200), ("u2", 65535, 255), ("u2", 257, 1), ("f4", 0.5, 128), ("f8", 1.0, 255)],
)
def test_colours_of_any_type_become_bytes(tmp_path: Path, kind: str, value: float, expected: int) -> None:
    table = np.zeros(1, [*((n, "f4") for n in "xyz"), *((n, kind) for n in ("red", "green", "blue"))])
    table["green"] = value
    write_table(tmp_path / "a.ply", table)
    assert read_points_ply(tmp_path / "a.ply")[1].tolist() == [[0, expected, 0]]


@pytest.mark.parametrize(("kind", "value"), [("f4", 1.5), ("f4", np.nan), ("i2", -1)])
def test_colours_out_of_range_are_refused(tmp_path: Path, kind: str, value: float) -> None:
    table = np.zeros(1, [*((n, "f4") for n in "xyz"), *((n, kind) for n in ("red", "green", "blue"))])
    table["red"] = value
    write_table(tmp_path / "a.ply", table)
    with pytest.raises(InputError, match="colour lies outside"):
        read_points_ply(tmp_path / "a.ply")


def test_few_points_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    positions = np.ones((100, 3))
    positions[7, 1] = np.nan
    colors = np.zeros((100, 3), np.uint8)
    write_points_ply(tmp_path / "a.ply", positions, colors)
    (read, read_colors), notes = notes_of(tmp_path, read_points_ply, tmp_path / "a.ply")
    assert (len(read), len(read_colors)) == (99, 99)
    assert "1 of 100 points are not finite" in notes[0]
    write_points_ply(tmp_path / "a.ply", positions[:99], colors[:99])
    with pytest.raises(InputError, match="1 of 99 points"):
        read_points_ply(tmp_path / "a.ply", reporter=Quiet())
