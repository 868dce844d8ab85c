"""The scene doctor: quiet about good captures, and for each fault the right verdict and words."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from scene3d.data.capture import Severity, SparsePoints
from scene3d.data.inspection import inspect_capture, worst_severity
from scene3d.data.reading import read_capture
from scene3d.geometry.similarity import Similarity
from scene3d.seeding import make_numpy_generator
from tests.helpers import shared_data
from tests.scene3d.data import rigs

RIG = rigs.orbit()
INFO, WARNING, ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR


def with_views(capture, count):
    kept = range(count)
    return replace(capture, views=capture.views[:count], points=capture.points.seen_by(kept))


def with_points(capture, positions):
    return replace(capture, points=replace(capture.points, positions=np.asarray(positions, np.float64)))


def with_cameras(capture, *cameras):
    """The first views with other cameras; tracks stay as they are."""
    changed = [replace(view, camera=camera) for view, camera in zip(capture.views, cameras, strict=False)]
    return replace(capture, views=(*changed, *capture.views[len(changed) :]))


def with_K(capture, index, **entries):
    view = capture.views[index]
    K = view.camera.K.copy()
    for name, value in entries.items():
        K[{"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2)}[name]] = value
    views = list(capture.views)
    views[index] = replace(view, camera=replace(view.camera, K=K))
    return replace(capture, views=tuple(views))


def scaled(capture, scale, shift=(0.0, 0.0, 0.0)):
    return rigs.moved(capture, Similarity(scale, np.eye(3), np.array(shift)))


def turning_on_the_spot():
    centre = RIG.views[0].camera.center
    rng = make_numpy_generator(0, "spot")
    targets = centre + rng.normal(size=(10, 3))
    return rigs.make_capture([rigs.make_camera(centre, target) for target in targets])


def on_one_line():
    rng = make_numpy_generator(0, "line")
    return rigs.make_capture([rigs.make_camera((x, 0, 30), (x, 0.1, 0)) for x in range(12)], rigs.town_points(rng))


def two_groups():
    rng = make_numpy_generator(0, "groups")
    near = rng.uniform(-3, 3, (300, 3))
    positions = np.concatenate([near, near + np.array([500, 0, 0])])
    cameras = [rigs.make_camera((x + offset, 0, 15), (x + offset, 1, 0)) for offset in (0, 500) for x in range(6)]
    return rigs.make_capture(cameras, positions)


def facing_away(count):
    turned = []
    for view in RIG.views[:count]:
        pose = np.diag([-1.0, 1.0, -1.0, 1.0]) @ view.camera.cam_from_world
        turned.append(replace(view.camera, cam_from_world=pose))
    return with_cameras(RIG, *turned)


def short_tracks():
    points = RIG.points
    lengths = np.minimum(points.track_lengths, 2)
    entries = points.track_offsets[:-1][:, None] + np.arange(2)
    keep = np.arange(2) < lengths[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return replace(RIG, points=replace(points, track_offsets=offsets, track_views=points.track_views[entries[keep]]))


def view_that_sees(count):
    points = RIG.points
    mine = np.nonzero(points.track_views == 7)[0]
    keep = np.ones(len(points.track_views), bool)
    keep[mine[count:]] = False
    lengths = np.bincount(points.track_points[keep], minlength=len(points))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return replace(RIG, points=replace(points, track_offsets=offsets, track_views=points.track_views[keep]))


def named(*names):
    views = [replace(view, name=name) for view, name in zip(RIG.views, names, strict=False)]
    return replace(RIG, views=(*views, *RIG.views[len(views) :]))


TABLE = {
    "no view": (replace(RIG, views=(), points=SparsePoints.empty()), ERROR, "no view"),
    "one view": (with_views(RIG, 1), ERROR, "only one view"),
    "two views": (with_views(RIG, 2), WARNING, "only 2 views"),
    "no points after structure from motion": (
        replace(RIG, points=SparsePoints.empty(), source="colmap"),
        ERROR,
        "no sparse points",
    ),
    "no points beside known poses": (
        replace(RIG, points=SparsePoints.empty(), source="transforms"),
        WARNING,
        "starts at random places",
    ),
    "one point": (rigs.make_capture([v.camera for v in RIG.views], np.array([[0.0, 0, 1]])), WARNING, "only 1 sparse"),
    "points in one place": (with_points(RIG, np.ones((len(RIG.points), 3))), ERROR, "in one place"),
    "points on a line": (
        with_points(RIG, np.linspace(-1, 1, len(RIG.points))[:, None] * [1, 0.5, 0.2]),
        WARNING,
        "on one line",
    ),
    "turning on the spot": (turning_on_the_spot(), ERROR, "turning shows no depth"),
    "hardly apart": (
        rigs.make_capture(
            [rigs.make_camera((0.05 * x, 0.05 * (x % 3), 30), (0, 1, 0)) for x in range(10)],
            rigs.town_points(make_numpy_generator(0, "near")),
        ),
        WARNING,
        "hardly apart",
    ),
    "cameras on a line": (on_one_line(), WARNING, "on one line"),
    "duplicated poses": (with_cameras(RIG, *[RIG.views[0].camera] * 3), WARNING, "2 views have the same pose"),
    "two groups": (two_groups(), WARNING, "2 groups that share no point (6, 6 views)"),
    "some face away": (facing_away(3), WARNING, "3 of 24 views have their points behind them"),
    "all face away": (facing_away(24), ERROR, "behind all cameras"),
    "short tracks": (short_tracks(), WARNING, "seen by 2.0 views on average"),
    "a view without points": (view_that_sees(0), WARNING, "1 of 24 views see none of the points (0007.png)"),
    "a view with few points": (view_that_sees(9), WARNING, "1 of 24 views see fewer than 30 points (0007.png)"),
    "large errors": (
        replace(RIG, points=replace(RIG.points, errors_px=np.full(len(RIG.points), 3.5))),
        WARNING,
        "miss their pixels by 3.5",
    ),
    "principal point far off": (with_K(RIG, 2, cx=75.0), WARNING, "principal point far from the middle (0002.png)"),
    "a telescope": (with_K(RIG, 2, fx=5000.0, fy=5000.0), WARNING, "1 of 24 views have an odd field of view"),
    "names by case": (named("a.PNG", "A.png"), WARNING, "differ from another by case only"),
    "odd names": (named("hôtel de ville.png", "日本 1.png", "deep/er/x.png"), INFO, "24 views"),
    "survey coordinates": (scaled(RIG, 1.0, (5e5, 5.3e6, 300)), INFO, "far from the origin"),
    "tiny unit": (scaled(RIG, 1e-6), INFO, "unit is unusual"),
    "huge unit": (scaled(RIG, 1e6), INFO, "unit is unusual"),
    "mixed sizes": (
        with_cameras(RIG, *[view.camera.scaled(0.5) for view in RIG.views[:5]]),
        INFO,
        "2 image sizes (19 of 80 x 60, 5 of 40 x 30)",
    ),
    "huge images": (
        replace(RIG, views=tuple(replace(v, camera=v.camera.scaled(50.0)) for v in RIG.views)),
        INFO,
        "up to 4,000 pixels long",
    ),
    "tiny images": (
        replace(RIG, views=tuple(replace(v, camera=v.camera.scaled(0.1)) for v in RIG.views)),
        ERROR,
        "24 of 24 photographs are smaller than 16 pixels",
    ),
    "one tiny image": (
        with_cameras(RIG, RIG.views[0].camera.resized(1, 1)),
        WARNING,
        "1 of 24 photographs are smaller",
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_every_fault_has_its_verdict_and_its_words(case):
    capture, verdict, fragment = TABLE[case]
    findings = inspect_capture(capture)
    told = "\n".join(finding.what for finding in findings)
    assert worst_severity(findings) is verdict, told
    assert any(fragment in finding.what for finding in findings if finding.severity is verdict), told


@pytest.mark.parametrize("case", [case for case, (_, verdict, _) in TABLE.items() if verdict is not INFO])
def test_every_warning_and_error_says_what_to_do(case):
    for finding in inspect_capture(TABLE[case][0]):
        if finding.severity is not INFO:
            assert finding.remedy


@pytest.mark.parametrize("rig", [rigs.nadir, rigs.oblique, rigs.orbit, rigs.room, rigs.cloud_before_cameras])
def test_good_captures_are_left_in_peace(rig):
    findings = inspect_capture(rig())
    assert worst_severity(findings) is INFO, findings


@pytest.mark.parametrize("name", ["fox", "caliterra", "boruszyn", "brighton", "sceaux"])
def test_real_captures_are_left_in_peace(name):
    findings = inspect_capture(read_capture(shared_data(name)))
    assert worst_severity(findings) is INFO, findings


def test_the_worst_comes_first():
    capture = facing_away(24)
    severities = [finding.severity for finding in inspect_capture(scaled(capture, 1e6))]
    assert severities == sorted(severities, key=[ERROR, WARNING, INFO].index)
    assert severities[0] is ERROR


def test_held_out_folders_without_tracks_are_no_fault():
    views = [replace(view, name=f"{'train' if i < 16 else 'test'}/{view.name}") for i, view in enumerate(RIG.views)]
    capture = replace(RIG, views=tuple(views), points=RIG.points.seen_by(range(16)))
    assert worst_severity(inspect_capture(capture)) is INFO


def test_copied_files_are_found(tmp_path):
    root = rigs.write_capture(tmp_path, RIG)
    (root / "images/0009.png").write_bytes((root / "images/0002.png").read_bytes())
    findings = inspect_capture(read_capture(root))
    assert any("1 photographs are copies of another (such as 0009.png of 0002.png)" in each.what for each in findings)


def photographs(root, change):
    """Detailed photographs of equal brightness, then changed by `change(index, image)`."""
    rng = make_numpy_generator(0, "detail")
    for index, view in enumerate(RIG.views):
        noise = gaussian_filter(rng.normal(size=(rigs.HEIGHT, rigs.WIDTH)), 0.7)
        image = np.clip(128 + 60 * noise / noise.std(), 0, 255)
        image = change(index, image)
        if image is not None:
            Image.fromarray(np.rint(image).astype(np.uint8)).convert("RGB").save(root / "images" / view.name)


def mask_photograph(root, index, value):
    (root / "masks").mkdir(exist_ok=True)
    Image.new("L", (rigs.WIDTH, rigs.HEIGHT), value).save(root / "masks" / f"{index:04d}.png")


def cut_short(root, index):
    path = root / "images" / f"{index:04d}.png"
    Image.open(path).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-500])


PHOTO_TABLE = {
    "good": (lambda i, image: image, None, INFO, "24 views"),
    "one blurred": (lambda i, image: gaussian_filter(image, 4) if i == 5 else image, None, WARNING, "less sharp"),
    "one black": (
        lambda i, image: image * 0 if i == 5 else image,
        None,
        WARNING,
        "1 of 24 photographs are of one colour",
    ),
    "all black": (lambda i, image: image * 0, None, ERROR, "all 24 photographs are of one colour"),
    "all white": (lambda i, image: image * 0 + 255, None, ERROR, "all 24 photographs are of one colour"),
    "exposure drifts": (lambda i, image: image * (0.2 + i / 30), None, WARNING, "brightness differs"),
    "one hidden": (
        lambda i, image: image,
        lambda root: mask_photograph(root, 3, 0),
        WARNING,
        "1 of 24 photographs are hidden by their masks (0003.png)",
    ),
    "all hidden": (
        lambda i, image: image,
        lambda root: [mask_photograph(root, i, 0) for i in range(24)],
        ERROR,
        "all 24 photographs are hidden",
    ),
    "masks that use everything": (
        lambda i, image: image,
        lambda root: [mask_photograph(root, i, 255) for i in range(24)],
        INFO,
        "24 views",
    ),
    "one cut short": (
        lambda i, image: image,
        lambda root: cut_short(root, 8),
        WARNING,
        "1 of 24 photographs cannot be loaded; view '0008.png'",
    ),
}


@pytest.mark.parametrize("case", PHOTO_TABLE)
def test_photographs_are_judged_when_decoded(tmp_path, case):
    change, damage, verdict, fragment = PHOTO_TABLE[case]
    root = rigs.write_capture(tmp_path, RIG)
    photographs(root, change)
    if damage:
        damage(root)
    findings = inspect_capture(read_capture(root), decode=True)
    told = "\n".join(finding.what for finding in findings)
    assert worst_severity(findings) is verdict, told
    assert fragment in told


def test_real_photographs_are_sharp_and_evenly_lit():
    findings = inspect_capture(read_capture(shared_data("sceaux")), decode=True)
    assert worst_severity(findings) is INFO, findings
