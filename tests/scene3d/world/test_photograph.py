"""Pictures of the world: against brute-force rays, against the distance field, and against each other."""

import numpy as np
import pytest

from scene3d.world.classes import SurfaceClass
from scene3d.world.crop import PartKind
from scene3d.world.photograph import photograph, trace, trace_depth
from scene3d.world.surfaces import find_surface, paint_surface
from tests.scene3d.world import places

CAMERAS = {
    "aerial": places.town_camera((5, -10, 75), (0, 8, 0)),
    "oblique": places.town_camera((-60, -45, 40), (10, 5, 0)),
    "low": places.town_camera((-38, 20, 9), (20, 0, 4)),
}


def hit_points(camera, depth):
    rays = places.pixel_rays(camera)
    seen = depth.ravel() > 0
    return camera.center + depth.ravel()[seen, None] * rays[seen], rays[seen], seen


def brute_force_depth(geometry, origin, ray):
    """Nearest hit of one ray with every triangle and ball, by the textbook formulas."""
    a, b, c = geometry.triangles.transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    facing = normal @ ray
    with np.errstate(divide="ignore", invalid="ignore"):
        t = ((a - origin) * normal).sum(1) / facing
    point = origin + t[:, None] * ray
    inside = facing < 0
    for start, end in ((a, b), (b, c), (c, a)):
        inside &= (np.cross(end - start, point - start) * normal).sum(1) >= 0
    hits = t[inside & (t > 0.2)]
    balls = geometry.crop.balls
    away = balls.center - origin
    along = away @ ray
    root = along**2 - (ray @ ray) * ((away**2).sum(1) - balls.radius**2)
    near = (along - np.sqrt(np.maximum(root, 0))) / (ray @ ray)
    hits = np.append(hits, near[(root >= 0) & (near > 0.2)])
    return hits.min(initial=np.inf)


@pytest.mark.parametrize("name", CAMERAS)
def test_depth_equals_brute_force_ray_casting(name):
    studio, camera = places.town_studio(), CAMERAS[name]
    depth = trace_depth(studio, camera).ravel()
    rays = places.pixel_rays(camera)
    for pixel in np.random.default_rng(0).choice(len(rays), 25, replace=False):
        expected = brute_force_depth(studio.geometry, camera.center, rays[pixel])
        assert depth[pixel] == pytest.approx(expected if np.isfinite(expected) else 0.0, rel=1e-6)


@pytest.mark.parametrize("name", CAMERAS)
def test_rays_end_on_the_surface_and_cross_nothing_before(name):
    studio, camera = places.town_studio(), CAMERAS[name]
    points, rays, _ = hit_points(camera, trace_depth(studio, camera))
    inside = studio.crop.bounds.contains(points)
    assert inside.mean() > 0.3
    points, rays = points[inside], rays[inside]
    assert np.abs(studio.crop.distance(points)).max() < 1e-6
    depth = ((points - camera.center) * rays).sum(1) / (rays**2).sum(1)
    for share in (0.999, 0.97, 0.8):
        before = camera.center + share * depth[:, None] * rays
        before = before[studio.crop.bounds.contains(before)]
        assert studio.crop.distance(before).min() > -1e-6


def test_behind_a_hit_is_inside():
    studio, camera = places.town_studio(), CAMERAS["aerial"]
    points, rays, _ = hit_points(camera, trace_depth(studio, camera))
    kept = studio.crop.bounds.contains(points)
    unit = rays[kept] / np.linalg.norm(rays[kept], axis=1, keepdims=True)
    # Rays may leave thin or rounded things again; a millimetre further nearly all are still in.
    assert (studio.crop.distance(points[kept] + 1e-3 * unit) < 0).mean() > 0.995


def test_what_one_view_sees_another_sees_at_the_same_depth_or_hidden():
    studio = places.town_studio()
    first, second = CAMERAS["aerial"], CAMERAS["oblique"]
    points, _, _ = hit_points(first, trace_depth(studio, first))
    inside = points @ second.cam_from_world[:3, :3].T + second.cam_from_world[:3, 3]
    pixel = inside[:, :2] / inside[:, 2:] @ second.K[:2, :2] + second.K[:2, 2]
    shown = (inside[:, 2] > 0) & (pixel >= 1).all(1) & (pixel < [second.width - 1, second.height - 1]).all(1)
    cell = np.floor(pixel[shown]).astype(np.int64)
    depth = trace_depth(studio, second)
    around = np.stack([depth[cell[:, 1] + y, cell[:, 0] + x] for y in (-1, 0, 1) for x in (-1, 0, 1)])
    gap = np.abs(around - inside[shown, 2]).min(axis=0) / inside[shown, 2]
    hidden = around.max(axis=0) < inside[shown, 2] * 0.99
    assert shown.sum() > 500
    # Nothing is seen through something: each point is at the depth that the other view saw there, or behind it.
    assert ((gap < 0.02) | hidden).mean() > 0.98
    assert (gap < 0.02).mean() > 0.4


