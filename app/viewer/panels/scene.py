"""Owns the scene panel's place on the page; what it shows is drawn by web/scene.js."""

from app.viewer.components import Mounted


def build() -> Mounted:
    """The panel, inside the tab that is open."""
    return Mounted("scene.js", elem_id="s3-scene")
