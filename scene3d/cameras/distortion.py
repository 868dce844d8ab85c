"""Owns what a lens does to the ideal image plane: radial, tangential and prism terms, perspective or equidistant."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

NEWTON_STEPS = 40
PLANE_TOLERANCE = 1e-9
"""Largest accepted error of an inverted distortion, on the plane z = 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """One formula for all models: p' = p N(r^2)/D(r^2) + tangential + prism, r = |p|.

    `p` is x/z, y/z for a perspective lens; for a fisheye it has the same direction and the length of the angle to the
    optical axis (equidistant projection), as COLMAP and OpenCV have it.
    """

    fisheye: bool
    numerator: tuple[float, ...]
    """Coefficients of r^2, r^4, ...; the constant is 1."""

    denominator: tuple[float, ...]
    tangential: tuple[float, float]
    prism: tuple[float, float]

    @property
    def is_identity(self) -> bool:
        """Whether the lens is a plain pinhole."""
        return not self.fisheye and not any((*self.numerator, *self.denominator, *self.tangential, *self.prism))

    def max_radius(self) -> float:
        """Largest undistorted radius before the radial polynomial turns back or has a pole; else infinite."""
        numerator = np.polynomial.Polynomial((1.0, *self.numerator))
        denominator = np.polynomial.Polynomial((1.0, *self.denominator))
        squared = np.polynomial.Polynomial((0.0, 1.0))
        # d/dr of r N/D, times D^2, as a polynomial of q = r^2.
        slope = numerator * denominator
        slope = slope + 2 * squared * (numerator.deriv() * denominator - numerator * denominator.deriv())
        roots = np.concatenate([slope.trim().roots(), denominator.trim().roots()])
        real = roots.real[(np.abs(roots.imag) < 1e-9 * np.abs(roots)) & (roots.real > 0)]
        fold = float(np.sqrt(real.min())) if real.size else np.inf
        return min(fold, np.pi) if self.fisheye else fold

    def plane_from_rays(self, rays: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Distorted coordinates, in focal lengths from the principal point; NaN where the lens does not see."""
        side, depth = rays[:, :2], rays[:, 2]
        if self.fisheye:
            sine = np.linalg.norm(side, axis=1)
            angle = np.arctan2(sine, depth)
            ideal = side * (angle / np.where(sine > 0, sine, 1.0))[:, None]
            seen = np.isfinite(angle) & ((sine > 0) | (depth > 0))
        else:
            seen = depth > 0
            ideal = side / np.where(seen, depth, 1.0)[:, None]
        seen &= _norm(ideal) < self.max_radius()
        distorted = np.full_like(ideal, np.nan)
        distorted[seen] = self._distort(ideal[seen])
        return distorted

    def rays_from_plane(self, distorted: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """The unit direction each distorted coordinate comes from; NaN where there is none."""
        ideal = self._undistort(distorted)
        if self.fisheye:
            angle = _norm(ideal)
            # sin(a)/a, and 1 on the axis.
            rays = np.concatenate([ideal * np.sinc(angle / np.pi)[:, None], np.cos(angle)[:, None]], axis=1)
        else:
            rays = np.concatenate([ideal, np.ones((len(ideal), 1))], axis=1)
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def _distort(self, p: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        x, y = p.T
        q = x * x + y * y
        (p1, p2), (s1, s2) = self.tangential, self.prism
        gain = np.polyval((*self.numerator[::-1], 1.0), q) / np.polyval((*self.denominator[::-1], 1.0), q)
        x_shift = 2 * p1 * x * y + p2 * (q + 2 * x * x) + s1 * q
        y_shift = 2 * p2 * x * y + p1 * (q + 2 * y * y) + s2 * q
        return p * gain[:, None] + np.stack([x_shift, y_shift], axis=1)

    def _jacobian(self, p: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2 2"]:
        """Derivative of the distortion: row i is how distorted coordinate i changes with p."""
        x, y = p.T
        q = x * x + y * y
        (p1, p2), (s1, s2) = self.tangential, self.prism
        top, bottom = (*self.numerator[::-1], 1.0), (*self.denominator[::-1], 1.0)
        n, d = np.polyval(top, q), np.polyval(bottom, q)
        gain = n / d
        gain_slope = (np.polyval(np.polyder(top), q) * d - n * np.polyval(np.polyder(bottom), q)) / (d * d)
        jacobian = gain[:, None, None] * np.eye(2) + 2 * gain_slope[:, None, None] * p[:, :, None] * p[:, None, :]
        jacobian[:, 0, 0] += 2 * p1 * y + 6 * p2 * x + 2 * s1 * x
        jacobian[:, 0, 1] += 2 * p1 * x + 2 * p2 * y + 2 * s1 * y
        jacobian[:, 1, 0] += 2 * p2 * y + 2 * p1 * x + 2 * s2 * x
        jacobian[:, 1, 1] += 2 * p2 * x + 6 * p1 * y + 2 * s2 * y
        return jacobian

    def _undistort(self, distorted: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Newton's method, held inside the radius where the distortion can be inverted."""
        if self.is_identity:
            return distorted
        farthest = 0.999999 * self.max_radius()
        p = _shortened(np.nan_to_num(distorted), farthest)
        for _ in range(NEWTON_STEPS):
            step = _solved(self._jacobian(p), np.nan_to_num(self._distort(p) - distorted))
            p = _shortened(p - step, farthest)
            if np.abs(step).max(initial=0.0) < 1e-15:
                break
        found = _within(self._distort(p) - distorted, PLANE_TOLERANCE)
        return np.where(found[:, None], p, np.nan)


def _solved(matrices: Float[np.ndarray, "n 2 2"], right: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Solutions of 2x2 systems; a singular one, where tangential terms fold the plane, takes a plain step instead."""
    (a, b), (c, d) = np.moveaxis(matrices, 0, -1)
    determinant = a * d - b * c
    singular = np.abs(determinant) < 1e-12
    scale = 1 / np.where(singular, 1.0, determinant)
    x, y = right.T
    solution = np.stack([scale * (d * x - b * y), scale * (a * y - c * x)], axis=1)
    return np.where(singular[:, None], right, solution)


def _norm(p: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    return np.asarray(np.hypot(p[:, 0], p[:, 1]))


def _shortened(p: Float[np.ndarray, "n 2"], farthest: float) -> Float[np.ndarray, "n 2"]:
    length = _norm(p)
    return p * np.minimum(1.0, farthest / np.where(length > 0, length, 1.0))[:, None]


def _within(error: Float[np.ndarray, "n 2"], tolerance: float) -> Bool[np.ndarray, "n"]:
    return np.isfinite(error).all(axis=1) & (_norm(error) < tolerance)