def test_a_place_looks_alike_from_two_sides():
    studio = places.town_studio()
    first, second = CAMERAS["aerial"], places.town_camera((-12, 6, 70), (0, 0, 0))
    points, _, _ = hit_points(first, trace_depth(studio, first))
    inside = points @ second.cam_from_world[:3, :3].T + second.cam_from_world[:3, 3]
    pixel = np.floor(inside[:, :2] / inside[:, 2:] @ second.K[:2, :2] + second.K[:2, 2]).astype(np.int64)
    shown = ((pixel >= 0) & (pixel < [second.width, second.height])).all(1)
    depth = trace_depth(studio, second)
    pixel = np.where(shown[:, None], pixel, 0)
    same = shown & (np.abs(depth[pixel[:, 1], pixel[:, 0]] - inside[:, 2]) < 0.3)
    ours = photograph(studio, first).reshape(-1, 3)[same]
    theirs = photograph(studio, second)[pixel[same, 1], pixel[same, 0]]
    assert same.sum() > 1000
    assert np.median(np.abs(ours - theirs)) < 0.03
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.85


def test_more_samples_per_pixel_change_edges_but_not_the_whole():
    studio, camera = places.town_studio(), CAMERAS["oblique"]
    coarse, fine = (photograph(studio, camera, samples_per_side=count) for count in (1, 4))
    assert abs(float(coarse.mean() - fine.mean())) < 0.004
    assert 0.005 < float(np.abs(coarse - fine).mean()) < 0.05


def test_a_photograph_is_the_same_each_time_and_brighter_with_more_exposure():
    studio, camera = places.town_studio(), CAMERAS["low"]
    image = photograph(studio, camera)
    assert np.array_equal(image, photograph(studio, camera))
    assert image.min() >= 0
    assert image.max() <= 1
    assert (photograph(studio, camera, gain=1.5) >= image).all()


def test_pictures_have_contrast_and_colour():
    studio, camera = places.town_studio(), CAMERAS["aerial"]
    image = photograph(studio, camera)
    assert 0.2 < image.mean() < 0.65
    assert image.std() > 0.12
    assert (image.max(axis=2) - image.min(axis=2)).mean() > 0.05


def test_the_sun_reaches_open_roofs_and_not_the_ground_under_trees():
    studio = places.town_studio()
    light, crop = studio.light, studio.crop
    lowest = crop.balls.center[np.argsort(crop.balls.radius)[-50:]]
    under = lowest.copy()
    under[:, 2] = crop.height(under[:, :2]) + 0.05
    upward = np.tile([0.0, 0.0, 1.0], (50, 1))
    grey = np.full((50, 3), 0.5)
    # Straight behind the crown, as the sun looks.
    behind = lowest - light.sun * ((lowest[:, 2] - under[:, 2]) / light.sun[2])[:, None]
    inside = crop.bounds.contains(behind)
    behind[:, 2] = crop.height(behind[:, :2]) + 0.05
    flat = np.abs(behind[:, 2] - under[:, 2]) < 0.3
    shaded = light.shade(grey, behind, upward, upward)[inside & flat]
    high = under + np.array([0.0, 0.0, 60.0])
    open_air = light.shade(grey, high, upward, upward)
    assert len(shaded) > 10
    assert np.median(shaded.mean(axis=1)) < 0.5 * np.median(open_air.mean(axis=1))


@pytest.mark.parametrize("name", CAMERAS)
def test_asking_for_a_surface_point_gives_what_the_camera_saw(name):
    studio, camera = places.town_studio(), CAMERAS[name]
    traced = trace(studio, camera)
    points, _, seen = hit_points(camera, traced.depth)
    kept = studio.crop.bounds.contains(points)
    surface = find_surface(studio.crop, points[kept])
    assert not (surface.kind == PartKind.NONE).any()
    paint = paint_surface(studio.crop, surface)
    same = paint.class_id == traced.class_id.ravel()[seen][kept]
    assert same.mean() > 0.99
    assert (paint.albedo >= 0).mean() > 0.999
    assert paint.albedo.max() < 1.5


def test_an_upward_view_sees_only_sky():
    studio = places.town_studio()
    camera = places.town_camera((0, 0, 100), (1, 0, 180))
    traced = trace(studio, camera)
    assert not traced.depth.any()
    assert (traced.class_id == SurfaceClass.NOTHING).all()
    image = photograph(studio, camera)
    assert (image[..., 2] >= image[..., 0]).all()
