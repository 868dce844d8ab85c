"""Owns the place of figures and files on the page; what it shows is drawn by web/evaluate.js."""

import gradio as gr

from app.viewer.components import make_mounted


def build() -> gr.HTML:
    """The panel, inside the tab that is open."""
    return make_mounted("evaluate.js", "s3-evaluate")
