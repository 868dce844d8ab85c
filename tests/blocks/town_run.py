"""A finished run of the small town, with its capture beside it, to grow from."""

import json
from pathlib import Path

import numpy as np

from scene3d.exporting import write_scene
from scene3d.gaussians.gaussians import Gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import write_json
from scene3d.io.images import write_image
from scene3d.training.run_folder import RunFolder
from tests.blocks.two_blocks import FOCAL, HEIGHT, WIDTH, Photographs, make_cameras, make_town, view_name

WORLD_FROM_CAPTURE = Similarity(0.5, np.eye(3), np.array([3.0, -2.0, 0.5]))
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


def write_town_run(folder: Path) -> RunFolder:
    """`folder/capture` and `folder/run`."""
    town, cameras = make_town(), make_cameras()
    photographs = Photographs(town, cameras)
    (folder / "capture").mkdir()
    frames = []
    for index, camera in enumerate(cameras):
        write_image(folder / "capture" / view_name(index), photographs.load(index).image)
        there = camera.transformed(WORLD_FROM_CAPTURE.inverse()).world_from_cam @ _OPENGL_FROM_OPENCV
        frames.append({"file_path": view_name(index), "transform_matrix": there.tolist()})
    lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    (folder / "capture" / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    run = RunFolder(folder / "run")
    run.root.mkdir()
    names = [view_name(index) for index in range(len(cameras))]
    record = {
        "schema_version": 1,
        "capture": str(folder / "capture"),
        "world_from_capture": WORLD_FROM_CAPTURE.to_record(),
        "split": {"rule": "none", "train": names, "test": []},
        "findings": [],
    }
    write_json(run.capture, record)
    write_merged_scene(run, town)
    return run


def write_merged_scene(run: RunFolder, gaussians: Gaussians) -> None:
    """What a training or a merge leaves."""
    record = write_scene(run.merged_scene, gaussians, WORLD_FROM_CAPTURE)
    manifest = {
        "schema_version": 1,
        "num_gaussians": len(gaussians),
        "world_from_capture": WORLD_FROM_CAPTURE.to_record(),
        **record,
    }
    write_json(run.manifest, manifest)
