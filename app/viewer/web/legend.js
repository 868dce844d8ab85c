// Owns what the ways to show a scene are called, and legends: what their colours mean, as the server says it.

import { make } from "./api.js";

export const SHOWN = {
  image: "colour", depth: "depth", normal: "normals", alpha: "opacity", blocks: "blocks", contribution: "contribution",
  origin: "photographed / grown", before: "before growing", seam_step: "seam: steps", seam_color: "seam: colours",
};

export class Legend {
  constructor() {
    this.element = make("figure", { className: "s3-legend", hidden: true });
  }

  // legend: { title, colors, ticks, swatches } or nothing.
  show(legend) {
    this.element.hidden = !legend;
    if (!legend) return;
    const { title, colors, ticks, swatches } = legend;
    const parts = [make("figcaption", { textContent: title })];
    if (colors.length) {
      const bar = make("div", { className: "s3-legend-bar", role: "img", "aria-label": `colours from ${ticks[0]} to ${ticks.at(-1)}` });
      bar.style.background = `linear-gradient(90deg, ${colors.join(", ")})`;
      parts.push(bar, make("div", { className: "s3-legend-ticks" }, ...ticks.map((text) => make("span", { textContent: text }))));
    }
    parts.push(...swatches.map(({ color, text }) => {
      const dot = make("i", {});
      dot.style.background = color;
      return make("div", { className: "s3-legend-swatch" }, dot, make("span", { textContent: text }));
    }));
    this.element.replaceChildren(...parts);
  }
}
