// Owns the scene panel: which run it shows, where its camera stands, the bar above the picture and the tools beside it.

import { address, ask, make, onRun, runPath } from "./api.js";
import { Controls } from "./controls.js";
import { frameQuery } from "./frames.js";
import { SHOWN } from "./legend.js";
import { Picture } from "./picture.js";
import { CropTool } from "./tool_crop.js";
import { MeasureTool } from "./tool_measure.js";
import { PathTool } from "./tool_path.js";
import { ViewsTool } from "./tool_views.js";

const LIVE_MS = 2500;
const MEASURING_MS = 700;
const SCREENSHOT_PX = 1920;
const HINT = "Drag turns, shift and drag moves, the wheel comes closer, a double click turns about that place.";

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
    this.status = make("div", { className: "s3-status", role: "status", "aria-live": "polite" });
    this.side = make("aside", { className: "s3-side", "aria-label": "Tool", hidden: true });
    this.picture = new Picture({ say: (text, isError) => this.say(text, isError), rested: () => this.moved(false), gaveUp: () => this.setMode("server") });
    this.picture.stage.addEventListener("keydown", (event) => event.key === "r" && this.home());
    root.replaceChildren(make("div", { className: "s3-scene" }, this.bar(), make("div", { className: "s3-main" }, this.picture.stage, this.side), this.status));
    this.controls = new Controls(this.picture.stage, {
      changed: (moving) => this.moved(moving),
      clicked: (x, y) => this.tool?.clicked?.(x, y),
      picked: (x, y) => this.lookAt(x, y),
    });
    this.open(null);
    setInterval(() => this.follow(), LIVE_MS);
  }

  get view() {
    return this.picture.view;
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
      make("span", { className: "s3-group s3-end" }, button("Screenshot", `Save this view as a PNG of ${SCREENSHOT_PX} pixels`, () => this.screenshot())));
  }

  async open(run) {
    this.run = run;
    this.info = null;
    this.waiting = false;
    this.controls.pose = null;
    this.picture.clear(run);
    if (!run) return this.invite();
    this.picture.showEmpty("Opening the scene ...", "");
    try {
      const info = await ask(runPath(run, "scene"));
      if (this.run !== run) return;
      this.take(info);
      this.say("");
      this.controls.place(info.home.pose, info.home.target);
      if (!this.tool) this.setTool(info.views.length ? "views" : "measure");
    } catch (error) {
      if (this.run !== run) return;
      this.waiting = true;
      this.picture.showEmpty("This scene cannot be shown yet", error.message);
    }
  }

  // Whoever comes for the first time has nothing to open.
  invite() {
    const start = make("button", { type: "button", className: "s3-button s3-primary", textContent: "Make the example", onclick: () => this.order(start) });
    this.picture.showEmpty("No scene is open", "Choose a run above, add photographs in the Capture tab, or begin with a small synthetic town.", start);
  }

  async order(button) {
    button.disabled = true;
    try {
      const { title } = await ask("scene3d-api/example", {});
      this.say(`${title}: see Jobs below; it opens here when it is ready`);
    } catch (error) {
      this.say(error.message, true);
      button.disabled = false;
    }
  }

  take(info) {
    this.info = info;
    this.choice.replaceChildren(...info.shown.map((name) => make("option", { value: name, textContent: SHOWN[name] || name })));
    if (!info.shown.includes(this.choice.value)) this.choice.value = "image";
    this.picture.take(info);
    for (const tool of Object.values(this.tools)) tool.opened?.(info);
    this.setShown(info.shown.includes(this.picture.shown) ? this.picture.shown : "image");
  }

  // A run in training shows itself: when its state changes, the picture does.
  async follow() {
    if (!this.run || document.hidden || !this.picture.stage.clientWidth || (this.info && !this.info.live)) return;
    if (!this.info && !this.waiting) return;
    const run = this.run;
    const info = await ask(runPath(run, "scene")).catch(() => null);
    if (!info || this.run !== run || info.key === this.info?.key) return;
    if (!this.info) return this.open(run);
    this.take(info);
  }

  say(text, isError = false) {
    this.status.textContent = text || (this.info ? HINT : "");
    this.status.classList.toggle("s3-error", isError);
  }

  moved(moving) {
    if (!this.info || !this.controls?.pose) return;
    if (this.view !== null && moving) this.leaveView();
    if (this.picture.draw(this.controls.pose, moving, this.lines()) && !moving) this.hooks.moved?.(this.controls.pose);
  }

  lines() {
    return this.tool?.lines?.() || {};
  }

  drawLines() {
    if (this.controls?.pose) this.picture.drawLines(this.controls.pose, this.lines());
  }

  setMode(mode) {
    for (const [name, each] of Object.entries(this.modes)) each.setAttribute("aria-pressed", String(name === mode));
    this.choice.disabled = mode === "client";
    this.picture.setMode(mode);
    this.moved(false);
  }

  setShown(shown) {
    this.choice.value = shown;
    if (this.picture.mode === "client" && shown !== this.picture.shown) this.setMode("server");
    const isMissing = shown === "contribution" && this.measured !== this.info.key;
    if (isMissing) this.measure();
    if (!isMissing || this.picture.shown === shown) this.picture.setShown(isMissing ? "image" : shown);
    this.moved(false);
  }

  // Contributions are measured once per scene; until then the picture stays what it was.
  async measure() {
    const { run } = this;
    try {
      const { done, total, problem, least, num_useless: useless } = await ask(runPath(run, "contribution"));
      if (this.run !== run || this.choice.value !== "contribution") return;
      if (problem) throw new Error(problem);
      if (useless === null) {
        this.say(`Measuring what each Gaussian contributes: ${done} of ${total} photographs ...`);
        return setTimeout(() => this.measure(), MEASURING_MS);
      }
      this.measured = this.info.key;
      this.say(`${useless.toLocaleString("en")} of ${this.info.num_gaussians.toLocaleString("en")} Gaussians have no weight of ${least} in any of ${total} photographs; scene3d clean removes such.`);
      this.setShown("contribution");
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
    this.picture.stand(view);
    this.controls.place({ position: view.position, rotation: view.rotation, fov: view.fov }, view.target);
  }

  leaveView() {
    if (this.view === null) return;
    this.picture.leave();
    this.tools.views.left();
  }

  async pick(x, y) {
    const [width, height] = this.picture.size();
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
    const [width, height] = this.picture.size();
    const size = [SCREENSHOT_PX, Math.round((SCREENSHOT_PX * height) / width)];
    const frame = { run: this.run, pose: this.controls.pose, view: this.view, shown: this.picture.shown };
    make("a", { href: address(frameQuery(frame, size, { type: "png" })), download: `${this.info.name}.png` }).click();
  }
}
