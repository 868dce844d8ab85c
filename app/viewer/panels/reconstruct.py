"""Owns the reconstruct panel: the settings as a form, the plan of blocks, and the start of a run."""

import html
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.settings_flags import PRESETS
from app.viewer.components import make_mounted
from app.viewer.forms import FormField, find_fields, make_component, read_form, values_of
from app.viewer.orders import order_example, order_partition, order_reconstruction
from blocks.settings import RunSettings
from scene3d.config import load_settings
from scene3d.errors import Scene3dError, SettingsError

if TYPE_CHECKING:
    from app.viewer.server import Services

MAIN = ("iterations", "image_scale", "blocks", "memory_gb")
GENERAL = "general"


def build(services: "Services") -> gr.Dropdown:
    """The panel, inside the tab that is open; returns its list of captures."""
    fields = find_fields(RunSettings())
    main = [field for field in fields if len(field.path) == 1 and field.path[0] in MAIN]
    with gr.Row():
        with gr.Column(scale=1, min_width=340):
            captures = gr.Dropdown(
                [],
                label="Capture",
                elem_id="s3-reconstruct-capture",
                allow_custom_value=True,
                info="What to reconstruct",
            )
            name = gr.Textbox(label="Name of the run", placeholder="old-town-1", max_lines=1, elem_id="s3-run-name")
            preset = gr.Radio(list(PRESETS), value="default", label="Preset", info="Where the settings start")
            with gr.Row(elem_classes="s3-form"):
                components: dict[FormField, Any] = {field: make_component(field) for field in main}
            with gr.Accordion("All settings", open=False):
                components |= _make_groups([field for field in fields if field not in main])
            with gr.Row():
                start = gr.Button("Start", variant="primary", elem_id="s3-start")
                plan = gr.Button("Plan blocks", elem_id="s3-plan")
                example = gr.Button("Example", elem_id="s3-example")
            said = gr.HTML("", elem_id="s3-said")
        with gr.Column(scale=1, min_width=340):
            gr.Markdown("### Map of blocks")
            make_mounted("planmap.js", "s3-plan-map")
    ordered = [components[field] for field in fields]

    def begin(capture: str | None, name: str, *values: object) -> str:
        try:
            settings = read_form(RunSettings, fields, values)
            entry = services.workspace.find_capture(capture or "")
            job = order_reconstruction(services.workspace, services.jobs, entry, name or "", settings)
        except Scene3dError as error:
            return _alarm(error)
        return _hint(f"{job.title}: see Jobs below, and the Scene tab once it has begun")

    def plan_blocks(capture: str | None, *values: object) -> str:
        try:
            settings = read_form(RunSettings, fields, values)
            entry = services.workspace.find_capture(capture or "")
            job = order_partition(services.workspace, services.jobs, entry, settings.blocks)
        except Scene3dError as error:
            return _alarm(error)
        return _hint(f"{job.title}: the map appears beside this")

    def make_example() -> str:
        try:
            job = order_example(services.workspace, services.jobs)
        except Scene3dError as error:
            return _alarm(error)
        return _hint(f"{job.title}: see Jobs below; it takes some seconds")

    start.click(begin, [captures, name, *ordered], said, api_visibility="private")
    plan.click(plan_blocks, [captures, *ordered], said, api_visibility="private")
    example.click(make_example, None, said, api_visibility="private")
    preset.change(lambda chosen: preset_values(chosen, fields), preset, ordered, api_visibility="private")
    return captures


def preset_values(name: str, fields: list[FormField]) -> list[Any]:
    """What the form shows for a preset.

    Raises:
        SettingsError: There is no such preset.
    """
    if name not in PRESETS:
        raise SettingsError("there is no such preset")
    return values_of(load_settings(RunSettings, preset=PRESETS[name]), fields)


def _make_groups(fields: list[FormField]) -> dict[FormField, Any]:
    """An accordion for each group of settings, the general ones first."""
    groups: dict[str, list[FormField]] = {}
    for field in fields:
        groups.setdefault(field.path[0] if len(field.path) > 1 else GENERAL, []).append(field)
    components: dict[FormField, Any] = {}
    for group, members in groups.items():
        with gr.Accordion(group.replace("_", " ").capitalize(), open=False), gr.Row(elem_classes="s3-form"):
            components |= {field: make_component(field) for field in members}
    return components


def _hint(text: str) -> str:
    return f'<p class="s3-quiet">{html.escape(text)}</p>'


def _alarm(error: Scene3dError) -> str:
    text = error.what if error.remedy is None else f"{error.what}; {error.remedy}"
    return f'<p class="s3-alarm" role="alert">{html.escape(text)}</p>'
