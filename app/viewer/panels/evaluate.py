"""Owns the place of figures and files on the page; what it shows is drawn by web/evaluate.js."""

from app.viewer.components import Mounted


def build() -> Mounted:
    """The panel, inside the tab that is open."""
    return Mounted("evaluate.js", elem_id="s3-evaluate")
