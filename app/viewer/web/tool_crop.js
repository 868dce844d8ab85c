// Owns the crop box: six sliders, and the export of what is inside.

import { address, ask, dataPath, make, runPath } from "./api.js";

const AXES = ["x", "y", "z"];

export class CropTool {
  title = "Crop";
  hint = "Move the sides of the box, then export the Gaussians inside it. The scene itself stays as it is.";

  constructor(panel) {
    this.panel = panel;
    this.sliders = { min: [], max: [] };
    const rows = AXES.map((axis, i) => make("fieldset", { className: "s3-axis" }, make("legend", { textContent: axis }), this.slider("min", i, axis), this.slider("max", i, axis)));
    this.format = make("select", { className: "s3-select", "aria-label": "Kind of file" }, ...["ply", "spz", "splat"].map((kind) => make("option", { value: kind, textContent: `.${kind}` })));
    this.go = make("button", { type: "button", className: "s3-button s3-primary", textContent: "Export the inside", onclick: () => this.send() });
    this.done = make("div", { className: "s3-done" });
    this.element = make("div", { className: "s3-tool" }, ...rows, make("div", { className: "s3-row" }, this.format, this.go),
      make("button", { type: "button", className: "s3-button", textContent: "Whole scene", onclick: () => this.reset() }), this.done);
  }

  slider(side, i, axis) {
    const input = make("input", { type: "range", min: 0, max: 1000, value: side === "min" ? 0 : 1000, "aria-label": `${side === "min" ? "smallest" : "largest"} ${axis}`, oninput: () => this.changed(side, i) });
    this.sliders[side][i] = input;
    return input;
  }

  opened(info) {
    if (info.id === this.id) return;
    this.id = info.id;
    this.bounds = info.bounds;
    this.reset();
  }

  reset() {
    this.done.replaceChildren();
    this.sliders.min.forEach((slider) => (slider.value = 0));
    this.sliders.max.forEach((slider) => (slider.value = 1000));
    this.panel.drawLines?.();
  }

  changed(side, i) {
    const [low, high] = [this.sliders.min[i], this.sliders.max[i]];
    if (Number(low.value) >= Number(high.value)) {
      if (side === "min") low.value = Number(high.value) - 1;
      else high.value = Number(low.value) + 1;
    }
    this.panel.drawLines();
  }

  box() {
    const at = (side, i) => this.bounds.min[i] + (this.sliders[side][i].value / 1000) * (this.bounds.max[i] - this.bounds.min[i]);
    return { min: [0, 1, 2].map((i) => at("min", i)), max: [0, 1, 2].map((i) => at("max", i)) };
  }

  // For whoever drives the page: a box in world coordinates.
  setBox({ min, max }) {
    const share = (value, i) => Math.round((1000 * (value - this.bounds.min[i])) / (this.bounds.max[i] - this.bounds.min[i]));
    [0, 1, 2].forEach((i) => {
      this.sliders.min[i].value = share(min[i], i);
      this.sliders.max[i].value = share(max[i], i);
    });
    this.panel.drawLines();
  }

  async send() {
    this.go.disabled = true;
    this.done.textContent = "Writing ...";
    try {
      const record = await ask(runPath(this.id, "export"), { format: this.format.value, crop: this.box() });
      const link = make("a", { href: address(dataPath(this.id, record.file)), download: record.name, textContent: `Download ${record.name}` });
      this.done.replaceChildren(link, make("span", { textContent: ` ${record.num_gaussians.toLocaleString("en")} Gaussians, ${(record.size_bytes / 1e6).toFixed(1)} MB` }));
    } catch (error) {
      this.done.textContent = "";
      this.panel.say(error.message, true);
    }
    this.go.disabled = false;
  }

  lines() {
    return this.bounds ? { box: this.box() } : {};
  }
}
