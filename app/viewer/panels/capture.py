"""Owns the capture panel: photographs come in, the scene doctor looks at them, and poses are found."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from app.commands.inspect import describe, format_finding
from app.errors import explain
from app.viewer.forms import find_fields, make_component, read_form
from app.viewer.orders import order_poses
from app.viewer.uploads import admit
from scene3d.data.capture import Finding
from scene3d.data.inspection import inspect_capture
from scene3d.data.photo_files import PhotoFolder
from scene3d.data.reading import read_capture
from scene3d.data.sfm.settings import PrepareSettings
from scene3d.errors import Scene3dError

if TYPE_CHECKING:
    from app.viewer.server import Services

FILE_KINDS = ["image", ".zip"]
SHOWN_SETTINGS = ("matcher", "camera_model", "feature_image_size")
EMPTY = "Add photographs on the left, or choose a capture; then look at what the scene doctor says."


def build(services: "Services") -> gr.Dropdown:
    """The panel, inside the tab that is open; returns the list of captures."""
    fields = [field for field in find_fields(PrepareSettings()) if field.path[0] in SHOWN_SETTINGS]
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            gr.Markdown("### New photographs")
            name = gr.Textbox(label="Name", placeholder="old-town", max_lines=1, elem_id="s3-capture-name")
            files = gr.File(
                label="Photographs, or one zip with photographs and perhaps poses (COLMAP, transforms.json)",
                file_count="multiple",
                file_types=FILE_KINDS,
                height=170,
                elem_id="s3-capture-files",
            )
            add = gr.Button("Add to captures", variant="primary", elem_id="s3-capture-add")
        with gr.Column(scale=1, min_width=320):
            gr.Markdown("### Captures")
            captures = gr.Dropdown(
                [],
                label="Capture",
                elem_id="s3-captures",
                allow_custom_value=True,
                info="Folders below the viewer's root",
            )
            with gr.Row():
                look = gr.Button("Examine", elem_id="s3-capture-look")
                poses = gr.Button("Find poses", elem_id="s3-capture-poses")
            with gr.Accordion("How poses are found", open=False):
                components = [make_component(field) for field in fields]
            verdict = gr.HTML(_hint(EMPTY), elem_id="s3-verdict")

    def take(name: str, files: list[str] | None) -> tuple[gr.Dropdown, None, str]:
        try:
            entry = admit(services.workspace, name or "", [Path(path) for path in files or []])
        except (Scene3dError, OSError) as error:
            return gr.Dropdown(), None, _alarm(error)
        return choose_capture(services, entry.id), None, examine(services, entry.id)

    def find_poses(capture: str | None, *values: object) -> str:
        try:
            settings = read_form(PrepareSettings, fields, values)
            job = order_poses(
                services.workspace, services.jobs, services.workspace.find_capture(capture or ""), settings
            )
        except Scene3dError as error:
            return _alarm(error)
        return _hint(f"{job.title}: see Jobs below")

    add.click(take, [name, files], [captures, files, verdict], api_visibility="private", concurrency_limit=1)
    look.click(lambda capture: examine(services, capture), captures, verdict, api_visibility="private")
    poses.click(find_poses, [captures, *components], verdict, api_visibility="private")
    return captures


def choose_capture(services: "Services", chosen: str | None = None) -> gr.Dropdown:
    """The list of captures as it is now."""
    captures = services.workspace.captures()
    choices = [(each.name if each.has_poses else f"{each.name} (no poses yet)", each.id) for each in captures.values()]
    return gr.Dropdown(choices=choices, value=chosen if chosen in captures else next(iter(captures), None))


def examine(services: "Services", capture_id: str | None) -> str:
    """What the scene doctor finds, as HTML in which everything from outside is escaped."""
    if not capture_id:
        return _hint(EMPTY)
    try:
        entry = services.workspace.find_capture(capture_id)
        if not entry.has_poses:
            count = len(PhotoFolder.of(entry.root).files)
            return _hint(f"{count:,} photographs and no poses yet: press Find poses, or just reconstruct.")
        capture = read_capture(entry.root)
        shown = show_findings(describe(capture), (*capture.findings, *inspect_capture(capture)))
        return shown.replace(html.escape(str(entry.root)), html.escape(entry.name))
    except Scene3dError as error:
        return _alarm(error)


def show_findings(summary: str, findings: Sequence[Finding]) -> str:
    """A summary and its findings as HTML."""
    rows = "".join(
        f'<li class="s3-{each.severity.value}"><b>{each.severity.value}</b> {html.escape(format_finding(each))}</li>'
        for each in findings
    )
    return f'<p><b>{html.escape(summary)}</b></p><ul class="s3-findings">{rows or "<li>nothing to mend</li>"}</ul>'


def _hint(text: str) -> str:
    return f'<p class="s3-quiet">{html.escape(text)}</p>'


def _alarm(error: Exception) -> str:
    text = explain(error).line if not isinstance(error, Scene3dError) else _sentence(error)
    return f'<p class="s3-alarm" role="alert">{html.escape(text)}</p>'


def _sentence(error: Scene3dError) -> str:
    return error.what if error.remedy is None else f"{error.what}; {error.remedy}"
