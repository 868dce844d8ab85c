// Owns the picture of a scene: frames from the server or splats of the browser, and what is drawn and said over it.

import { address, dataPath, make } from "./api.js";
import { FrameRenderer } from "./frames.js";
import { Legend } from "./legend.js";
import { Overlay } from "./overlay.js";

const REST_MS = 160;
const MAX_RATIO = 1.5;
const HELP = "The scene. Drag to turn, shift and drag to move, wheel to come closer, double-click to look at a place. Keys: arrows turn; W, A, S, D, Q, E move; R goes home.";

export class Picture {
  // `say(text, isError)` speaks to the person; `rested()` hears that nothing moves any more, or that the size is
  // another; `gaveUp()` that the browser cannot draw by itself.
  constructor({ say, rested, gaveUp }) {
    Object.assign(this, { say, rested, gaveUp });
    this.mode = "server";
    this.shown = "image";
    this.drawn = 0;
    this.view = null;
    this.canvas = make("canvas", { className: "s3-gl", hidden: true });
    this.image = make("img", { className: "s3-frame", alt: "", draggable: false });
    this.photo = make("img", { className: "s3-frame s3-photo", alt: "", hidden: true, draggable: false });
    this.lines = make("canvas", { className: "s3-lines" });
    this.hud = make("div", { className: "s3-hud" });
    this.empty = make("div", { className: "s3-empty" });
    this.legend = new Legend();
    this.stage = make("div", { className: "s3-stage", tabIndex: 0, role: "application", "aria-label": HELP }, this.canvas, this.image, this.photo, this.lines, this.hud, this.legend.element, this.empty);
    this.frames = new FrameRenderer(this.image, { drawn: (info) => this.frameDrawn(info), failed: (text) => say(text, true) });
    this.overlay = new Overlay(this.lines);
    new ResizeObserver(() => this.info && this.rested()).observe(this.stage);
  }

  size() {
    return [this.stage.clientWidth, this.stage.clientHeight];
  }

  // Nothing is shown until the scene of this run is there.
  clear(run) {
    this.run = run;
    this.info = null;
    this.leave();
    this.image.removeAttribute("src");
    this.splats?.clear();
    this.loaded = null;
  }

  // The scene, or its next state while it trains.
  take(info) {
    this.info = info;
    this.empty.hidden = true;
    this.describe();
    if (this.mode === "client") this.loadSplats();
  }

  showEmpty(title, text, ...more) {
    this.empty.hidden = false;
    this.hud.textContent = "";
    this.legend.show(null);
    this.empty.replaceChildren(make("strong", { textContent: title }), make("span", { textContent: text }), ...more);
  }

  describe() {
    const { info } = this;
    if (!info) return;
    const count = info.num_gaussians.toLocaleString("en");
    const light = this.mode === "client" && info.light.num < info.num_gaussians ? `, the ${info.light.num.toLocaleString("en")} largest are drawn` : "";
    const live = info.live ? ` · in training, iteration ${info.iteration.toLocaleString("en")}` : "";
    this.hud.textContent = `${count} Gaussians${light}${live}`;
    this.hud.classList.toggle("s3-live", info.live);
    this.legend.show(this.mode === "server" ? info.legends[this.shown] : null);
  }

  // Draws a pose, or a photograph's own camera where one stands there; false while nothing can be seen.
  draw(pose, moving, items) {
    const [width, height] = this.size();
    if (!this.info || !width || !height) return false;
    this.drawLines(pose, items);
    if (this.mode === "client" && this.splats) this.splats.place(pose, width, height, this.info.radius);
    if (this.mode === "server" || this.view !== null) this.requestFrame(pose, moving);
    return true;
  }

  requestFrame(pose, moving) {
    const ratio = Math.min(window.devicePixelRatio || 1, MAX_RATIO);
    const [width, height] = this.size().map((side) => side * ratio);
    this.frames.request({ run: this.run, key: this.info.key, pose, view: this.view, shown: this.shown, width, height, moving });
    clearTimeout(this.rest);
    // Wheel and keys have no end of their own: when nothing follows, the camera rests.
    if (moving) this.rest = setTimeout(() => this.rested(), REST_MS);
  }

  frameDrawn(info) {
    this.drawn += 1;
    this.last = info;
    this.image.hidden = this.mode === "client" && this.view === null;
  }

  drawLines(pose, items) {
    this.overlay.draw(pose, ...this.size(), this.view === null ? items : {});
  }

  // The photograph over its rendering.
  stand(view) {
    this.view = view.index;
    this.photo.hidden = false;
    this.photo.src = address(dataPath(this.run, `photo/${view.index}.jpg`));
  }

  leave() {
    this.view = null;
    this.photo.hidden = true;
    if (this.mode === "client") this.image.hidden = true;
  }

  // The part of the photograph left of a place, in percent, is shown; both pictures fill the same box.
  cut(percent) {
    this.photo.style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
  }

  setMode(mode) {
    this.mode = mode;
    this.canvas.hidden = mode !== "client";
    this.image.hidden = mode === "client";
    if (mode === "client") this.loadSplats();
    this.describe();
  }

  setShown(shown) {
    this.shown = shown;
    this.describe();
  }

  async loadSplats() {
    if (!this.info || this.loaded === this.info.key) return;
    const { key, light } = this.info;
    this.say("Loading the scene into the browser ...");
    try {
      if (!this.splats) {
        const { SplatRenderer } = await import("./splats.js");
        this.splats = new SplatRenderer(this.canvas, { failed: (text) => this.say(text, true) });
      }
      const started = performance.now();
      await this.splats.load(address(dataPath(this.run, light.file)));
      this.loaded = key;
      this.say(`Loaded in ${((performance.now() - started) / 1000).toFixed(1)} s`);
      this.rested();
    } catch (error) {
      this.say(`${error.message}. Pictures come from the server instead.`, true);
      this.gaveUp();
    }
  }
}
