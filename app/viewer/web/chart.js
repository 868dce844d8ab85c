// Owns small line charts.

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [420, 150, 52, 10, 24, 22];

// One curve with the ends of its axes; null of fewer than two points.
export function lineChart(title, points, unit) {
  if (points.length < 2) return null;
  const [xs, ys] = [0, 1].map((i) => points.map((point) => point[i]));
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const x = (value) => LEFT + ((value - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM);
  const last = points.at(-1);
  const svg = node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}, now ${shown(last[1])}${unit}`, class: "s3-chart" });
  svg.append(text(title, { x: LEFT, y: 14, class: "s3-chart-title" }), text(`${shown(last[1])}${unit}`, { x: WIDTH - RIGHT, y: 14, "text-anchor": "end", class: "s3-chart-now" }));
  for (const value of y0 === y1 ? [y0] : [y0, y1]) {
    svg.append(node("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "s3-grid" }), text(shown(value), { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }));
  }
  svg.append(text(shown(x0), { x: LEFT, y: HEIGHT - 5 }), text(shown(x1), { x: WIDTH - RIGHT, y: HEIGHT - 5, "text-anchor": "end" }));
  svg.append(node("polyline", { points: points.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" "), class: "s3-curve" }));
  return svg;
}

export function node(tag, attributes, ...children) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function text(content, attributes) {
  const element = node("text", attributes);
  element.textContent = content;
  return element;
}

function shown(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(3);
}
