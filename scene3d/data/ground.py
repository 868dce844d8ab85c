"""Owns the evidence for which way is up: how the cameras were held, and the plane the scene stands on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from scene3d.cameras.camera import Camera
from scene3d.geometry.rotations import unit
from scene3d.seeding import make_numpy_generator

MIN_MEAN_UP = 0.5
"""Shorter than this, the cameras' mean up vector says nothing: they are rolled every way."""

GROUND_AND_UP_DEG = 50.0
"""A plane whose normal is this close to the cameras' up is ground; a wall seen upright is 90 degrees away."""

MIN_YAW_SPREAD = 0.003
"""Second moment of the sideways axes (about 3 degrees of turning) below which they do not single out a vertical."""

MIN_TURNING = 0.001
"""Second moment of the cameras' turns, square radians (about 2 degrees), below which nobody turned."""

NUM_HYPOTHESES = 600
MAX_POINTS = 4000
MAX_CAMERAS = 500

MIN_SHARE = 0.15
"""Share of the points a plane must hold."""

MIN_POINTS = 30

CAMERAS_ABOVE = 0.95
"""Share of the cameras that must be on one side; a few poses are always wrong."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rig:
    """Where all cameras are and how they were held."""

    centers: Float[np.ndarray, "c 3"]
    mean_up: Float[np.ndarray, "3"]
    """Mean of the image-up directions; short when the cameras are rolled every way."""

    mean_view: Float[np.ndarray, "3"]
    sideways: Float[np.ndarray, "3 3"]
    """Second moments of the image-right directions."""

    turning: Float[np.ndarray, "3 3"]
    """Second moments of the turns from the mean camera, as rotation vectors in the world, radians."""

    @classmethod
    def of(cls, cameras: Sequence[Camera]) -> "Rig":
        """The evidence of at least one camera."""
        rotations = np.stack([camera.cam_from_world[:3, :3] for camera in cameras])
        right = rotations[:, 0]
        turns = (Rotation.from_matrix(rotations).mean().inv() * Rotation.from_matrix(rotations)).as_rotvec()
        return cls(
            centers=np.stack([camera.center for camera in cameras]),
            mean_up=-rotations[:, 1].mean(axis=0),
            mean_view=rotations[:, 2].mean(axis=0),
            sideways=right.T @ right / len(right),
            turning=turns.T @ turns / len(turns),
        )

    @property
    def has_up(self) -> bool:
        """Whether the cameras agree on an up direction at all."""
        return float(np.linalg.norm(self.mean_up)) > MIN_MEAN_UP

    def find_up(self) -> tuple[Float[np.ndarray, "3"], str]:
        """Up from the cameras alone, and the kind of evidence.

        People and gimbals hold cameras level, so that the image's right is horizontal whatever the pitch and heading:
        the direction that all right axes avoid is the vertical. It needs some turning; without, the mean up serves.
        """
        moments, axes = np.linalg.eigh(self.sideways)
        if moments[1] > MIN_YAW_SPREAD and moments[0] < 0.1 * moments[1]:
            vertical = axes[:, 0]
            by_up, by_view = float(vertical @ self.mean_up), -float(vertical @ self.mean_view)
            return (vertical if (by_up if abs(by_up) > 0.3 else by_view) > 0 else -vertical), "level cameras"
        if self.has_up:
            return unit(self.mean_up), "camera up"
        if np.linalg.norm(self.mean_view) > 1e-6:
            return unit(-self.mean_view), "viewing direction"
        return np.array([0.0, 0.0, 1.0]), "z axis"

    def stands_on(self, normal: Float[np.ndarray, "3"]) -> bool:
        """Whether a plane with the cameras on its positive side is ground, and no wall or ceiling."""
        if not self.has_up:
            return True
        cosine = float(normal @ unit(self.mean_up))
        if abs(cosine) > np.cos(np.radians(GROUND_AND_UP_DEG)):
            return cosine > 0
        upwards = unit(self.mean_up - (self.mean_up @ normal) * normal)
        about_normal, about_up = normal @ self.turning @ normal, upwards @ self.turning @ upwards
        if max(about_normal, about_up) > MIN_TURNING and not 0.5 < about_normal / max(about_up, 1e-12) < 2:
            return bool(about_normal > about_up)
        # Nobody turned: flights spread over the plane both ways, people before a wall stay on one level.
        along, across = np.std(self.centers @ upwards), np.std(self.centers @ np.cross(normal, upwards))
        return bool(along > 0 and along >= 0.5 * across)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """normal @ x = offset, the unit normal towards the cameras."""

    normal: Float[np.ndarray, "3"]
    offset: float

    share: float
    """Share of the points within the tolerance."""

    def height(self, point: Float[np.ndarray, "3"]) -> float:
        """Signed distance of a point, positive on the cameras' side."""
        return float(self.normal @ point) - self.offset


