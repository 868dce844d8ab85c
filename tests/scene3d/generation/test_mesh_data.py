"""Models become voxels: the union is closed, sign and distance are the truth, and folders of models make sites."""

import numpy as np
import pytest
import trimesh

from scene3d.errors import InputError
from scene3d.events import Quiet
from scene3d.generation.mesh_parts import find_models, is_land, join_meshes, read_parts, stand_upright, unite
from scene3d.generation.mesh_sites import load_models, make_mesh_site
from scene3d.generation.mesh_voxels import measure_distance, voxelise
from scene3d.geometry.mesh import TriangleMesh
from tests.scene3d.generation.small import nano_spec


def box(low: list[float], high: list[float]) -> TriangleMesh:
    made = trimesh.creation.box(bounds=np.array([low, high]))
    return TriangleMesh(vertices=np.array(made.vertices), faces=np.array(made.faces), colors=np.full((8, 3), 0.25))


def box_distance(points: np.ndarray, low: list[float], high: list[float]) -> np.ndarray:
    middle, half = 0.5 * (np.array(low) + high), 0.5 * (np.array(high) - low)
    beside = np.abs(points - middle) - half
    return np.linalg.norm(np.maximum(beside, 0), axis=1) + np.minimum(beside.max(axis=1), 0)


BOXES = (([0.1, 0.1, 0.0], [0.5, 0.6, 0.4]), ([0.31, 0.27, 0.0], [0.8, 0.5, 0.7]), ([0.6, 0.72, 0.1], [0.9, 0.9, 0.3]))


def test_a_union_is_watertight_and_its_voxels_tell_the_truth():
    united = unite([box(*one) for one in BOXES])
    assert united is not None
    assert trimesh.Trimesh(united.vertices, united.faces, process=False).is_watertight
    side = 28
    field = voxelise(united, (side, side, side), np.zeros(3), 1 / side, truncation=0.15)
    points = field.centers().reshape(-1, 3)
    assert len(points) > 20_000
    each = np.stack([box_distance(points, *one) for one in BOXES])
    outside = each.min(axis=0)
    found = field.sdf.reshape(-1)
    assert ((found < 0) == (outside < 0)).mean() >= 0.999
    # Outside the union its distance is the smallest of the boxes'; inside, that is only a bound.
    free = (outside > 0) & (outside < 0.15)
    assert np.abs(found[free] - outside[free]).mean() <= 1e-3
    assert (found[outside < 0] <= np.maximum(outside[outside < 0], -0.15) + 1e-6).all()  # single precision in the union
    assert np.allclose(field.rgb[np.abs(field.sdf) < 0.1], 0.6)  # no colours: grey


def test_an_open_part_cannot_be_united_but_is_filled_from_above():
    closed = box(*BOXES[0])
    lid = TriangleMesh(vertices=closed.vertices, faces=closed.faces[closed.face_normals()[:, 2] > -0.5])
    assert unite([lid]) is None
    field = voxelise(lid, (16, 16, 16), np.zeros(3), 1 / 16, truncation=0.2, fill_below=True)
    solid = field.sdf < 0
    assert solid[4, 4, 0]
    assert not solid[4, 4, 12]
    assert not solid[14, 14].any()


def test_distances_are_exact_however_large_the_triangles():
    wide = box([-50.0, -50.0, -1.0], [50.0, 50.0, 0.0])
    points = np.random.default_rng(0).uniform([-2, -2, 0.0], [2, 2, 1.0], (200, 3))
    assert np.allclose(measure_distance(wide, points, 2.0, 0.4), points[:, 2], atol=1e-9)


def test_lifted_columns_follow_a_slope():
    ramp = TriangleMesh(
        vertices=np.array([[0.0, 0, 0], [1, 0, 0.5], [1, 1, 0.5], [0, 1, 0]]), faces=np.array([[0, 1, 2], [0, 2, 3]])
    )
    level = np.broadcast_to(((np.arange(16) + 0.5) / 16 * 0.5)[:, None], (16, 16)).copy()
    origin = np.array([0.0, 0.0, -0.25])
    field = voxelise(ramp, (16, 16, 8), origin, 1 / 16, truncation=0.2, fill_below=True, level=level)
    assert (field.sdf[:, :, :4] < 0).all()
    assert (field.sdf[:, :, 4:] > 0).all()


