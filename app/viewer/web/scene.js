// Owns the scene panel: the picture in both modes, the bar above it, and the tools beside it.

import { ask, dataPath, make, onRun, runPath } from "./api.js";
import { Controls } from "./controls.js";
import { FrameRenderer, frameQuery } from "./frames.js";
import { Legend, SHOWN } from "./legend.js";
import { Overlay } from "./overlay.js";
import { CropTool } from "./tool_crop.js";
import { MeasureTool } from "./tool_measure.js";
import { PathTool } from "./tool_path.js";
import { ViewsTool } from "./tool_views.js";
import { address } from "./api.js";

const LIVE_MS = 2500;
const REST_MS = 160;
const MEASURING_MS = 700;

export function mount(root, hooks = {}) {
  const panel = new ScenePanel(root, hooks);
  window.scene3d = { ...(window.scene3d || {}), panel };
  onRun((run) => panel.open(run));
  return panel;
}

class ScenePanel {
  constructor(root, hooks) {
    this.hooks = hooks;
    this.info = null;
    this.mode = "server";
    this.shown = "image";
    this.view = null;
    this.drawn = 0;
    this.build(root);
    this.controls = new Controls(this.stage, {
      changed: (moving) => this.moved(moving),
      clicked: (x, y) => this.tool?.clicked?.(x, y),
      picked: (x, y) => this.lookAt(x, y),
    });
    this.frames = new FrameRenderer(this.image, { drawn: (info) => this.frameDrawn(info), failed: (text) => this.say(text, true) });
    this.overlay = new Overlay(this.lines);
    new ResizeObserver(() => this.resized()).observe(this.stage);
    setInterval(() => this.follow(), LIVE_MS);
  }

  build(root) {
    this.canvas = make("canvas", { className: "s3-gl", hidden: true });
    this.image = make("img", { className: "s3-frame", alt: "", draggable: false });
    this.photo = make("img", { className: "s3-frame s3-photo", alt: "", hidden: true, draggable: false });
    this.lines = make("canvas", { className: "s3-lines" });
    this.hud = make("div", { className: "s3-hud" });
    this.empty = make("div", { className: "s3-empty" });
    this.legend = new Legend();
    const help = "The scene. Drag to turn, shift and drag to move, wheel to come closer, double-click to look at a place. Keys: arrows turn; W, A, S, D, Q, E move; R goes home.";
    this.stage = make("div", { className: "s3-stage", tabIndex: 0, role: "application", "aria-label": help, title: "" },
      this.canvas, this.image, this.photo, this.lines, this.hud, this.legend.element, this.empty);
    this.stage.addEventListener("keydown", (event) => event.key === "r" && this.home());
    this.status = make("div", { className: "s3-status", role: "status", "aria-live": "polite" });
    this.side = make("aside", { className: "s3-side", "aria-label": "Tool" });
    root.replaceChildren(make("div", { className: "s3-scene" }, this.bar(), make("div", { className: "s3-main" }, this.stage, this.side), this.status));
    this.showEmpty("No scene is open", "Choose a run above, or press Example in the Reconstruct tab.");
  }

  bar() {
    const button = (label, title, onclick, pressed) => make("button", { type: "button", className: "s3-button", textContent: label, title, onclick, "aria-pressed": pressed });
    this.modes = {
      server: button("Server", "Pictures by this program's own rasterizer", () => this.setMode("server"), "true"),
      client: button("Browser", "Draw in the browser (WebGL), smooth on a machine with a graphics card", () => this.setMode("client"), "false"),
    };
    this.choice = make("select", { className: "s3-select", "aria-label": "What is shown", onchange: () => this.setShown(this.choice.value) });
    this.fly = button("Fly", "Turn the head instead of orbiting", () => this.toggleFly(), "false");
    this.tools = { views: new ViewsTool(this), measure: new MeasureTool(this), crop: new CropTool(this), path: new PathTool(this) };
    this.toolButtons = Object.fromEntries(Object.entries(this.tools).map(([name, tool]) => [name, button(tool.title, tool.hint, () => this.setTool(name), "false")]));
    return make("div", { className: "s3-bar", role: "toolbar", "aria-label": "View and tools" },
      make("span", { className: "s3-group" }, this.modes.server, this.modes.client), this.choice,
      make("span", { className: "s3-group" }, this.fly, button("Home", "Back to the first view (R)", () => this.home())),
      make("span", { className: "s3-group" }, ...Object.values(this.toolButtons)),
      make("span", { className: "s3-group s3-end" }, button("Screenshot", "Save this view as a PNG of 1920 pixels", () => this.screenshot())));
  }

