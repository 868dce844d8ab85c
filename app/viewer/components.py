"""Owns our own components on Gradio's page: a place for a JavaScript module of ours to fill."""

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


def make_mounted(module: str, elem_id: str) -> gr.HTML:
    """A part of the page that one of our modules draws; Gradio never renders it anew.

    No subclass: Gradio writes a stub file beside the module of each subclass.
    """
    return gr.HTML(
        value="",
        html_template='<div class="s3-mount"></div>',
        js_on_load=LOADER % module,
        apply_default_css=False,
        elem_id=elem_id,
    )
