"""Owns our own components on Gradio's page: a place for a JavaScript module of ours to fill."""

from typing import Any

import gradio as gr

LOADER = """
const place = element.querySelector('.s3-mount');
if (place && !place.dataset.filled) {
  place.dataset.filled = 'yes';
  const hooks = {
    moved: (pose) => trigger('input', { pose }),
    picked: (point) => trigger('select', { point }),
  };
  import(new URL('scene3d-assets/%s', document.baseURI).href)
    .then((module) => module.mount(place, hooks))
    .catch((error) => { place.textContent = 'This part of the page could not be loaded: ' + error.message; });
}
"""

class Mounted(gr.HTML):
    """A part of the page that one of our modules draws; Gradio never renders it anew."""

    def __init__(self, module: str, **props: Any) -> None:
        super().__init__(
            value="",
            html_template='<div class="s3-mount"></div>',
            js_on_load=LOADER % module,
            apply_default_css=False,
            **props,
        )
    from collections.abc import Callable, Sequence
    from typing import TYPE_CHECKING, Any, Literal

    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