def test_models_are_stood_upright_on_the_origin(tmp_path):
    tower = trimesh.creation.box(bounds=[[2, 0, 5], [3, 4, 7]])  # y up, as glTF says
    tower.visual.face_colors = [200, 100, 50, 255]
    tower.export(tmp_path / "tower.glb")
    (part,) = read_parts(tmp_path / "tower.glb")
    assert np.allclose(np.ptp(part.vertices, axis=0), [1, 2, 4])
    assert np.allclose(part.vertices.min(axis=0), [-0.5, -1, 0])
    assert part.colors is not None
    assert np.allclose(part.colors, np.array([200, 100, 50]) / 255, atol=0.01)
    assert not is_land([part])


def test_a_wide_flat_map_is_land_and_stays_z_up():
    tile = box([0.0, 0.0, 3.0], [400.0, 300.0, 30.0])
    (stood,) = stand_upright([tile])
    assert np.allclose(np.ptp(stood.vertices, axis=0), [400, 300, 27])
    assert stood.vertices[:, 2].min() == 0
    assert is_land([stood])


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    for number, size in enumerate(([1, 2, 1], [2, 1, 1])):
        house = trimesh.creation.box(extents=size)
        house.visual.face_colors = [180, 60, 40, 255]
        house.export(folder / f"house{number}.glb")
    (folder / "broken.glb").write_bytes(b"glTF nothing")
    (folder / "notes.txt").write_text("no model")
    return folder


def test_a_folder_of_models_makes_sites(kit):
    models = load_models(kit, Quiet())
    assert [model.name for model in models] == ["house0.glb", "house1.glb"]
    assert all(model.closed for model in models)
    site = make_mesh_site(nano_spec(), models, 0, 0)
    solid = site.tsdf < 0
    assert solid[:, :, 0].all()
    assert not solid[:, :, -1].any()
    assert 0.05 < solid[:, :, 4].mean() < 0.6
    assert (site.class_id == -1).all()
    red = site.rgb[solid & (np.abs(site.tsdf) < 60)][:, 0] > 160
    assert red.mean() > 0.05
    assert site.tsdf.tobytes() == make_mesh_site(nano_spec(), models, 0, 0).tsdf.tobytes()


def test_land_is_cut_and_levelled(tmp_path):
    x, y = np.meshgrid(np.arange(0, 201.0, 20), np.arange(0, 201.0, 20), indexing="ij")
    ground = np.stack([x, y, 0.12 * x], axis=-1).reshape(-1, 3)
    side = len(x)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).reshape(-1)
    faces = np.concatenate(
        [np.stack([corner, corner + side, corner + side + 1], 1), np.stack([corner, corner + side + 1, corner + 1], 1)]
    )
    trimesh.Trimesh(ground, faces, process=False).export(tmp_path / "slope.ply")
    models = load_models(tmp_path, Quiet())
    assert models[0].land
    site = make_mesh_site(nano_spec(), models, 0, 0)
    top = (site.tsdf < 0).sum(axis=2)
    assert np.ptp(top) <= 1


def test_folders_without_models_are_refused(tmp_path):
    with pytest.raises(InputError, match="no models"):
        find_models(tmp_path)
    (tmp_path / "a.glb").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no model in it"):
        load_models(tmp_path, Quiet())


def test_joined_parts_keep_their_colours():
    joined = join_meshes([box(*BOXES[0]), TriangleMesh(vertices=np.eye(3), faces=np.array([[0, 1, 2]]))])
    assert joined.faces.max() == 10
    assert joined.colors is not None
    assert joined.colors[0, 0] == 0.25
    assert joined.colors[-1, 0] == 0.6
