"""Owns the extend panel's place on the page; what it shows is drawn by web/extend.js."""

from app.viewer.components import Mounted


def build() -> Mounted:
    """The panel, inside the tab that is open."""
    return Mounted("extend.js", elem_id="s3-extend")
