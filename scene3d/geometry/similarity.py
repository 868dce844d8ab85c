"""Owns similarity transforms: scale, rotation, translation between two world frames, in double precision."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from scene3d.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """`target_from_source`: x_target = scale * rotation @ x_source + translation."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"a similarity's scale is {self.scale}; it must be positive and finite")
        if np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > 1e-6 or np.linalg.det(self.rotation) < 0:
            raise InputError("a similarity's rotation is not a rotation matrix")

    @classmethod
    def identity(cls) -> "Similarity":
        """The transform that changes nothing."""
        return cls(1.0, np.eye(3), np.zeros(3))

    def apply(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points of the source frame in the target frame; computed and returned in double."""
        return self.scale * (np.asarray(points, np.float64) @ self.rotation.T) + self.translation

    def inverse(self) -> "Similarity":
        """`source_from_target`."""
        return Similarity(1 / self.scale, self.rotation.T, -(self.rotation.T @ self.translation) / self.scale)

    def __matmul__(self, other: "Similarity") -> "Similarity":
        """`a_from_b @ b_from_c` is `a_from_c`."""
        return Similarity(
            self.scale * other.scale,
            self.rotation @ other.rotation,
            self.scale * (self.rotation @ other.translation) + self.translation,
        )

    def apply_camera(self, cam_from_source: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        """The same camera seen from the target frame; it stays rigid, and its depths grow by `scale`."""
        cam_from_target = np.eye(4)
        cam_from_target[:3, :3] = cam_from_source[:3, :3] @ self.rotation.T
        cam_from_target[:3, 3] = self.scale * cam_from_source[:3, 3] - cam_from_target[:3, :3] @ self.translation
        return cam_from_target

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "scale": self.scale,
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Similarity":
        """The inverse of `to_record`."""
        return cls(
            float(record["scale"]),
            np.asarray(record["rotation"], np.float64).reshape(3, 3),
            np.asarray(record["translation"], np.float64).reshape(3),
        )
