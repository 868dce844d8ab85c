"""Owns a triangle mesh with a colour per vertex."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriangleMesh:
    """Triangles whose corners turn anticlockwise seen from outside."""

    vertices: Float[np.ndarray, "v 3"]
    """World units, float64."""

    faces: Int[np.ndarray, "f 3"]
    """Rows of `vertices`."""

    colors: Float[np.ndarray, "v 3"] | None = None
    """RGB of each vertex, 0 to 1."""

    def face_normals(self) -> Float[np.ndarray, "f 3"]:
        """Unit normals, outward; zero where a triangle has no area."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        normals = np.cross(b - a, c - a)
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        return np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
