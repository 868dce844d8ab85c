"""Every reader of files from outside, with small good files of its kind."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scene3d.cameras.models import CameraModel
from scene3d.events import Quiet
from scene3d.gaussians.anchors import Anchors
from scene3d.gaussians.decoder import Decoder
from scene3d.gaussians.decoder_shape import DecoderShape
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.anchor_file import read_anchors, write_anchors
from scene3d.io.bounded_json import read_json
from scene3d.io.checkpoint import load_checkpoint, save_checkpoint
from scene3d.io.colmap import NO_POINT, ColmapImage, ColmapModel, ColmapPoints, read_colmap, write_colmap
from scene3d.io.images import read_image, read_image_size
from scene3d.io.ply import read_gaussians_ply, read_points_ply, write_gaussians_ply, write_points_ply
from scene3d.io.splat_formats import read_splat, read_spz, write_splat, write_spz
from scene3d.io.transforms_json import read_transforms
from tests.fuzz.mutations import Target


class Heard(Quiet):
    """A reporter that remembers whether anything was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str, *, level: str = "info") -> None:
        self.notes.append(message)


def _gaussians(num: int = 60, degree: int = 1) -> Gaussians:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        means=normal(num, 3),
        quats=normal(num, 4),
        log_scales=normal(num, 3) - 3,
        opacity_logits=normal(num),
        sh=0.3 * normal(num, (degree + 1) ** 2, 3),
    )


def _model() -> ColmapModel:
    generator = np.random.default_rng(2)
    num_images, num_points = 4, 30
    lens = CameraModel(name="OPENCV", width=80, height=60, params=(70.0, 71.0, 40.0, 30.0, 0.1, 0.0, 0.0, 0.0))
    seen = generator.random((num_images, num_points)) < 0.6
    keypoint_index = np.cumsum(seen, axis=1) - 1
    images = [
        ColmapImage(
            id=i + 1,
            name=f"photos/{i}.jpg",
            camera_id=1,
            qvec=generator.normal(size=4),
            tvec=generator.normal(size=3),
            keypoints=generator.uniform(0, 60, (int(seen[i].sum()) + 1, 2)),
            point_ids=np.append(np.flatnonzero(seen[i]) + 1, NO_POINT),
        )
        for i in range(num_images)
    ]
    owners, viewers = np.nonzero(seen.T)
    points = ColmapPoints(
        ids=np.arange(1, num_points + 1),
        positions=generator.normal(size=(num_points, 3)),
        colors=generator.integers(0, 256, (num_points, 3), np.uint8),
        errors_px=generator.random(num_points),
        track_offsets=np.concatenate([[0], np.cumsum(seen.sum(axis=0))]),
        track_image_ids=viewers + 1,
        track_keypoints=keypoint_index[viewers, owners],
    )
    return ColmapModel(
        cameras={1: lens, 2: replace(lens, name="PINHOLE", params=lens.params[:4])}, images=tuple(images), points=points
    )


def _make_colmap(folder: Path) -> tuple[Path, ...]:
    write_colmap(folder, _model())
    return tuple(folder / f"{part}.bin" for part in ("cameras", "images", "points3D"))


def _make_colmap_text(folder: Path) -> tuple[Path, ...]:
    model = _model()
    cameras = [
        f"{i} {lens.name} {lens.width} {lens.height} {' '.join(map(str, lens.params))}"
        for i, lens in model.cameras.items()
    ]
    images = []
    for image in model.images:
        pose = " ".join(map(str, [*image.qvec.tolist(), *image.tvec.tolist()]))
        images.append(f"{image.id} {pose} {image.camera_id} {image.name}")
        rows = zip(image.keypoints.tolist(), image.point_ids.tolist(), strict=True)
        images.append(" ".join(f"{x} {y} {point_id}" for (x, y), point_id in rows))
    points = []
    for i in range(len(model.points)):
        entries = slice(model.points.track_offsets[i], model.points.track_offsets[i + 1])
        track = np.stack([model.points.track_image_ids[entries], model.points.track_keypoints[entries]], axis=1)
        row = [model.points.ids[i], *model.points.positions[i], *model.points.colors[i], model.points.errors_px[i]]
        points.append(" ".join(map(str, [*row, *track.reshape(-1)])))
    paths = []
    for part, lines in (("cameras", cameras), ("images", images), ("points3D", points)):
        paths.append(folder / f"{part}.txt")
        paths[-1].write_text("\n".join(["# a comment", *lines]) + "\n", encoding="utf-8")
    return tuple(paths)


def _read_colmap(folder: Path) -> object:
    model = read_colmap(folder)
    return None if model.findings else (len(model.images), len(model.points), len(model.cameras))


def _read_colmap_text(folder: Path) -> object:
    read_colmap(folder)  # text declares no counts that could be checked
    return None


