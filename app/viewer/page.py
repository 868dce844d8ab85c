"""Owns the page: its look, its tabs, and how Gradio is mounted with its doors shut."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import gradio as gr
from fastapi import FastAPI

from app.viewer.components import make_mounted
from app.viewer.panels import capture, evaluate, extend, reconstruct, scene

if TYPE_CHECKING:
    from app.viewer.server import Services

HEAD = """
<link rel="stylesheet" href="scene3d-assets/viewer.css">
<link rel="icon" href="data:,">
<meta name="color-scheme" content="light dark">
"""
SELECT_RUN = "(run) => { const page = (window.scene3d = window.scene3d || {}); page.wanted = run; page.select?.(run); }"
SHOWN_RUN = "(run, ...others) => [window.scene3d?.page?.run ?? run, ...others]"
SWITCH_THEME = "() => { document.body.classList.toggle('dark'); }"
CSS = """
.gradio-container { padding: 0 !important; }
.gradio-container main.fillable { max-width: 1760px !important; padding: 12px 24px 24px !important; margin: 0 auto; }
.gradio-container main > .wrap, .gradio-container .column { gap: 12px; }
.gradio-container .tabitem { padding: 10px 0 0 !important; }
.gradio-container .tabs { gap: 0; }
.gradio-container .html-container { padding: 0; }
.gradio-container ::placeholder { color: var(--body-text-color-subdued); opacity: .8; }
.s3-top { align-items: center; flex-wrap: nowrap; gap: 18px; }
.s3-form label.block, .s3-form .block > label { display: flex; flex-direction: column; height: 100%; }
.s3-form label input, .s3-form label .wrap { margin-top: auto; }
.s3-title { flex: 0 0 auto !important; width: auto !important; min-width: 0 !important; }
.s3-title h1 { font-size: 22px; margin: 0; letter-spacing: -.01em; }
footer { display: none !important; }
.s3-hidden { position: absolute !important; left: -9999px; width: 1px; height: 1px; overflow: hidden; }
.s3-quiet { color: var(--body-text-color-subdued); }
.s3-alarm, .s3-error { color: var(--s3-bad); }
.s3-warning b { color: var(--s3-warn); }
.s3-findings { padding-left: 18px; line-height: 1.5; }
.s3-plan { width: 100%; border-radius: 10px; }
"""
ACCENT, ACCENT_PRESSED = "#2f6fb5", "#29619e"
"""As in web/viewer.css."""

MAX_WAITING_CALLS = 64
NUM_WORKERS = 8


def make_theme() -> gr.themes.Base:
    """Plain, with the system's own letters: no font is fetched from anywhere."""
    fonts = ("system-ui", "sans-serif")
    theme = gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=("ui-monospace", "monospace"), radius_size="md"
    )
    # Gradio's own quiet texts are too pale to be read (2.6:1 on white; 4.5:1 is the least).
    return theme.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        button_primary_background_fill=ACCENT,
        button_primary_background_fill_dark=ACCENT,
        button_primary_background_fill_hover=ACCENT_PRESSED,
        button_primary_background_fill_hover_dark=ACCENT_PRESSED,
        button_large_text_size="*text_md",
        button_large_text_weight="500",
        button_large_padding="8px 16px",
    )


def make_page(services: "Services", chosen: str | None) -> gr.Blocks:
    """The page with all its panels."""
    with gr.Blocks(title="scene3d", analytics_enabled=False, delete_cache=(600, 86_400), fill_width=True) as page:
        with gr.Row(elem_classes="s3-top"):
            gr.HTML("<h1>scene3d</h1>", elem_classes="s3-title")
            runs = gr.Dropdown(
                [], label="Run", show_label=False, container=False, elem_id="s3-run", allow_custom_value=True
            )
            gr.Button("Light / dark", elem_id="s3-dark", size="sm", scale=0, min_width=100).click(None, js=SWITCH_THEME)
        with gr.Tabs(elem_id="s3-tabs"):
            with gr.Tab("Scene", id="scene"):
                scene.build()
            with gr.Tab("Capture", id="capture"):
                captures = capture.build(services)
            with gr.Tab("Reconstruct", id="reconstruct"):
                sources = reconstruct.build(services)
            with gr.Tab("Extend", id="extend"):
                extend.build()
            with gr.Tab("Evaluate & export", id="evaluate"):
                evaluate.build()
        make_mounted("jobs.js", "s3-jobs")
        refresh = gr.Button("Look again", elem_id="s3-refresh", elem_classes="s3-hidden")
        runs.change(None, inputs=runs, js=SELECT_RUN)
        captures.change(partial(capture.choose_capture, services), captures, sources, api_visibility="private")
        lists = [runs, captures, sources]

        # Gradio looks at the names of the parameters, which a partial function hides.
        def begin(request: gr.Request) -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
            return look(services, chosen, request)

        page.load(begin, outputs=lists, api_visibility="private")
        refresh.click(
            partial(look_again, services),
            lists,
            lists,
            js=SHOWN_RUN,
            api_visibility="private",
            show_progress="hidden",
        )
    page.queue(max_size=MAX_WAITING_CALLS, default_concurrency_limit=NUM_WORKERS, api_open=False)
    return page


def look(services: "Services", chosen: str | None, request: gr.Request) -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
    """The lists of a page that has just been opened; its address remembers which run it showed."""
    run = request.query_params.get("run", chosen)
    return choose_run(services, run), capture.choose_capture(services), capture.choose_capture(services)


def look_again(
    services: "Services", run: str | None, chosen: str | None, source: str | None
) -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
    """The lists after something has changed on disk; what was chosen stays chosen."""
    captures, sources = (capture.choose_capture(services, each) for each in (chosen, source))
    return choose_run(services, run), captures, sources


def choose_run(services: "Services", chosen: str | None) -> gr.Dropdown:
    """The list of runs as it is now, with one chosen."""
    runs = services.workspace.runs()
    choices = [(run.name if run.state != "begun" else f"{run.name} (unfinished)", run.id) for run in runs.values()]
    value = chosen if chosen in runs else next(iter(runs), None)
    return gr.Dropdown(choices=choices, value=value)


def mount_page(app: FastAPI, services: "Services", *, chosen: str | None) -> FastAPI:
    """Put the page at the root of an application."""

    async def mount() -> FastAPI:
        return _mount(app, services, chosen)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Outside a loop Gradio makes several of its own and leaves them open.
        return asyncio.run(mount())
    return _mount(app, services, chosen)


def _mount(app: FastAPI, services: "Services", chosen: str | None) -> FastAPI:
    from app.viewer.server import MAX_UPLOAD_FILE_BYTES

    return gr.mount_gradio_app(
        app,
        make_page(services, chosen),
        path="/",
        allowed_paths=[],
        blocked_paths=[str(services.workspace.root)],
        max_file_size=MAX_UPLOAD_FILE_BYTES,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        pwa=False,
        mcp_server=False,
        footer_links=[],
        theme=make_theme(),
        css=CSS,
        head=HEAD,
    )
