"""Owns the extend panel's place on the page; what it shows is drawn by web/extend.js."""

import gradio as gr

from app.viewer.components import make_mounted


def build() -> gr.HTML:
    """The panel, inside the tab that is open."""
    return make_mounted("extend.js", "s3-extend")
