// Owns the path of a film: keyframes, a preview, and the order to render it.

import { ask, make, runPath } from "./api.js";
import { between } from "./pose.js";

export class PathTool {
  title = "Film";
  hint = "Go to a view and add it; at least two make a flight. The film is rendered by the server.";

  constructor(panel) {
    this.panel = panel;
    this.keyframes = [];
    const button = (text, onclick, more = "") => make("button", { type: "button", className: `s3-button ${more}`, textContent: text, onclick });
    this.list = make("ol", { className: "s3-keyframes" });
    this.seconds = make("input", { type: "number", min: 1, max: 300, value: 6, "aria-label": "Length of the film in seconds" });
    this.go = button("Render film", () => this.send(), "s3-primary");
    this.element = make("div", { className: "s3-tool" }, make("div", { className: "s3-row" }, button("Add this view", () => this.add()), button("Preview", () => this.preview())),
      this.list, make("label", { className: "s3-row" }, "seconds ", this.seconds), this.go);
    this.fill();
  }

  opened(info) {
    if (info.id === this.id) return;
    this.id = info.id;
    this.keyframes = [];
    this.fill();
  }

  add() {
    if (!this.panel.info) return;
    this.keyframes.push(this.panel.controls.pose);
    this.fill();
  }

  fill() {
    const rows = this.keyframes.map((pose, i) =>
      make("li", {}, make("button", { type: "button", className: "s3-link", textContent: `view ${i + 1}`, onclick: () => this.panel.controls.place(pose, this.panel.controls.target) }),
        make("button", { type: "button", className: "s3-link", textContent: "remove", "aria-label": `remove view ${i + 1}`, onclick: () => this.remove(i) })));
    this.list.replaceChildren(...rows);
    this.go.disabled = this.keyframes.length < 2;
    if (this.panel.controls) this.panel.drawLines();
  }

  remove(index) {
    this.keyframes.splice(index, 1);
    this.fill();
  }

  preview() {
    if (this.keyframes.length < 2) return this.panel.say("Add at least two views first", true);
    const duration = Number(this.seconds.value) * 1000;
    const start = performance.now();
    const step = () => {
      const share = Math.min(1, (performance.now() - start) / duration) * (this.keyframes.length - 1);
      const i = Math.min(Math.floor(share), this.keyframes.length - 2);
      this.panel.controls.pose = between(this.keyframes[i], this.keyframes[i + 1], share - i);
      const moving = share < this.keyframes.length - 1;
      this.panel.moved(moving);
      if (moving) requestAnimationFrame(step);
    };
    step();
  }

  async send() {
    try {
      const { title } = await ask(runPath(this.id, "film"), { keyframes: this.keyframes, seconds: Number(this.seconds.value) });
      this.panel.say(`${title}: see Jobs below`);
    } catch (error) {
      this.panel.say(error.message, true);
    }
  }

  lines() {
    return { path: this.keyframes };
  }
}
