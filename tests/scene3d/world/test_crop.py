"""The world as one infinite field: any two crops agree, the same seed is the same place, distances tell the truth."""

from dataclasses import fields

import numpy as np
import pytest

from scene3d.world.classes import SurfaceClass
from scene3d.world.crop import REACH_M, World
from scene3d.world.photograph import make_layout
from scene3d.world.projection import make_geometry
from scene3d.world.solids import Balls, Blocks
from scene3d.world.streets import District
from scene3d.world.terrain import WATER_LEVEL_M, Bounds, make_terrain
from tests.scene3d.world import places

# A crop is a second of work, and a busy machine stretches it.
pytestmark = pytest.mark.timeout(240)


def rows_inside(solids: Blocks | Balls, bounds: Bounds) -> np.ndarray:
    """All numbers of the solids that touch a rectangle, one row each, in a settled order."""
    low, high = solids.boxes()
    touching = (high[:, 0] >= bounds.x_min) & (low[:, 0] < bounds.x_max)
    touching &= (high[:, 1] >= bounds.y_min) & (low[:, 1] < bounds.y_max)
    columns = [np.asarray(getattr(solids, f.name), np.float64).reshape(len(solids), -1) for f in fields(solids)]
    table = np.concatenate(columns, axis=1)[touching]
    return table[np.lexsort(table.T)]


@pytest.fixture(scope="module")
def shifted():
    """A crop that shares the north-eastern part of the town."""
    bounds = places.town().bounds
    return World(places.SEED).crop(
        Bounds(
            x_min=bounds.x_min + 61.7, y_min=bounds.y_min + 40.2, x_max=bounds.x_max + 90.0, y_max=bounds.y_max + 33.3
        )
    )


@pytest.fixture(scope="module")
def shared_bounds(shifted):
    town = places.town().bounds
    return Bounds(x_min=shifted.bounds.x_min, y_min=shifted.bounds.y_min, x_max=town.x_max, y_max=town.y_max)


def points_in(bounds: Bounds, count: int, z: tuple[float, float] = (-5.0, 40.0)) -> np.ndarray:
    low, high = [bounds.x_min, bounds.y_min, z[0]], [bounds.x_max, bounds.y_max, z[1]]
    return np.random.default_rng(4).uniform(low, high, (count, 3))


def test_two_crops_have_the_same_solids_where_they_overlap(shifted, shared_bounds):
    for ours, theirs in ((places.town().blocks, shifted.blocks), (places.town().balls, shifted.balls)):
        mine, others = rows_inside(ours, shared_bounds), rows_inside(theirs, shared_bounds)
        assert len(mine) > 100
        assert np.array_equal(mine, others)


def test_two_crops_have_the_same_ground_and_distances_to_the_last_bit(shifted, shared_bounds):
    points = points_in(shared_bounds, 4000)
    town = places.town()
    assert np.array_equal(town.height(points[:, :2]), shifted.height(points[:, :2]))
    assert np.array_equal(town.distance(points), shifted.distance(points))


def test_two_layouts_on_one_grid_agree(shifted, shared_bounds):
    pixel_m = 0.5
    bounds = Bounds(
        x_min=np.ceil(shared_bounds.x_min), y_min=np.ceil(shared_bounds.y_min),
        x_max=np.floor(shared_bounds.x_max), y_max=np.floor(shared_bounds.y_max),
    )  # fmt: skip
    one, other = (make_layout(make_geometry(crop), bounds, pixel_m) for crop in (places.town(), shifted))
    assert np.abs(one.height - other.height).max() < 1e-6
    assert (one.class_id == other.class_id).mean() > 0.9999


def test_the_world_answers_anywhere_without_a_crop():
    points = points_in(places.town().bounds, 300)
    world = World(places.SEED)
    assert np.array_equal(world.distance(points), places.town().distance(points))
    assert np.array_equal(world.height(points[:, :2]), places.town().height(points[:, :2]))
    far = points[:20] + np.array([250_000.0, -130_000.0, 0.0])
    assert np.isfinite(world.distance(far)).all()


def test_another_seed_is_another_place():
    xy = points_in(places.town().bounds, 500)[:, :2]
    assert np.abs(World(places.SEED).height(xy) - World(places.SEED + 1).height(xy)).max() > 1.0


def test_every_class_appears_in_a_city_sized_crop():
    world = World(places.SEED)
    bounds = Bounds.around(world.find_town(), 200.0)
    layout = make_layout(make_geometry(world.crop(bounds)), bounds, 1.0)
    shares = np.bincount(layout.class_id.ravel(), minlength=len(SurfaceClass)) / layout.class_id.size
    # Walls stand upright, so from above they show only by the edge of a pixel, if at all.
    seen = set(SurfaceClass) - {SurfaceClass.NOTHING, SurfaceClass.WALL}
    assert {SurfaceClass(one) for one in np.flatnonzero(shares)} >= seen
    assert shares[SurfaceClass.NOTHING] == 0
    assert shares[SurfaceClass.ROOF] > 0.05
    assert 0.08 < shares[SurfaceClass.ROAD] < 0.4


def test_just_above_the_layout_is_outside_and_just_below_is_inside():
    town, pixel_m = places.town(), 1.7
    layout = make_layout(make_geometry(town), town.bounds, pixel_m)
    rows, columns = np.divmod(np.arange(layout.height.size), layout.height.shape[1])
    x = town.bounds.x_min + (columns + 0.5) * pixel_m
    y = town.bounds.y_max - (rows + 0.5) * pixel_m
    top = np.stack([x, y, layout.height.ravel()], axis=1)
    assert (town.distance(top + np.array([0, 0, 1e-3])) > 0).all()
    assert (town.distance(top - np.array([0, 0, 1e-3])) < 0).all()


def test_distances_are_cut_off_and_shrink_no_faster_than_one_walks():
    town = places.town()
    points = points_in(town.bounds.grown(-1.0), 4000, (0.0, 50.0))
    distance = town.distance(points)
    assert np.abs(distance).max() <= REACH_M
    step = np.random.default_rng(5).normal(size=points.shape)
    step *= 0.3 / np.linalg.norm(step, axis=1, keepdims=True)
    change = np.abs(town.distance(points + step) - distance)
    # A tenth of slack: over sloping land the distance is the height above it times a cosine that changes.
    assert change.max() <= 0.3 * 1.1


def test_water_is_level_and_above_its_bed():
    world = World(1)
    crop = world.crop(Bounds.around(world.find_town(), 220.0))
    xy = points_in(crop.bounds, 40_000)[:, :2]
    bed = crop.terrain.sample(xy).height
    wet = bed < WATER_LEVEL_M
    assert wet.any()
    assert np.array_equal(crop.height(xy)[wet], np.full(wet.sum(), WATER_LEVEL_M))
    assert np.array_equal(crop.height(xy)[~wet], bed[~wet])


@pytest.mark.parametrize("seed", range(6))
def test_a_town_has_city_village_and_open_land_around_it(seed):
    bounds = Bounds.around(World(seed).find_town(), 120.0)
    terrain, plan = make_terrain(seed, bounds)
    ground = terrain.sample(points_in(bounds, 3000)[:, :2])
    spots = plan.locate(ground.u, ground.v)
    kinds = set(plan.district[spots.i, spots.j].tolist())
    assert kinds >= {District.CITY, District.VILLAGE}
    assert kinds & {District.PARK, District.FIELD}
