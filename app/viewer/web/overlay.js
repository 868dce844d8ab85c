// Owns what is drawn over the scene: measured points, the crop box, cameras and the path of the film.

import { add, project, rotate } from "./pose.js";

const EDGES = [[0, 1], [1, 3], [3, 2], [2, 0], [4, 5], [5, 7], [7, 6], [6, 4], [0, 4], [1, 5], [2, 6], [3, 7]];

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  // items: { points, box, cameras, path }, each optional, in world coordinates.
  draw(pose, width, height, items) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio);
    if (this.canvas.height !== Math.round(height * ratio)) this.canvas.height = Math.round(height * ratio);
    const { context } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!pose) return;
    this.to = (point) => project(pose, point, width, height);
    if (items.cameras) this.cameras(items.cameras, items.size);
    if (items.path) this.path(items.path);
    if (items.box) this.box(items.box);
    if (items.points) this.points(items.points, items.label);
  }

  line(a, b) {
    const [from, to] = [this.to(a), this.to(b)];
    if (!from || !to) return;
    this.context.beginPath();
    this.context.moveTo(...from);
    this.context.lineTo(...to);
    this.context.stroke();
  }

  // A light line on a dark one can be seen on any picture.
  strokes(draw, color, width = 1.5) {
    for (const [style, thickness] of [["rgba(0,0,0,.65)", width + 2], [color, width]]) {
      this.context.strokeStyle = style;
      this.context.lineWidth = thickness;
      draw();
    }
  }

  box({ min, max }) {
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => [i & 1 ? max[0] : min[0], i & 2 ? max[1] : min[1], i & 4 ? max[2] : min[2]]);
    this.strokes(() => EDGES.forEach(([a, b]) => this.line(corners[a], corners[b])), "#ffd166");
  }

  cameras(views, size) {
    for (const view of views) {
      const tip = [[-0.8, -0.6], [0.8, -0.6], [0.8, 0.6], [-0.8, 0.6]].map(([x, y]) =>
        add(view.position, rotate(view.rotation, [x * size, y * size, size * 1.2])),
      );
      const color = view.held_out ? "#ff9f6e" : "#7cc4ff";
      this.strokes(() => {
        tip.forEach((corner, i) => {
          this.line(view.position, corner);
          this.line(corner, tip[(i + 1) % 4]);
        });
      }, color, 1);
    }
  }

  path(poses) {
    this.strokes(() => poses.slice(1).forEach((pose, i) => this.line(poses[i].position, pose.position)), "#b388ff", 2);
    poses.forEach((pose) => this.dot(pose.position, "#b388ff"));
  }

  points(points, label) {
    if (points.length > 1) this.strokes(() => points.slice(1).forEach((point, i) => this.line(points[i], point)), "#5cf2a4", 2);
    points.forEach((point) => this.dot(point, "#5cf2a4"));
    if (!label || points.length < 2) return;
    const middle = this.to(points[0].map((value, i) => (value + points[1][i]) / 2));
    if (!middle) return;
    const { context } = this;
    context.font = "600 13px system-ui, sans-serif";
    const width = context.measureText(label).width + 14;
    context.fillStyle = "rgba(10,14,20,.85)";
    context.beginPath();
    context.roundRect(middle[0] - width / 2, middle[1] - 26, width, 22, 6);
    context.fill();
    context.fillStyle = "#eafff4";
    context.fillText(label, middle[0] - width / 2 + 7, middle[1] - 10);
  }

  dot(point, color) {
    const at = this.to(point);
    if (!at) return;
    const { context } = this;
    context.beginPath();
    context.arc(...at, 5, 0, 2 * Math.PI);
    context.fillStyle = color;
    context.strokeStyle = "rgba(0,0,0,.8)";
    context.lineWidth = 2;
    context.fill();
    context.stroke();
  }
}
