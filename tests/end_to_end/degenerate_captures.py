"""The table of degenerate captures: how each is made, and what must be said about it."""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from scene3d.cameras.models import CameraModel
from scene3d.data.capture import Capture, Severity, SparsePoints
from scene3d.geometry.similarity import Similarity
from scene3d.io.colmap import write_colmap
from scene3d.seeding import make_numpy_generator
from tests.scene3d.data import rigs

RIG = rigs.orbit(num_views=12)
NUM = len(RIG.views)
CAMERAS = [view.camera for view in RIG.views]

REFUSED, OK, WARNING, ERROR = "refused", Severity.INFO, Severity.WARNING, Severity.ERROR


@dataclass(frozen=True, kw_only=True)
class Case:
    """How to make a capture, and what must be said about it."""

    make: Callable[[Path], object]
    verdict: Severity | str
    fragment: str = ""


def brought(capture: Capture, **options) -> Callable[[Path], object]:
    return lambda root: rigs.write_capture(root, capture, **options)


def then(*steps: Callable[[Path], object]) -> Callable[[Path], object]:
    """A good capture, then damage."""
    return lambda root: [step(root) for step in (brought(RIG), *steps)]


def first_views(count: int) -> Capture:
    return replace(RIG, views=RIG.views[:count], points=RIG.points.seen_by(range(count)))


def moved_to(scale: float, shift=(0.0, 0.0, 0.0)) -> Capture:
    return rigs.moved(RIG, Similarity(scale, np.eye(3), np.array(shift)))


def photo(index: int) -> str:
    return f"images/{index:04d}.png"


def each_photo(change: Callable[[Image.Image], Image.Image], **options) -> Callable[[Path], None]:
    def step(root: Path) -> None:
        for index in range(NUM):
            change(Image.open(root / photo(index)).convert("RGB")).save(root / photo(index), **options)

    return step


def lit(brightness: Callable[[int], float]) -> Callable[[Path], None]:
    """Photographs with detail and a given brightness each."""

    def step(root: Path) -> None:
        rng = make_numpy_generator(0, "lit")
        for index in range(NUM):
            grain = gaussian_filter(rng.normal(size=(rigs.HEIGHT, rigs.WIDTH)), 0.7)
            grey = np.clip(brightness(index) * (128 + 150 * grain), 0, 255).astype(np.uint8)
            Image.fromarray(grey).convert("RGB").save(root / photo(index))

    return step


def masks_of(value: int, size=(rigs.WIDTH, rigs.HEIGHT)) -> Callable[[Path], None]:
    def step(root: Path) -> None:
        (root / "masks").mkdir()
        for index in range(NUM):
            Image.new("L", size, value).save(root / "masks" / f"{index:04d}.png")

    return step


def without(*names: str) -> Callable[[Path], None]:
    return lambda root: [(root / name).unlink() for name in names]


def with_bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(change((root / name).read_bytes()))


def turned_photos(root: Path) -> None:
    exif = Image.new("RGB", (1, 1)).getexif()
    exif[0x0112] = 8
    for index in range(NUM):
        Image.new("RGB", (rigs.WIDTH, rigs.HEIGHT), (9, 9, 9)).save(root / photo(index), exif=exif)


