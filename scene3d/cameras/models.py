"""Owns the lens models of the COLMAP family: their names, parameters and distortion."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraModel:
    """A lens as calibrated: COLMAP's model name, image size and parameter list."""

    name: str
    width: int
    height: int
    params: tuple[float, ...]
