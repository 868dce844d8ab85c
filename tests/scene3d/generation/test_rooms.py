"""Flats are closed, divided and furnished the same way each time, and their sites show each thing where it stands."""

import numpy as np
import pytest
from scipy import ndimage

from scene3d.errors import SettingsError
from scene3d.generation.comparison import field_of_values
from scene3d.generation.layout import paint_layout, read_layout
from scene3d.generation.palette import ROOM_CLASSES, class_colors, default_classes
from scene3d.generation.room_furniture import (
    make_bed,
    make_cabinet,
    make_coffee_table,
    make_desk,
    make_dining,
    make_lamp,
    make_sofa,
)
from scene3d.generation.room_sites import cut_room_site, make_room_site, room_spec
from scene3d.generation.room_solids import Solid, make_box
from scene3d.generation.rooms import DOOR_HEIGHT, OUTER_WALL, WALL_HEIGHT, make_flat
from scene3d.generation.site_sources import find_source
from scene3d.generation.sites import site_columns
from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.isosurface import extract_mesh
from scene3d.io.images import write_image
from tests.scene3d.generation.small import nano_spec

SPEC = room_spec(GeneratorSpec())
WALL, FLOOR = ROOM_CLASSES.index("wall"), ROOM_CLASSES.index("floor")


def a_flat(seed=0):
    return make_flat(np.random.default_rng(seed), size=(11.0, 12.0))


def layer(height_m):
    return int((height_m / SPEC.metres_per_block - SPEC.height_range[0]) * SPEC.block_voxels)


def test_rooms_fill_the_flat_without_overlap():
    flat = a_flat()
    areas = [room.sides[0] * room.sides[1] for room in flat.rooms]
    assert sum(areas) == pytest.approx(11.0 * 12.0)
    assert len(flat.rooms) >= 4
    assert min(min(room.sides) for room in flat.rooms) > 2.0


def test_every_flat_has_doors_and_windows_and_some_furniture():
    for seed in range(5):
        flat = a_flat(seed)
        assert sum(opening.is_door for opening in flat.openings) >= len(flat.rooms) - 2
        assert any(not opening.is_door for opening in flat.openings)
        assert len({solid.class_id for solid in flat.solids}) >= 5


def test_furniture_keeps_out_of_walls_and_of_each_other():
    flat = a_flat(2)
    pieces = [solid for solid in flat.solids if solid.class_id != WALL]
    for solid in pieces:
        inside = [
            (solid.low[:2] > np.array(room.low)).all() and (solid.high[:2] < np.array(room.high)).all()
            for room in flat.rooms
        ]
        assert sum(inside) == 1
    beds = [solid for solid in pieces if ROOM_CLASSES[solid.class_id] == "bed"]
    tables = [solid for solid in pieces if ROOM_CLASSES[solid.class_id] == "table"]
    for bed in beds:
        for table in tables:
            assert (bed.high[:2] <= table.low[:2]).any() or (table.high[:2] <= bed.low[:2]).any()


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (make_bed, {"bed"}),
        (make_cabinet, {"cabinet"}),
        (make_sofa, {"sofa"}),
        (make_lamp, {"lighting"}),
        (make_desk, {"table", "chair"}),
    ],
)
def test_a_piece_of_furniture_fills_its_footprint(make, wanted):
    size, solids = make(np.random.default_rng(1))
    low = np.min([solid.low for solid in solids], axis=0)
    high = np.max([solid.high for solid in solids], axis=0)
    assert {ROOM_CLASSES[solid.class_id] for solid in solids} == wanted
    assert np.allclose(low[:2], 0.0)
    assert np.allclose(high[:2], size, atol=0.08)
    assert 0.3 < high[2] < WALL_HEIGHT


def test_tables_have_stools_or_chairs_beside_them():
    found = set()
    for seed in range(12):
        for make in (make_dining, make_coffee_table):
            found |= {ROOM_CLASSES[solid.class_id] for solid in make(np.random.default_rng(seed))[1]}
    assert found == {"table", "chair", "stool"}


def test_distances_to_a_box_with_a_hole_and_to_a_cylinder():
    low, high, color = np.zeros(3), np.ones(3), np.zeros(3)
    hole = (np.array([0.4, -1.0, 0.4]), np.array([0.6, 2.0, 0.6]))
    points = np.array([[2.0, 0.5, 0.5], [0.5, 0.5, 0.5], [0.2, 0.5, 0.2], [2.0, 2.0, 0.5]])
    box = make_box(low, high, color, 0, holes=(hole,))
    assert box.distance(points).tolist() == pytest.approx([1.0, 0.1, -0.2, 2**0.5])
    round_one = Solid("cylinder", low, high, color, 0)
    places = np.array([[0.5, 0.5, 1.5], [1.5, 0.5, 0.5], [0.5, 0.5, 0.5], [1.5, 0.5, 1.5]])
    assert round_one.distance(places).tolist() == pytest.approx([0.5, 0.5, -0.5, 0.5**0.5])


