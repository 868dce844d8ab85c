// Owns the extend panel: the map of cells, choosing and painting them, growing and undoing.

import { address, ask, make, onRun, page, runPath } from "./api.js";
import { node } from "./chart.js";
import { frameQuery } from "./frames.js";
import { Legend, SHOWN } from "./legend.js";
import { project } from "./pose.js";

const SIZE = 720;
const SIGHTS = ["image", "depth", "origin", "before", "seam_step", "seam_color"];

export function mount(root) {
  const panel = new ExtendPanel(root);
  window.scene3d = { ...(window.scene3d || {}), extend: panel };
  onRun((run) => panel.open(run));
  document.addEventListener("scene3d-ended", (event) => event.detail.run === page.run && panel.open(page.run));
  return panel;
}

class ExtendPanel {
  constructor(root) {
    const button = (text, onclick, more = "") => make("button", { type: "button", className: `s3-button ${more}`, textContent: text, onclick });
    const number = (label, value, max) => make("input", { type: "number", min: 0, max, value, "aria-label": label });
    this.map = node("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "s3-map", role: "group", "aria-label": "Map of the scene from above; choose cells to grow" });
    this.seed = number("Seed", 0, 2147483647);
    this.steps = number("Steps", 10, 200);
    this.go = button("Grow", () => this.grow(), "s3-primary");
    this.back = button("Undo the last", () => this.undo());
    this.sight = make("select", { className: "s3-select", "aria-label": "What the map shows", onchange: () => this.picture() });
    this.brushes = make("div", { className: "s3-brushes", role: "radiogroup", "aria-label": "What to do with a cell" });
    this.history = make("ul", { className: "s3-history" });
    this.count = make("p", { className: "s3-hint" });
    this.status = make("div", { className: "s3-status", role: "status", "aria-live": "polite" });
    const side = make("div", { className: "s3-card s3-tool" }, make("h2", { textContent: "Grow beyond the photographs" }),
      make("p", { className: "s3-hint", textContent: "Click cells beside the scene. To say what should stand there, take a surface and paint on the chosen cells; what is not painted is left to the generator." }),
      this.brushes, this.count,
      make("label", { className: "s3-field" }, "Seed", this.seed), make("label", { className: "s3-field" }, "Steps", this.steps),
      make("div", { className: "s3-row" }, this.go, button("Clear", () => this.clear()), this.back),
      make("label", { className: "s3-field" }, "Map", this.sight), this.history, this.status);
    this.legend = new Legend();
    root.replaceChildren(make("div", { className: "s3-extend" }, make("div", { className: "s3-map-frame" }, this.map, this.legend.element), side));
    // Made once: a picture that is asked for anew with every click would flicker.
    this.image = node("image", { x: 0, y: 0, width: SIZE, height: SIZE });
    this.image.addEventListener("load", () => (this.pictured = this.image.getAttribute("href")));
    this.chosen = new Map();
    this.painted = new Map();
    this.brush = null;
    this.open(page.run);
  }

  async open(run) {
    this.run = run;
    this.info = null;
    this.wanted = null;
    this.clear();
    if (!run) return this.say("Choose a finished run above.");
    this.say("Looking where the scene can grow ...");
    try {
      const info = await ask(runPath(run, "extension"));
      if (this.run !== run) return;
      this.info = info;
      this.say("");
      this.fill();
    } catch (error) {
      if (this.run === run) this.say(error.message, true);
      this.map.replaceChildren();
    }
  }

  fill() {
    const { extensions, surfaces } = this.info;
    const active = extensions.filter((each) => each.status === "active");
    this.back.disabled = !active.length;
    this.history.replaceChildren(...extensions.map((each) => make("li", { textContent: `${each.id}: ${each.num_cells} cells, ${each.num_gaussians.toLocaleString("en")} Gaussians, ${each.status}` })));
    const sights = SIGHTS.filter((name) => this.info.shown.includes(name));
    const sight = this.sight.value;
    this.sight.replaceChildren(...sights.map((value) => make("option", { value, textContent: SHOWN[value] })));
    if (sights.includes(sight)) this.sight.value = sight;
    const brushes = [{ name: null, label: "choose" }, ...surfaces.map((each) => ({ ...each, label: each.name }))];
    this.brushes.replaceChildren(...brushes.map((each) => this.brushButton(each)));
    this.draw();
  }

  brushButton({ name, label, color }) {
    const swatch = make("i", {});
    if (color) swatch.style.background = `rgb(${color.join(",")})`;
    return make("button", { type: "button", className: "s3-brush", role: "radio", "aria-checked": String(this.brush === name), onclick: () => this.take(name) }, color ? swatch : null, label);
  }

  take(name) {
    this.brush = name;
    this.fill();
  }

  at(point) {
    return project(this.info.pose, point, SIZE, SIZE);
  }

  draw() {
    const cells = [...this.info.cells].sort((a, b) => (a.kind === "possible") - (b.kind === "possible"));
    const outline = node("polygon", { points: this.points(this.info.footprint), class: "s3-footprint" });
    this.map.replaceChildren(this.image, ...cells.map((cell) => this.cell(cell)), outline, ...this.patches());
    this.picture();
    this.describe();
  }

  picture() {
    if (!this.info) return;
    const wanted = `${this.info.key}/${this.sight.value}`;
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    this.legend.show(this.info.legends[this.sight.value]);
    this.image.setAttribute("href", address(frameQuery({ run: this.run, pose: this.info.pose, shown: this.sight.value || "image", key: this.info.key }, [SIZE, SIZE])));
  }

  points(corners) {
    return corners.map((corner) => this.at(corner).map((value) => value.toFixed(1)).join(",")).join(" ");
  }

  cell(cell) {
    const name = cell.cell.join(",");
    const polygon = node("polygon", { points: this.points(cell.corners), class: `s3-cell s3-${cell.kind}`, "data-cell": name });
    if (cell.kind !== "possible") return polygon;
    const isChosen = this.chosen.has(name);
    polygon.setAttribute("tabindex", "0");
    polygon.setAttribute("role", "checkbox");
    polygon.setAttribute("aria-checked", String(isChosen));
    polygon.setAttribute("aria-label", `cell ${name}`);
    polygon.classList.toggle("s3-chosen", isChosen);
    polygon.addEventListener("click", () => this.toggle(cell));
    polygon.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      this.toggle(cell);
      this.map.querySelector(`[data-cell="${name}"]`)?.focus();
    });
    return polygon;
  }

  // Painted and paintable patches of the chosen cells, while there is a brush or paint.
  patches() {
    const elements = [];
    for (const cell of this.chosen.values()) {
      for (let a = 0; a < this.info.patches; a += 1) {
        for (let b = 0; b < this.info.patches; b += 1) elements.push(this.patch(cell, a, b));
      }
    }
    return elements.filter(Boolean);
  }

  patch(cell, a, b) {
    const key = `${cell.cell.join(",")}/${a},${b}`;
    const surface = this.painted.get(key);
    if (!surface && this.brush === null) return null;
    const n = this.info.patches;
    const [low, right, , up] = cell.corners;
    const corner = (u, v) => low.map((value, i) => value + (u / n) * (right[i] - value) + (v / n) * (up[i] - value));
    const polygon = node("polygon", { points: this.points([corner(a, b), corner(a + 1, b), corner(a + 1, b + 1), corner(a, b + 1)]), class: "s3-patch" });
    const color = this.info.surfaces.find((each) => each.name === surface)?.color;
    polygon.style.fill = color ? `rgb(${color.join(",")})` : "transparent";
    polygon.style.pointerEvents = this.brush === null ? "none" : "all";
    const paint = () => {
      this.painted.set(key, this.brush);
      const fresh = this.info.surfaces.find((each) => each.name === this.brush).color;
      polygon.style.fill = `rgb(${fresh.join(",")})`;
    };
    polygon.addEventListener("pointerdown", paint);
    polygon.addEventListener("pointerenter", (event) => event.buttons && paint());
    return polygon;
  }

  toggle(cell) {
    const name = cell.cell.join(",");
    if (this.chosen.has(name)) this.chosen.delete(name);
    else if (this.chosen.size < this.info.max_cells) this.chosen.set(name, cell);
    else this.say(`At most ${this.info.max_cells} cells are grown at a time.`, true);
    this.draw();
  }

  clear() {
    this.chosen?.clear();
    this.painted?.clear();
    if (this.info) this.draw();
    else this.describe();
  }

  describe() {
    const count = this.chosen?.size ?? 0;
    this.count.textContent = count ? `${count} cell${count === 1 ? "" : "s"} chosen` : "No cell is chosen.";
    this.go.disabled = !count;
  }

  async grow() {
    const patches = [...this.painted].map(([key, surface]) => {
      const [cell, place] = key.split("/").map((part) => part.split(",").map(Number));
      return { cell, place, surface };
    });
    const cells = [...this.chosen.values()].map((each) => each.cell);
    const names = new Set(this.chosen.keys());
    const wish = { cells, seed: Number(this.seed.value), steps: Number(this.steps.value), patches: patches.filter((patch) => names.has(patch.cell.join(","))) };
    await this.order("extension/grow", wish);
  }

  undo() {
    return this.order("extension/undo", {});
  }

  async order(path, wish) {
    try {
      const { title } = await ask(runPath(this.run, path), wish);
      this.say(`${title}: see Jobs below`);
    } catch (error) {
      this.say(error.message, true);
    }
  }

  say(text, isError = false) {
    this.status.textContent = text;
    this.status.classList.toggle("s3-error", isError);
  }
}
