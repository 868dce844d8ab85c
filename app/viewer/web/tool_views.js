// Owns the list of photographs: thumbnails, standing where one was taken, photograph against rendering.

import { address, dataPath, make } from "./api.js";

const PAGE = 60;

export class ViewsTool {
  title = "Photos";
  hint = "Click a photograph to stand where it was taken, then compare it with the rendering.";

  constructor(panel) {
    this.panel = panel;
    this.list = make("ul", { className: "s3-thumbs" });
    this.search = make("input", { type: "search", placeholder: "Find by name", "aria-label": "Find a photograph by name", oninput: () => this.fill() });
    this.slider = make("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Photograph on the left, rendering on the right", oninput: () => this.cut() });
    this.compare = make("label", { className: "s3-compare", hidden: true }, make("span", { textContent: "photo" }), this.slider, make("span", { textContent: "rendering" }));
    this.cameras = make("input", { type: "checkbox", checked: false, onchange: () => this.panel.drawLines() });
    this.count = make("span", { className: "s3-count" });
    this.element = make("div", { className: "s3-tool" }, this.compare, this.search,
      make("div", { className: "s3-row" }, make("label", {}, this.cameras, " draw cameras"), this.count), this.list);
    this.views = [];
  }

  opened(info) {
    if (info.views.length === this.views.length && info.id === this.id) return;
    this.id = info.id;
    this.views = info.views;
    this.left();
    this.fill();
  }

  fill() {
    const words = this.search.value.toLowerCase();
    const found = this.views.filter((view) => view.name.toLowerCase().includes(words));
    this.count.textContent = this.views.length ? `${found.length} of ${this.views.length}` : "";
    const rows = found.slice(0, PAGE).map((view) => this.row(view));
    if (!this.views.length) rows.push(make("li", { className: "s3-none", textContent: "The photographs of this scene are not here." }));
    if (found.length > PAGE) rows.push(make("li", { className: "s3-none", textContent: `${found.length - PAGE} more; type part of a name.` }));
    this.list.replaceChildren(...rows);
  }

  row(view) {
    const picture = make("img", { loading: "lazy", alt: "", src: address(dataPath(this.id, `thumb/${view.index}.jpg`)) });
    const label = make("span", { textContent: view.name });
    const mark = view.held_out ? make("em", { textContent: "held out" }) : null;
    const button = make("button", { type: "button", className: "s3-thumb", title: view.name, "data-view": view.index, onclick: () => this.stand(view) }, picture, label, mark);
    return make("li", {}, button);
  }

  stand(view) {
    this.panel.standAt(view);
    this.compare.hidden = false;
    this.cut();
    for (const each of this.list.querySelectorAll(".s3-thumb")) each.setAttribute("aria-pressed", String(Number(each.dataset.view) === view.index));
  }

  cut() {
    this.panel.picture.cut(this.slider.value);
  }

  left() {
    this.compare.hidden = true;
    for (const each of this.list.querySelectorAll("[aria-pressed=true]")) each.setAttribute("aria-pressed", "false");
  }

  lines() {
    if (!this.cameras.checked || !this.panel.info) return {};
    return { cameras: this.views, size: this.panel.info.radius * 0.04 };
  }
}