def _make_transforms(folder: Path) -> tuple[Path, ...]:
    frames = []
    for i in range(3):
        Image.new("RGB", (32, 24)).save(folder / f"{i}.png")
        pose = np.eye(4)
        pose[:3, 3] = i
        frames.append({"file_path": f"{i}.png", "transform_matrix": pose.tolist(), "sharpness": 1.5})
    record = {"camera_angle_x": 0.7, "w": 32, "h": 24, "k1": 0.01, "camera_model": "OPENCV", "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return (folder / "transforms.json",)


def _read_transforms(folder: Path) -> object:
    transforms = read_transforms(folder / "transforms.json")
    return None if transforms.findings else len(transforms.frames)


def _make_gaussians_ply(folder: Path) -> tuple[Path, ...]:
    write_gaussians_ply(folder / "a.ply", _gaussians(), comments=("a comment",))
    return (folder / "a.ply",)


def _read_gaussians_ply(folder: Path) -> object:
    heard = Heard()
    num = len(read_gaussians_ply(folder / "a.ply", reporter=heard))
    return None if heard.notes else num


def _make_points_ply(folder: Path) -> tuple[Path, ...]:
    generator = np.random.default_rng(3)
    write_points_ply(folder / "a.ply", generator.normal(size=(150, 3)), generator.integers(0, 256, (150, 3), np.uint8))
    return (folder / "a.ply",)


def _make_ascii_ply(folder: Path) -> tuple[Path, ...]:
    rows = np.random.default_rng(4).normal(size=(150, 3))
    header = "ply\nformat ascii 1.0\nelement vertex 150\nproperty float x\nproperty float y\nproperty float z\n"
    body = "\n".join(" ".join(map(str, row)) for row in rows.tolist())
    (folder / "a.ply").write_text(f"{header}end_header\n{body}\n")
    return (folder / "a.ply",)


def _read_points_ply(folder: Path) -> object:
    heard = Heard()
    num = len(read_points_ply(folder / "a.ply", reporter=heard)[0])
    return None if any("left out" in note for note in heard.notes) else num


def _make_splat(folder: Path) -> tuple[Path, ...]:
    write_splat(folder / "a.splat", _gaussians())
    return (folder / "a.splat",)


def _read_splat(folder: Path) -> object:
    read_splat(folder / "a.splat", reporter=Heard())  # the format declares no count that could be checked
    return None


def _make_spz(folder: Path) -> tuple[Path, ...]:
    write_spz(folder / "a.spz", _gaussians())
    return (folder / "a.spz",)


def _read_spz(folder: Path) -> object:
    heard = Heard()
    num = len(read_spz(folder / "a.spz", reporter=heard))
    return None if heard.notes else num


def _image_target(image_format: str, suffix: str) -> Target:
    def make(folder: Path) -> tuple[Path, ...]:
        pixels = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(folder / f"a{suffix}", image_format, exif=exif)
        return (folder / f"a{suffix}",)

    def read(folder: Path) -> object:
        decoded = read_image(folder / f"a{suffix}")
        if read_image_size(folder / f"a{suffix}") != (decoded.width, decoded.height):
            return "another size than the header's"
        return None

    return Target(image_format.lower(), make, read)


def _make_checkpoint(folder: Path) -> tuple[Path, ...]:
    for step in (1, 2):
        save_checkpoint(folder, {"means": torch.arange(60.0) + step}, {"iteration": step, "order": list(range(20))})
    return folder / "checkpoint_000001.json", folder / "checkpoint_000001.safetensors"


def _read_checkpoint(folder: Path) -> object:
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        return "no checkpoint"
    whole = torch.equal(checkpoint.tensors["means"], torch.arange(60.0) + checkpoint.step)
    whole &= checkpoint.record == {"iteration": checkpoint.step, "order": list(range(20))}
    return (None if checkpoint.findings and checkpoint.step == 1 else checkpoint.step) if whole else "a torn state"


def _make_json(folder: Path) -> tuple[Path, ...]:
    record = {"a": [1, 2.5, None, True, 'text \\ " ü'], "b": {"c": [[[]], {}]}, "d": -1e-7}
    (folder / "a.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return (folder / "a.json",)


def _read_json(folder: Path) -> object:
    read_json(folder / "a.json")
    return None


def _make_anchors(folder: Path) -> tuple[Path, ...]:
    shape = DecoderShape(num_features=4, num_hidden=3, num_offsets=2, sh_degree=1)
    decoder = Decoder(shape, torch.Generator().manual_seed(1))
    anchors = Anchors(
        positions=torch.zeros(9, 3), features=torch.ones(9, 4), offsets=torch.ones(9, 2, 3), log_scales=torch.ones(9, 6)
    )
    write_anchors(folder / "a.safetensors", anchors, decoder)
    return (folder / "a.safetensors",)


def _read_anchors(folder: Path) -> object:
    anchors, _ = read_anchors(folder / "a.safetensors")
    return None if torch.equal(anchors.features, torch.ones(9, 4)) else "other anchors"


TARGETS = (
    Target("gaussians ply", _make_gaussians_ply, _read_gaussians_ply),
    Target("points ply", _make_points_ply, _read_points_ply),
    Target("ascii ply", _make_ascii_ply, _read_points_ply),
    Target("colmap binary", _make_colmap, _read_colmap),
    Target("colmap text", _make_colmap_text, _read_colmap_text),
    Target("transforms json", _make_transforms, _read_transforms),
    Target("json", _make_json, _read_json),
    Target("splat", _make_splat, _read_splat),
    Target("spz", _make_spz, _read_spz),
    _image_target("PNG", ".png"),
    _image_target("JPEG", ".jpg"),
    _image_target("WEBP", ".webp"),
    _image_target("TIFF", ".tif"),
    Target("anchors", _make_anchors, _read_anchors),
    Target("checkpoint", _make_checkpoint, _read_checkpoint),
)