  async open(run) {
    this.run = run;
    this.info = null;
    this.view = null;
    this.photo.hidden = true;
    this.image.removeAttribute("src");
    this.splats?.clear();
    this.loaded = null;
    if (!run) return this.showEmpty("No scene is open", "Choose a run above, or press Example in the Reconstruct tab.");
    this.showEmpty("Opening the scene ...", "");
    try {
      const info = await ask(runPath(run, "scene"));
      if (this.run !== run) return;
      this.take(info);
      this.empty.hidden = true;
      this.controls.place(info.home.pose, info.home.target);
      if (!this.tool) this.setTool(info.views.length ? "views" : "measure");
      if (this.mode === "client") this.loadSplats();
    } catch (error) {
      if (this.run === run) this.showEmpty("This scene cannot be shown yet", error.message);
    }
  }

  take(info) {
    this.info = info;
    this.choice.replaceChildren(...info.shown.map((name) => make("option", { value: name, textContent: SHOWN[name] || name })));
    if (!info.shown.includes(this.shown)) this.shown = "image";
    this.choice.value = this.shown;
    this.showLegend();
    if (this.shown === "contribution" && this.measured !== info.key) this.measure();
    for (const tool of Object.values(this.tools)) tool.opened?.(info);
    this.describe();
  }

  // A run in training shows itself: when its state changes, the picture does.
  async follow() {
    if (!this.run || document.hidden || !this.stage.clientWidth || (this.info && !this.info.live)) return;
    if (!this.info && !this.waiting) return;
    const run = this.run;
    const info = await ask(runPath(run, "scene")).catch(() => null);
    if (!info || this.run !== run || info.key === this.info?.key) return;
    if (!this.info) return this.open(run);
    this.take(info);
    this.moved(false);
    if (this.mode === "client") this.loadSplats();
  }

  describe() {
    const { info } = this;
    if (!info) return;
    const count = info.num_gaussians.toLocaleString("en");
    const light = this.mode === "client" && info.light.num < info.num_gaussians ? `, the ${info.light.num.toLocaleString("en")} largest are drawn` : "";
    const live = info.live ? ` · in training, iteration ${info.iteration.toLocaleString("en")}` : "";
    this.hud.textContent = `${count} Gaussians${light}${live}`;
    this.hud.classList.toggle("s3-live", info.live);
  }

  showEmpty(title, text) {
    this.waiting = title.startsWith("This scene");
    this.empty.hidden = false;
    this.hud.textContent = "";
    this.empty.replaceChildren(make("strong", { textContent: title }), make("span", { textContent: text }));
  }

  say(text, isError = false) {
    this.status.textContent = text;
    this.status.classList.toggle("s3-error", isError);
  }

  size() {
    return [this.stage.clientWidth, this.stage.clientHeight];
  }

  resized() {
    if (this.info && this.controls.pose) this.moved(false);
  }

  moved(moving) {
    if (!this.info) return;
    if (this.view !== null && moving) this.leaveView();
    const [width, height] = this.size();
    if (!width || !height) return;
    this.drawLines();
    if (this.mode === "client" && this.splats) this.splats.place(this.controls.pose, width, height, this.info.radius);
    if (this.mode === "server" || this.view !== null) this.requestFrame(moving);
    if (!moving) this.hooks.moved?.(this.controls.pose);
  }

  requestFrame(moving) {
    const [width, height] = this.size();
    const ratio = Math.min(window.devicePixelRatio || 1, 1.5);
    const shown = this.shown === "contribution" && this.measured !== this.info.key ? "image" : this.shown;
    const frame = { run: this.run, key: this.info.key, pose: this.controls.pose, view: this.view, shown, width: width * ratio, height: height * ratio };
    this.frames.request({ ...frame, moving });
    clearTimeout(this.rest);
    // Wheel and keys have no end of their own: when nothing follows, the camera rests.
    if (moving) this.rest = setTimeout(() => this.moved(false), REST_MS);
  }

