"""Owns moving a COLMAP model to another world frame."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from scene3d.geometry.similarity import Similarity
from scene3d.io.colmap_model import ColmapImage, ColmapModel


def transform_colmap(model: ColmapModel, target_from_source: Similarity) -> ColmapModel:
    """The same reconstruction in another world frame; pixels, tracks and findings stay as they are."""
    return replace(
        model,
        images=tuple(_moved(image, target_from_source) for image in model.images),
        points=replace(model.points, positions=target_from_source.apply(model.points.positions)),
    )


def cam_from_world(image: ColmapImage) -> Float[np.ndarray, "4 4"]:
    """The pose of an image as a rigid transform."""
    pose = np.eye(4)
    w, *xyz = image.qvec
    pose[:3, :3] = Rotation.from_quat([*xyz, w]).as_matrix()
    pose[:3, 3] = image.tvec
    return pose


def _moved(image: ColmapImage, target_from_source: Similarity) -> ColmapImage:
    pose = target_from_source.apply_camera(cam_from_world(image))
    *xyz, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
    return replace(image, qvec=np.array([w, *xyz]), tvec=pose[:3, 3])
