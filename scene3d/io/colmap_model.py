"""Owns the records of a COLMAP model as its files hold it."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, UInt8

from scene3d.cameras.models import CameraModel
from scene3d.io.findings import Finding

NO_POINT = -1
"""The 3D point id of a keypoint that belongs to no point."""

PARAMETER_COUNTS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12,
    "FOV": 5,
    "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5,
    "THIN_PRISM_FISHEYE": 12,
    "RAD_TAN_THIN_PRISM_FISHEYE": 16,
    "SIMPLE_DIVISION": 4,
    "DIVISION": 5,
    "SIMPLE_FISHEYE": 3,
    "FISHEYE": 4,
    "EUCM": 6,
    "EQUIRECTANGULAR": 2,
}
"""Number of parameters of every COLMAP camera model; the place in this list is the model's number in binary files."""


_MAX_GAPS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColmapImage:
    """One registered image."""

    id: int
    name: str
    """Relative to the image folder, with forward slashes."""

    camera_id: int
    qvec: Float[np.ndarray, "4"]
    """Rotation of `cam_from_world`, unit quaternion wxyz."""

    tvec: Float[np.ndarray, "3"]
    """Translation of `cam_from_world`."""

    keypoints: Float[np.ndarray, "m 2"]
    """Pixels; the centre of the first pixel is at one half."""

    point_ids: Int[np.ndarray, "m"]
    """Id of the 3D point each keypoint belongs to, or `NO_POINT`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColmapPoints:
    """The sparse points, with tracks as compressed rows."""

    ids: Int[np.ndarray, "n"]
    positions: Float[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    errors_px: Float[np.ndarray, "n"]
    """Mean reprojection error; NaN where unknown."""

    track_offsets: Int[np.ndarray, "n1"]
    """[n + 1]: the track of point i is `[track_offsets[i]:track_offsets[i + 1]]` of the two lists below."""

    track_image_ids: Int[np.ndarray, "m"]
    track_keypoints: Int[np.ndarray, "m"]
    """Index of the keypoint within its image."""

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def empty(cls) -> "ColmapPoints":
        """No points at all."""
        return cls(
            ids=np.zeros(0, np.int64),
            positions=np.zeros((0, 3)),
            colors=np.zeros((0, 3), np.uint8),
            errors_px=np.zeros(0),
            track_offsets=np.zeros(1, np.int64),
            track_image_ids=np.zeros(0, np.int64),
            track_keypoints=np.zeros(0, np.int64),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColmapModel:
    """Cameras, images and points of one reconstruction."""

    cameras: dict[int, CameraModel]
    images: tuple[ColmapImage, ...]
    points: ColmapPoints = field(default_factory=ColmapPoints.empty)
    findings: tuple[Finding, ...] = ()

    def track_image_indices(self) -> Int[np.ndarray, "m"]:
        """For each track entry the index of its image in `images`."""
        return find_indices(np.array([image.id for image in self.images], np.int64), self.points.track_image_ids)


def find_indices(ids: Int[np.ndarray, "n"], wanted: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m"]:
    """Index of each wanted id in a list of different ids; -1 where it is not among them."""
    if len(ids) == 0:
        return np.full(len(wanted), -1, np.int64)
    lowest, highest = int(ids.min()), int(ids.max())
    if highest - lowest <= _MAX_GAPS * len(ids):
        # Ids are nearly always dense; then a table is ten times as fast as a search.
        table = np.full(highest - lowest + 2, -1, np.int64)
        table[ids - lowest] = np.arange(len(ids))
        return np.asarray(table[np.where((wanted < lowest) | (wanted > highest), highest + 1, wanted) - lowest])
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    index = order[place]
    return np.where(ids[index] == wanted, index, -1)
