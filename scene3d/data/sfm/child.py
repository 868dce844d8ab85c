"""Owns the child process that runs pycolmap: one JSON job in, one JSON line per finished step out.

A process of its own, because a native reader that hangs, swells or dies must not take the program with it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pycolmap

EMIT_TO = sys.__stdout__


def emit(event: str, **fields: Any) -> None:
    """One line to the parent."""
    assert EMIT_TO is not None
    EMIT_TO.write(json.dumps({"event": event, **fields}) + "\n")
    EMIT_TO.flush()


def run_job(job: dict[str, Any]) -> None:
    """Features, matches, poses, undistorted photographs."""
    pycolmap.logging.minloglevel = 2
    pycolmap.set_random_seed(job["seed"])
    work, photos = Path(job["work"]), Path(job["photos"])
    database = work / "database.db"
    extract(job, database, photos)
    emit("extracted", keypoints=_keypoints_per_image(database))
    match(job, database)
    emit("matched")
    model = reconstruct_largest(job, database, photos, work)
    if model is not None:
        undistort(job, model, photos, work)


def extract(job: dict[str, Any], database: Path, photos: Path) -> None:
    """SIFT features of every photograph."""
    options = pycolmap.FeatureExtractionOptions()
    options.max_image_size = job["feature_image_size"]
    options.num_threads = job["num_threads"]
    options.use_gpu = pycolmap.has_cuda
    options.sift.max_num_features = job["num_features"]
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = job["camera_model"]
    mode = pycolmap.CameraMode.SINGLE if job["single_camera"] else pycolmap.CameraMode.AUTO
    pycolmap.extract_features(database, photos, camera_mode=mode, reader_options=reader, extraction_options=options)


def match(job: dict[str, Any], database: Path) -> None:
    """Descriptor matching and geometric verification of the chosen pairs."""
    options = pycolmap.FeatureMatchingOptions()
    options.num_threads = job["num_threads"]
    options.use_gpu = pycolmap.has_cuda
    if job["matcher"] == "exhaustive":
        pycolmap.match_exhaustive(database, matching_options=options)
    elif job["matcher"] == "spatial":
        pairing = pycolmap.SpatialPairingOptions()
        pairing.max_num_neighbors = job["num_neighbours"]
        pairing.max_distance = 1e5
        pairing.ignore_z = True
        pycolmap.match_spatial(database, matching_options=options, pairing_options=pairing)
    else:
        sequence = pycolmap.SequentialPairingOptions()
        sequence.overlap = job["num_neighbours"]
        sequence.quadratic_overlap = True
        pycolmap.match_sequential(database, matching_options=options, pairing_options=sequence)


def reconstruct_largest(job: dict[str, Any], database: Path, photos: Path, work: Path) -> Path | None:
    """Incremental mapping; a second try with looser limits when the first finds nothing."""
    for loose in (False, True):
        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads = job["num_threads"]
        options.random_seed = job["seed"]
        options.min_model_size = 3
        if loose:
            options.mapper.init_min_num_inliers = 30
            options.mapper.init_min_tri_angle = 4.0
            options.mapper.abs_pose_min_num_inliers = 15
        registered = [0]

        def count_one(registered: list[int] = registered) -> None:
            registered[0] += 1
            emit("registered", count=registered[0] + 2)

        output = work / ("models_loose" if loose else "models")
        output.mkdir(exist_ok=True)
        models = pycolmap.incremental_mapping(database, photos, output, options, next_image_callback=count_one)
        if models:
            return _report_models(models, output, loose)
    emit("failed", reason="no two photographs could be placed relative to each other")
    return None


def undistort(job: dict[str, Any], model: Path, photos: Path, work: Path) -> None:
    """Photographs as a pinhole camera sees them, without blank borders."""
    options = pycolmap.UndistortCameraOptions()
    options.blank_pixels = 0.0
    options.max_image_size = job["output_image_size"] or -1
    output = work / "undistorted"
    pycolmap.undistort_images(
        output, model, photos, undistort_options=options, jpeg_quality=95, num_threads=job["num_threads"] or -1
    )
    emit("undistorted")


def _report_models(models: dict[int, Any], output: Path, loose: bool) -> Path:
    sizes = {index: int(model.num_reg_images()) for index, model in models.items()}
    largest = max(sizes, key=lambda index: sizes[index])
    model = models[largest]
    folder = output / "largest"
    folder.mkdir()
    model.write(folder)
    cameras = [
        {
            "model": camera.model.name,
            "params": list(map(float, camera.params)),
            "focal_px": float(camera.mean_focal_length()),
        }
        for camera in model.cameras.values()
    ]
    emit(
        "mapped",
        model_sizes=sorted(sizes.values(), reverse=True),
        registered=sorted(image.name for image in model.images.values() if image.has_pose),
        num_points=int(model.num_points3D()),
        num_observations=int(model.compute_num_observations()),
        mean_track=float(model.compute_mean_track_length()),
        mean_reprojection_error_px=float(model.compute_mean_reprojection_error()),
        cameras=cameras,
        loose=loose,
    )
    return folder


def _keypoints_per_image(database: Path) -> dict[str, int]:
    with pycolmap.Database.open(database) as opened:
        return {image.name: int(opened.num_keypoints_for_image(image.image_id)) for image in opened.read_all_images()}


if __name__ == "__main__":
    run_job(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