  frameDrawn(info) {
    this.drawn += 1;
    this.last = info;
    this.image.hidden = false;
    if (this.mode === "client" && this.view === null) this.image.hidden = true;
  }

  drawLines() {
    const [width, height] = this.size();
    const items = this.view === null ? this.tool?.lines?.() || {} : {};
    this.overlay.draw(this.controls.pose, width, height, items);
  }

  setMode(mode) {
    this.mode = mode;
    for (const [name, each] of Object.entries(this.modes)) each.setAttribute("aria-pressed", String(name === mode));
    this.choice.disabled = mode === "client";
    this.canvas.hidden = mode !== "client";
    this.image.hidden = mode === "client";
    if (mode === "client") this.loadSplats();
    this.describe();
    this.showLegend();
    this.moved(false);
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
      this.moved(false);
    } catch (error) {
      this.say(`${error.message}. Pictures come from the server instead.`, true);
      this.setMode("server");
    }
  }

  setShown(shown) {
    this.shown = shown;
    if (this.mode === "client") this.setMode("server");
    this.showLegend();
    if (shown === "contribution") this.measure();
    else this.moved(false);
  }

  showLegend() {
    this.legend.show(this.mode === "server" ? this.info?.legends[this.shown] : null);
  }

  // Contributions are measured once per scene; until then the picture stays what it was.
  async measure() {
    const { run } = this;
    try {
      const { done, total, problem, least, num_useless: useless } = await ask(runPath(run, "contribution"));
      if (this.run !== run || this.shown !== "contribution") return;
      if (problem) throw new Error(problem);
      if (useless !== null) {
        this.measured = this.info.key;
        this.say(`${useless.toLocaleString("en")} of ${this.info.num_gaussians.toLocaleString("en")} Gaussians have no weight of ${least} in any of ${total} photographs; scene3d clean removes such.`);
        return this.moved(false);
      }
      this.say(`Measuring what each Gaussian contributes: ${done} of ${total} photographs ...`);
      setTimeout(() => this.measure(), MEASURING_MS);
    } catch (error) {
      this.say(error.message, true);
    }
  }

  setTool(name) {
    const next = this.tools[name] === this.tool ? null : this.tools[name];
    this.tool = next;
    for (const [each, button] of Object.entries(this.toolButtons)) button.setAttribute("aria-pressed", String(this.tools[each] === next));
    this.side.hidden = !next;
    this.side.replaceChildren(...(next ? [make("h3", { textContent: next.title }), make("p", { className: "s3-hint", textContent: next.hint }), next.element] : []));
    next?.chosen?.();
    this.drawLines();
  }

  toggleFly() {
    this.controls.flying = !this.controls.flying;
    this.fly.setAttribute("aria-pressed", String(this.controls.flying));
  }

  home() {
    if (!this.info) return;
    this.leaveView();
    this.controls.place(this.info.home.pose, this.info.home.target);
  }

  // Stand exactly where a photograph was taken; its own lens counts until the camera moves.
  standAt(view) {
    this.view = view.index;
    this.photo.hidden = false;
    this.photo.src = address(dataPath(this.run, `photo/${view.index}.jpg`));
    this.controls.place({ position: view.position, rotation: view.rotation, fov: view.fov }, view.target);
  }

  leaveView() {
    if (this.view === null) return;
    this.view = null;
    this.photo.hidden = true;
    if (this.mode === "client") this.image.hidden = true;
    this.tools.views.left();
  }

  async pick(x, y) {
    const [width, height] = this.size();
    return ask(runPath(this.run, "pick"), { pose: this.controls.pose, width, height, x, y });
  }

  async lookAt(x, y) {
    try {
      const { world } = await this.pick(x, y);
      this.controls.target = world;
      this.say("The camera now turns about this place");
      this.hooks.picked?.(world);
    } catch (error) {
      this.say(error.message, true);
    }
  }

  screenshot() {
    if (!this.info) return;
    const [width, height] = this.size();
    const size = [1920, Math.round((1920 * height) / width)];
    const frame = { run: this.run, pose: this.controls.pose, view: this.view, shown: this.shown };
    make("a", { href: address(frameQuery(frame, size, { type: "png" })), download: `${this.info.name}.png` }).click();
  }
}