def find_plane(
    points: Float[np.ndarray, "n 3"],
    centers: Float[np.ndarray, "c 3"],
    *,
    tolerance: float,
    near: tuple[Float[np.ndarray, "3"], float] | None = None,
) -> Plane | None:
    """The plane that holds most points and has the cameras on one side; None if none holds enough.

    Args:
        points: Well-seen points of the scene.
        centers: Camera positions.
        tolerance: Distance up to which a point lies on the plane, in the points' unit.
        near: A direction and an angle in degrees that bound the normal.
    """
    if len(points) < MIN_POINTS:
        return None
    rng = make_numpy_generator(0, "ground plane")
    origin = np.median(points, axis=0)
    sample = points[rng.permutation(len(points))[:MAX_POINTS]] - origin
    cameras = centers[rng.permutation(len(centers))[:MAX_CAMERAS]] - origin
    normals, offsets = _hypotheses(sample, rng)
    side = np.sign(np.median(cameras @ normals.T - offsets, axis=0))
    normals, offsets = normals * side[:, None], offsets * side
    allowed = (cameras @ normals.T > offsets).mean(axis=0) >= CAMERAS_ABOVE
    if near is not None:
        allowed &= normals @ near[0] > np.cos(np.radians(near[1]))
    if not allowed.any():
        return None
    normals, offsets = normals[allowed], offsets[allowed]
    # Truncated squares (MSAC) instead of counts: among planes with equal support the tighter one wins.
    costs = np.minimum(((sample @ normals.T - offsets) / tolerance) ** 2, 1.0).sum(axis=0)
    best = int(np.argmin(costs))
    return _refined(sample, origin, normals[best], float(offsets[best]), tolerance)


def _hypotheses(
    sample: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "h 3"], Float[np.ndarray, "h"]]:
    """Planes through three random points each; triples on a line are left out."""
    triples = sample[rng.integers(0, len(sample), (NUM_HYPOTHESES, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    usable = lengths > 1e-12 * max(float(np.abs(sample).max()), 1e-300) ** 2
    normals = normals[usable] / lengths[usable, None]
    return normals, np.einsum("hk,hk->h", normals, triples[usable, 0])


def _refined(
    sample: Float[np.ndarray, "n 3"],
    origin: Float[np.ndarray, "3"],
    normal: Float[np.ndarray, "3"],
    offset: float,
    tolerance: float,
) -> Plane | None:
    """Least squares over the inliers, a few rounds; None when they are too few, or fewer than the points beneath."""
    for _ in range(5):
        inliers = sample[np.abs(sample @ normal - offset) < tolerance]
        if len(inliers) < max(MIN_POINTS, MIN_SHARE * len(sample)):
            return None
        middle = inliers.mean(axis=0)
        # The direction of least spread; its sign is free, the side of the cameras is not.
        fitted = np.linalg.svd(inliers - middle, full_matrices=False)[2][2]
        normal = fitted if fitted @ normal > 0 else -fitted
        offset = float(normal @ middle)
    heights = sample @ normal - offset
    share = float((np.abs(heights) < tolerance).mean())
    # Under the ground there is little; a plane amid a cloud has as much on either side.
    if (heights < -tolerance).mean() > share:
        return None
    return Plane(normal=normal, offset=offset + float(normal @ origin), share=share)