def declared_size(width: int, height: int) -> Callable[[Path], None]:
    """PNG files of a few bytes whose header claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return lambda root: [(root / photo(i)).write_bytes(b"\x89PNG\r\n\x1a\n" + chunks) for i in range(NUM)]


def renamed(*names: str) -> Capture:
    views = [replace(view, name=name) for view, name in zip(RIG.views, names, strict=False)]
    return replace(RIG, views=(*views, *RIG.views[len(views) :]))


def model_with(**changes) -> Callable[[Path], None]:
    """The model on disk again, with some of its parts exchanged."""
    return lambda root: write_colmap(root / "sparse/0", replace(rigs.colmap_model_of(RIG), **changes))


def two_cameras(root: Path) -> None:
    model = rigs.colmap_model_of(RIG)
    half = CameraModel(name="SIMPLE_RADIAL", width=40, height=30, params=(30.0, 20.0, 15.0, -0.05))
    images = tuple(replace(image, camera_id=2 if i < 4 else 1) for i, image in enumerate(model.images))
    write_colmap(root / "sparse/0", replace(model, cameras={**model.cameras, 2: half}, images=images))
    for index in range(4):
        Image.open(root / photo(index)).resize((40, 30)).save(root / photo(index))


def in_text(root: Path, camera: str = "1 PINHOLE 80 60 60 60 40 30", image: str = "1 1 0 0 0 0 0 0 1 0000.png") -> None:
    for part in ("cameras", "images", "points3D"):
        (root / "sparse/0" / f"{part}.bin").unlink()
        (root / "sparse/0" / f"{part}.txt").write_text("")
    (root / "sparse/0/cameras.txt").write_text(f"{camera}\n")
    (root / "sparse/0/images.txt").write_text(f"{image}\n\n")


def poses_without_model(root: Path, value: object = 0.0) -> None:
    matrix = [[1, 0, 0, value], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]]
    frames = [{"file_path": photo(i), "transform_matrix": matrix} for i in range(NUM)]
    for frame, x in zip(frames, range(NUM), strict=True):
        frame["transform_matrix"] = [[1, 0, 0, value if x == 3 else x], [0, 1, 0, x % 3], *matrix[2:]]
    (root / "transforms.json").write_text(json.dumps({"fl_x": 60.0, "w": 80, "h": 60, "frames": frames}))
    for file in (root / "sparse/0").iterdir():
        file.unlink()


def lens(name: str, *params: float) -> CameraModel:
    return CameraModel(name=name, width=rigs.WIDTH, height=rigs.HEIGHT, params=params)


def radii(factor: float) -> Capture:
    """The same cameras amid a cloud that fills everything."""
    rng = make_numpy_generator(0, "inside")
    return rigs.make_capture(CAMERAS, rng.uniform(-30 * factor, 30 * factor, (6000, 3)))


SPOT = [rigs.make_camera((1, 2, 3), (1 + np.cos(a), 2 + np.sin(a), 3)) for a in np.arange(NUM) * 0.5]
LINE = [rigs.make_camera((3.0 * i, 0, 30), (3.0 * i, 0.1, 0)) for i in range(NUM)]
FLAT = rigs.nadir(wobble_deg=0.0)
TURNED = np.diag([-1.0, 1.0, -1.0, 1.0])
HUGE_COUNT = struct.pack("<Q", 2**40)

CASES = {
    "nothing in the folder": Case(make=lambda root: None, verdict=REFUSED, fragment="neither camera poses nor"),
    "photographs without poses": Case(
        make=then(without(*(f"sparse/0/{part}.bin" for part in ("cameras", "images", "points3D")))),
        verdict=REFUSED,
        fragment="scene3d prepare",
    ),
    "a model without images": Case(
        make=then(model_with(images=(), points=rigs.colmap_model_of(replace(RIG, points=SparsePoints.empty())).points)),
        verdict=REFUSED,
        fragment="no registered photograph",
    ),
    "one image": Case(make=brought(first_views(1)), verdict=ERROR, fragment="only one view"),
    "two images": Case(make=brought(first_views(2)), verdict=WARNING, fragment="no view is held out of 2"),
    "three images": Case(make=brought(first_views(3)), verdict=WARNING, fragment="only 3 views"),
    "no points": Case(
        make=brought(replace(RIG, points=SparsePoints.empty())), verdict=ERROR, fragment="no sparse points"
    ),
    "no points file": Case(make=then(without("sparse/0/points3D.bin")), verdict=ERROR, fragment="no sparse points"),
    "known poses, no points": Case(make=then(poses_without_model), verdict=WARNING, fragment="random places"),
    "one point": Case(
        make=brought(rigs.make_capture(CAMERAS, np.array([[0.0, 0, 1]]))), verdict=WARNING, fragment="only 1 sparse"
    ),
    "all points equal": Case(
        make=brought(rigs.make_capture(CAMERAS, np.tile([[0.0, 0, 1]], (500, 1)))), verdict=ERROR, fragment="one place"
    ),
    "points without tracks": Case(
        make=brought(
            replace(
                RIG,
                points=replace(
                    RIG.points,
                    track_offsets=np.zeros(len(RIG.points) + 1, np.int64),
                    track_views=np.zeros(0, np.int64),
                ),
            )
        ),
        verdict=OK,
        fragment="12 views, 2,000 points",
    ),
    "cameras on a line": Case(
        make=brought(rigs.make_capture(LINE, rigs.town_points(make_numpy_generator(0, "line")))),
        verdict=WARNING,
        fragment="on one line",
    ),
    "cameras in a plane": Case(make=brought(FLAT), verdict=OK, fragment="36 views"),
    "cameras in one place": Case(
        make=brought(rigs.make_capture(SPOT, rigs.town_points(make_numpy_generator(0, "spot")))),
        verdict=ERROR,
        fragment="turning shows no depth",
    ),
    "a camera amid the points": Case(make=brought(radii(1.0)), verdict=OK, fragment="6,000 points"),
    "points behind all cameras": Case(
        make=brought(
            replace(
                RIG,
                views=tuple(
                    replace(v, camera=replace(v.camera, cam_from_world=TURNED @ v.camera.cam_from_world))
                    for v in RIG.views
                ),
            )
        ),
        verdict=ERROR,
        fragment="behind all cameras",
    ),
    "the same photograph twice": Case(
        make=then(lambda root: (root / photo(3)).write_bytes((root / photo(1)).read_bytes())),
        verdict=WARNING,
        fragment="copies of another",
    ),
    "the same pose twice": Case(
        make=brought(rigs.make_capture([CAMERAS[0], *CAMERAS[:-1]], RIG.points.positions)),
        verdict=WARNING,
        fragment="same pose as another",
    ),
    "two groups of views": Case(
        make=brought(
            rigs.make_capture(
                [
                    *CAMERAS,
                    *(camera.transformed(Similarity(1.0, np.eye(3), np.array([0, 0, 900.0]))) for camera in CAMERAS),
                ],
                np.concatenate([RIG.points.positions, RIG.points.positions + np.array([0, 0, 900.0])]),
            )
        ),
        verdict=WARNING,
        fragment="2 groups that share no point",
    ),
    "mixed sizes and lenses": Case(make=then(two_cameras), verdict=OK, fragment="2 image sizes"),
    "a distorted lens": Case(
        make=brought(RIG, lens=lens("OPENCV", 60.0, 60.0, 40.0, 30.0, -0.1, 0.01, 0.001, 0.0)),
        verdict=OK,
        fragment="12 views are undistorted on loading (12 OPENCV)",
    ),
    "a fisheye lens": Case(
        make=brought(RIG, lens=lens("OPENCV_FISHEYE", 40.0, 40.0, 40.0, 30.0, 0.01, 0.0, 0.0, 0.0)),
        verdict=OK,
        fragment="12 OPENCV_FISHEYE",
    ),
    "an unknown lens": Case(
        make=then(lambda root: in_text(root, camera="1 FOV 80 60 60 60 40 30 0.9")),
        verdict=REFUSED,
        fragment="'FOV' is not supported",
    ),
    "a principal point outside": Case(
        make=brought(RIG, lens=lens("PINHOLE", 60.0, 60.0, 90.0, 30.0)), verdict=WARNING, fragment="principal point"
    ),
    "an absurd focal length": Case(
        make=brought(RIG, lens=lens("PINHOLE", 1e6, 1e6, 40.0, 30.0)), verdict=WARNING, fragment="odd field of view"
    ),
    "a focal length of zero": Case(
        make=then(lambda root: in_text(root, camera="1 PINHOLE 80 60 0 60 40 30")),
        verdict=REFUSED,
        fragment="must be positive",
    ),
    "a pose that is not finite": Case(
        make=then(lambda root: in_text(root, image="1 nan 0 0 0 0 0 0 1 0000.png")), verdict=REFUSED
    ),
    "a pose that turns nowhere": Case(
        make=then(lambda root: in_text(root, image="1 0 0 0 0 0 0 0 1 0000.png")), verdict=REFUSED, fragment="pose"
    ),
    "an image without a camera": Case(
        make=then(lambda root: in_text(root, image="1 1 0 0 0 0 0 0 7 0000.png")),
        verdict=REFUSED,
        fragment="not among the cameras",
    ),
    "a name that leads outside": Case(
        make=then(lambda root: in_text(root, image="1 1 0 0 0 0 0 0 1 ../../x.png")),
        verdict=REFUSED,
        fragment="leaves its folder",
    ),
    "poses in JSON that are not finite": Case(
        make=then(lambda root: poses_without_model(root, float("nan"))), verdict=REFUSED
    ),
    "points cut short": Case(
        make=then(with_bytes("sparse/0/points3D.bin", lambda content: content[:-40])),
        verdict=REFUSED,
        fragment="points3D",
    ),
    "an absurd count": Case(
        make=then(with_bytes("sparse/0/images.bin", lambda content: HUGE_COUNT + content[8:])),
        verdict=REFUSED,
        fragment="images.bin",
    ),
    "grey photographs": Case(make=then(each_photo(lambda image: image.convert("L"))), verdict=OK),
    "photographs with transparency": Case(make=then(each_photo(lambda image: image.convert("RGBA"))), verdict=OK),
    "palette photographs": Case(make=then(each_photo(lambda image: image.quantize(64))), verdict=OK),
    "CMYK photographs": Case(make=then(each_photo(lambda image: image.convert("CMYK"), format="JPEG")), verdict=OK),
    "16-bit photographs": Case(
        make=then(
            each_photo(lambda image: Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257), format="PNG")
        ),
        verdict=OK,
    ),
    "photographs turned by EXIF": Case(
        make=then(turned_photos), verdict=REFUSED, fragment="60 x 80 pixels, its camera"
    ),
    "photographs of another shape": Case(make=brought(RIG, size=(80, 50)), verdict=REFUSED, fragment="80 x 50 pixels"),
    "photographs at half size": Case(make=brought(RIG, size=(40, 30)), verdict=OK, fragment="another resolution"),
    "photographs of one pixel": Case(
        make=brought(RIG, lens=CameraModel(name="PINHOLE", width=1, height=1, params=(1.0, 1.0, 0.5, 0.5))),
        verdict=ERROR,
        fragment="smaller than 16 pixels",
    ),
    "photographs that claim to be huge": Case(
        make=then(declared_size(20000, 20000)), verdict=REFUSED, fragment="at most 64,000,000 are decoded"
    ),
    "an unreadable photograph": Case(
        make=then(with_bytes(photo(4), lambda content: b"no picture")), verdict=WARNING, fragment="cannot be read"
    ),
    "a missing photograph": Case(
        make=then(without(photo(4))), verdict=WARNING, fragment="1 of 12 photographs of the model"
    ),
    "all photographs missing": Case(
        make=then(without(*map(photo, range(NUM)))), verdict=REFUSED, fragment="none of the model's 12 photographs"
    ),
    "a photograph without a pose": Case(
        make=then(lambda root: Image.new("RGB", (80, 60)).save(root / "images/more.png")),
        verdict=OK,
        fragment="1 photographs have no pose",
    ),
    "names of every kind": Case(
        make=brought(renamed("with space.png", "ÄÖ 東京.png", ".hidden.png", "UPPER.PNG", "deep/er/x.png", "-rf.png")),
        verdict=OK,
        fragment="12 views",
    ),
    "names that differ by case": Case(
        make=brought(renamed("a.png", "A.png")), verdict=WARNING, fragment="differ from another by case only"
    ),
    "black photographs": Case(
        make=then(each_photo(lambda image: image.point(lambda value: 0))),
        verdict=ERROR,
        fragment="all 12 photographs are of one",
    ),
    "white photographs": Case(
        make=then(each_photo(lambda image: image.point(lambda value: 255))),
        verdict=ERROR,
        fragment="all 12 photographs are of one",
    ),
    "the day went by": Case(
        make=then(lit(lambda index: 0.2 + 0.07 * index)), verdict=WARNING, fragment="brightness differs"
    ),
    "masks that hide everything": Case(make=then(masks_of(0)), verdict=ERROR, fragment="hidden by their masks"),
    "masks that hide nothing": Case(make=then(masks_of(255)), verdict=OK),
    "masks of another shape": Case(make=then(masks_of(255, (60, 80))), verdict=ERROR, fragment="the mask is 60 x 80"),
    "a unit of a micrometre": Case(make=brought(moved_to(1e6)), verdict=OK, fragment="unit is unusual"),
    "a unit of a thousand kilometres": Case(make=brought(moved_to(1e-6)), verdict=OK, fragment="unit is unusual"),
    "survey coordinates": Case(
        make=brought(moved_to(1.0, (6.1e5, 5.3e6, 412.0))), verdict=OK, fragment="far from the origin"
    ),
    "lists that overlap": Case(
        make=then(
            lambda root: (root / "train.txt").write_text("0000.png\n0001.png\n"),
            lambda root: (root / "test.txt").write_text("0001.png\n"),
        ),
        verdict=REFUSED,
        fragment="share 1 views",
    ),
    "a list that holds out everything": Case(
        make=then(lambda root: (root / "test.txt").write_text("".join(f"{i:04d}\n" for i in range(NUM)))),
        verdict=REFUSED,
        fragment="no view is left to train on",
    ),
}
