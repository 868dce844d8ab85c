"""Meshes on disk, read back by us and by trimesh."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from scene3d.errors import InputError, SettingsError
from scene3d.geometry.mesh import TriangleMesh
from scene3d.io.meshes import read_mesh, write_mesh

FAR = np.array([500_000.0, 5_800_000.0, 80.0])
MESH = TriangleMesh(
    vertices=np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3.0]]) + FAR + 0.123456789,
    faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
    colors=np.array([[1.0, 0, 0], [0, 1, 0], [0.2, 0.4, 1], [0.2, 0.5, 0.05]]),
)


@pytest.mark.parametrize(("suffix", "error", "color_error"), [(".ply", 0.0, 0.003), (".glb", 2e-7, 0.03)])
def test_a_mesh_comes_back_far_from_the_origin(tmp_path: Path, suffix: str, error: float, color_error: float) -> None:
    path = tmp_path / "new" / f"mesh{suffix}"
    write_mesh(path, MESH, comments=["made for a test"])
    again = read_mesh(path)
    assert np.abs(again.vertices - MESH.vertices).max() <= error
    assert (again.faces == MESH.faces).all()
    assert again.colors == pytest.approx(MESH.colors, abs=color_error)
    assert b"made for a test" in path.read_bytes()


def test_other_programs_find_a_glb_upright_and_whole(tmp_path: Path) -> None:
    write_mesh(tmp_path / "mesh.glb", MESH)
    scene = trimesh.load_scene(tmp_path / "mesh.glb")
    extent = scene.bounds[1] - scene.bounds[0]
    assert extent == pytest.approx([1, 3, 2])  # y up
    solid = scene.to_geometry()
    assert solid.is_watertight
    assert solid.volume == pytest.approx(1.0)


def test_other_programs_find_the_colours_of_a_ply(tmp_path: Path) -> None:
    write_mesh(tmp_path / "mesh.ply", MESH)
    loaded = trimesh.load(tmp_path / "mesh.ply", process=False)
    assert loaded.visual.vertex_colors[2, :3].tolist() == [51, 102, 255]


def test_a_mesh_without_colours_is_grey(tmp_path: Path) -> None:
    write_mesh(tmp_path / "mesh.ply", TriangleMesh(vertices=MESH.vertices, faces=MESH.faces))
    assert read_mesh(tmp_path / "mesh.ply").colors == pytest.approx(0.5, abs=0.003)


def test_a_mesh_of_another_program_is_read_without_colours(tmp_path: Path) -> None:
    (tmp_path / "mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    mesh = read_mesh(tmp_path / "mesh.obj")
    assert mesh.faces.tolist() == [[0, 1, 2]]


def test_numbers_that_are_not_finite_are_refused_and_no_file_is_left(tmp_path: Path) -> None:
    broken = TriangleMesh(vertices=MESH.vertices * np.nan, faces=MESH.faces)
    with pytest.raises(InputError, match="not finite"):
        write_mesh(tmp_path / "mesh.ply", broken)
    assert not list(tmp_path.iterdir())


def test_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\.ply or \.glb"):
        write_mesh(tmp_path / "mesh.fbx", MESH)
    with pytest.raises(InputError, match="is no mesh"):
        read_mesh(tmp_path / "mesh.fbx")


@pytest.mark.parametrize("content", [b"", b"ply\nformat ascii 1.0\n", b"glTF\x02\x00\x00\x00"])
@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"mesh{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_mesh(path)