def test_a_thin_thing_becomes_as_thick_as_voxels_show():
    thin = make_box(np.zeros(3), np.array([1.0, 0.02, 1.0]), np.zeros(3), 0).thickened(0.12)
    assert (thin.high - thin.low).tolist() == pytest.approx([1.0, 0.12, 1.0])


def test_a_sites_surface_is_closed_but_for_the_sides_of_the_site():
    """No open edge within the site: walls, furniture and floor are one solid with everything below."""
    site = make_room_site(SPEC, 0, 0)
    mesh = extract_mesh(field_of_values(site.values(), SPEC))
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() == 2
    ends = mesh.vertices[unique[counts == 1]] * SPEC.block_voxels
    rim = (ends[..., :2] < 0.51) | (ends[..., :2] > site_columns(SPEC) - 0.51)
    assert rim.any(axis=2).all()


def test_a_site_is_solid_below_its_floor_and_free_above_its_walls():
    site = make_room_site(SPEC, 0, 1)
    assert (site.tsdf[:, :, : layer(-0.01)] < 0).all()
    assert (site.tsdf[:, :, layer(WALL_HEIGHT) + 1 :] > 0).all()
    parts, count = ndimage.label(site.tsdf < 0)
    for part in range(1, count + 1):
        x, y, z = np.nonzero(parts == part)
        at_rim = min(x.min(), y.min()) == 0 or max(x.max(), y.max()) == site_columns(SPEC) - 1
        assert z.min() == 0 or at_rim, "hangs in the air"


def test_classes_lie_over_what_stands_there():
    site = make_room_site(SPEC, 0, 0)
    raised = (site.tsdf[:, :, layer(0.15) :] < 0).any(axis=2)
    assert raised[site.class_id == WALL].mean() > 0.95
    bare = site.class_id == FLOOR
    doorless = bare & ~(site.tsdf[:, :, layer(DOOR_HEIGHT + 0.15)] < 0)
    assert raised[doorless].mean() < 0.03
    for name in ("bed", "cabinet", "sofa", "table"):
        there = site.class_id == ROOM_CLASSES.index(name)
        if there.any():
            assert raised[there].mean() > 0.9
    assert site.rgb[np.abs(site.tsdf.astype(int)) < 60].mean() > 30


def test_a_door_is_a_gap_in_the_layouts_wall_below_a_lintel():
    flat = a_flat(1)
    door = next(opening for opening in flat.openings if opening.is_door and opening.axis == 0)
    middle = np.array([door.along, door.across])
    side_m = site_columns(SPEC) * SPEC.voxel_m
    low = np.clip(middle - side_m / 2, 0.0, np.array(flat.size) - side_m)
    site = cut_room_site(SPEC, flat, low)
    x, y = ((middle - low) / SPEC.voxel_m).astype(int)
    assert site.class_id[x, y] == FLOOR
    assert site.tsdf[x, y, layer(1.0)] > 0
    assert site.tsdf[x, y, layer(DOOR_HEIGHT + 0.25)] < 0
    beside = x + int((door.width / 2 + 0.25) / SPEC.voxel_m)
    assert site.class_id[beside, y] == WALL


def test_outer_walls_close_the_flat():
    flat = a_flat(3)
    site = cut_room_site(SPEC, flat, np.zeros(2))
    rows = int(OUTER_WALL / 2 / SPEC.voxel_m)
    assert (site.class_id[:rows] == WALL).all()


def test_the_same_number_is_the_same_site_and_another_is_another():
    one, again, other = (make_room_site(SPEC, 0, number) for number in (4, 4, 5))
    assert np.array_equal(one.tsdf, again.tsdf)
    assert np.array_equal(one.rgb, again.rgb)
    assert np.array_equal(one.class_id, again.class_id)
    assert (one.tsdf != other.tsdf).mean() > 0.05


def test_coarse_voxels_show_the_walls_too():
    spec = room_spec(nano_spec())
    site = make_room_site(spec, 0, 0)
    raised = (site.tsdf[:, :, 3:] < 0).any(axis=2)
    assert raised[site.class_id == WALL].mean() > 0.9


def test_rooms_have_a_palette_of_their_own(tmp_path):
    assert len(set(class_colors(ROOM_CLASSES))) == len(ROOM_CLASSES)
    layout = np.arange(-1, len(ROOM_CLASSES))[:, None].repeat(3, axis=1)
    write_image(tmp_path / "rooms.png", paint_layout(layout, ROOM_CLASSES))
    assert np.array_equal(read_layout(tmp_path / "rooms.png", ROOM_CLASSES), layout)


def test_rooms_and_the_world_do_not_mix():
    assert room_spec(nano_spec()).classes == ROOM_CLASSES
    for name, spec in (("rooms", nano_spec()), ("world", room_spec(nano_spec()))):
        with pytest.raises(SettingsError, match="rooms have blocks and classes of their own"):
            find_source(name, spec, 0)
    assert find_source("rooms", room_spec(nano_spec()), 0).identity["kind"] == "rooms"
    assert default_classes()[7] == ROOM_CLASSES[0] == "wall"
