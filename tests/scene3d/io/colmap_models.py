"""A small COLMAP model whose every reference is right, for the tests to break."""

import numpy as np

from scene3d.cameras.models import CameraModel
from scene3d.io.colmap import NO_POINT, ColmapImage, ColmapModel, ColmapPoints

LENS = CameraModel(name="PINHOLE", width=80, height=60, params=(70.0, 71.0, 40.0, 30.0))


def small_model() -> ColmapModel:
    """Three images, four points, one keypoint without a point; every track is mutual."""
    tracks = [[(1, 0), (2, 0)], [(1, 1), (2, 1), (7, 0)], [(2, 2), (7, 1)], []]
    owners = {(image, keypoint): i for i, track in enumerate(tracks) for image, keypoint in track}
    ids = np.array([5, 3, 900, 12])
    images = []
    for image_id, name, num_keypoints in [(1, "a.jpg", 3), (2, "sub/b ü.jpg", 3), (7, "c.png", 2)]:
        point_ids = [ids[owners[image_id, k]] if (image_id, k) in owners else NO_POINT for k in range(num_keypoints)]
        images.append(
            ColmapImage(
                id=image_id,
                name=name,
                camera_id=4,
                qvec=np.array([0.8, 0.6, 0.0, 0.0]),
                tvec=np.array([1.0, -2.0, image_id]),
                keypoints=np.arange(2.0 * num_keypoints).reshape(-1, 2) + image_id,
                point_ids=np.array(point_ids),
            )
        )
    entries = np.array([entry for track in tracks for entry in track])
    points = ColmapPoints(
        ids=ids,
        positions=np.arange(12.0).reshape(4, 3) / 7,
        colors=np.arange(12, dtype=np.uint8).reshape(4, 3) * 20,
        errors_px=np.array([0.5, 1.5, np.nan, 0.0]),
        track_offsets=np.array([0, 2, 5, 7, 7]),
        track_image_ids=entries[:, 0],
        track_keypoints=entries[:, 1],
    )
    return ColmapModel(cameras={4: LENS}, images=tuple(images), points=points)
