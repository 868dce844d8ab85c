// Owns measuring: two clicks give a distance, and a known distance gives the scene its scale.

import { ask, make, runPath } from "./api.js";
import { length, subtract } from "./pose.js";

export class MeasureTool {
  title = "Measure";
  hint = "Click two places in the scene. A distance you know sets the scale of all others.";

  constructor(panel) {
    this.panel = panel;
    this.points = [];
    this.result = make("div", { className: "s3-result", textContent: "–" });
    this.where = make("div", { className: "s3-coordinates" });
    this.known = make("input", { type: "number", min: 0, step: "any", placeholder: "metres", "aria-label": "Known distance in metres" });
    this.apply = make("button", { type: "button", className: "s3-button", textContent: "Set scale", disabled: true, onclick: () => this.setScale() });
    this.element = make("div", { className: "s3-tool" }, this.result, this.where,
      make("div", { className: "s3-row" }, this.known, this.apply),
      make("button", { type: "button", className: "s3-button", textContent: "Clear", onclick: () => this.clear() }));
  }

  opened(info) {
    if (info.id !== this.id) this.clear();
    this.id = info.id;
    this.show();
  }

  async clicked(x, y) {
    try {
      const point = await this.panel.pick(x, y);
      this.points = [...(this.points.length === 2 ? [] : this.points), point];
      this.panel.hooks.picked?.(point.world);
      this.panel.say(this.points.length === 1 ? "Now click the second place" : "");
    } catch (error) {
      this.panel.say(error.message, true);
    }
    this.show();
    this.panel.drawLines();
  }

  worldDistance() {
    return this.points.length === 2 ? length(subtract(this.points[0].world, this.points[1].world)) : null;
  }

  label() {
    const distance = this.worldDistance();
    const unit = this.panel.info?.unit;
    if (distance === null || !unit) return null;
    return `${(distance * unit.per_world).toPrecision(4)} ${unit.name}`;
  }

  show() {
    this.result.textContent = this.label() ?? "–";
    const point = this.points.at(-1);
    this.where.textContent = point ? `last point: ${point.capture.map((value) => value.toFixed(3)).join(", ")}` : "";
    this.apply.disabled = this.worldDistance() === null;
  }

  async setScale() {
    const metres = Number(this.known.value);
    try {
      if (!(metres > 0)) throw new Error("Type the distance between the two places in metres first.");
      const { unit } = await ask(runPath(this.id, "scale"), { world_distance: this.worldDistance(), metres });
      this.panel.info.unit = unit;
      this.panel.say("Distances are in metres now, and exports can be");
    } catch (error) {
      this.panel.say(error.message, true);
    }
    this.show();
    this.panel.drawLines();
  }

  clear() {
    this.points = [];
    this.show();
    this.panel.drawLines?.();
  }

  lines() {
    return { points: this.points.map((point) => point.world), label: this.label() };
  }
}
