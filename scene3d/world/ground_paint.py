"""Owns the layers in which the ground is painted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from scene3d.world.classes import SurfaceClass


@dataclass(slots=True, eq=False)
class GroundPaint:
    """Colour and class of places on the land, painted over layer by layer."""

    albedo: Float[np.ndarray, "n 3"]
    class_id: Int[np.ndarray, "n"]

    def cover(
        self,
        where: Int[np.ndarray, "m"],
        coverage: Float[np.ndarray, "m"],
        color: Float[np.ndarray, "m 3"] | Float[np.ndarray, "3"],
        class_id: SurfaceClass | None = None,
    ) -> None:
        """Lay a colour over some places, each to its share; a place covered by half or more changes its class."""
        self.albedo[where] += coverage[:, None] * (color - self.albedo[where])
        if class_id is not None:
            self.class_id[where[coverage >= 0.5]] = class_id
