"""Owns the one door through which readers say what they left out."""

from scene3d.data.capture import Finding, Severity

__all__ = ["Finding", "Severity"]
