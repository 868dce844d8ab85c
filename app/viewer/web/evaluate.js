// Owns the panel of figures and files: what was measured, the worst views first, exports and the share folder.

import { address, ask, dataPath, make, onRun, page, runPath } from "./api.js";

const FIGURES = [["psnr_db", "PSNR", (value) => `${value.toFixed(2)} dB`], ["ssim", "SSIM", (value) => value.toFixed(4)], ["lpips", "LPIPS", (value) => value.toFixed(4)]];
const KINDS = { raw: "as rendered", corrected: "colours fitted", seam_band: "seam band", interior: "interior" };
const MAX_PICTURES = 12;

export function mount(root) {
  const panel = new EvaluatePanel(root);
  onRun((run) => panel.open(run));
  document.addEventListener("scene3d-ended", (event) => event.detail.run === page.run && panel.open(page.run));
  return panel;
}

class EvaluatePanel {
  constructor(root) {
    const button = (text, onclick, more = "") => make("button", { type: "button", className: `s3-button ${more}`, textContent: text, onclick });
    const choice = (label, options) => make("select", { className: "s3-select", "aria-label": label }, ...options.map(([value, text]) => make("option", { value, textContent: text })));
    this.figures = make("div", {});
    this.pictures = make("div", { className: "s3-worst" });
    this.status = make("div", { className: "s3-status", role: "status", "aria-live": "polite" });
    this.format = choice("Kind of file", [["ply", ".ply – exact, opens everywhere"], ["spz", ".spz – ten times smaller"], ["splat", ".splat – for web viewers"]]);
    this.frame = choice("Coordinates", [["capture", "the capture's coordinates"], ["metres", "metres, where the scale is known"], ["world", "levelled, z up, for viewers"]]);
    this.go = button("Export", () => this.export(), "s3-primary");
    this.files = make("div", { className: "s3-done" });
    this.report = make("a", { className: "s3-button", target: "_blank", rel: "noopener", textContent: "Open the report" });
    const measure = make("section", { className: "s3-card" }, make("h2", { textContent: "Figures" }), this.figures, make("div", { className: "s3-row" }, button("Measure again", () => this.measure()), this.report));
    const exports = make("section", { className: "s3-card" }, make("h2", { textContent: "Files" }),
      make("p", { className: "s3-hint", textContent: "A part of the scene is exported with the Crop tool of the Scene tab." }),
      make("label", { className: "s3-field" }, "Kind", this.format), make("label", { className: "s3-field" }, "Coordinates", this.frame),
      make("div", { className: "s3-row" }, this.go, button("Share folder", () => this.share())), this.files);
    const worst = make("section", { className: "s3-card s3-wide" }, make("h2", { textContent: "Worst views first" }), make("p", { className: "s3-hint", textContent: "Photograph, rendering, and where they differ; bright is a large error." }), this.pictures);
    root.replaceChildren(make("div", { className: "s3-evaluate" }, measure, exports, worst, this.status));
    this.open(page.run);
  }

  async open(run) {
    this.run = run;
    this.files.replaceChildren();
    this.say("");
    this.report.hidden = true;
    this.pictures.replaceChildren(hint("Nothing has been measured yet."));
    this.go.disabled = !run;
    if (!run) return this.figures.replaceChildren(hint("Choose a run above."));
    try {
      this.show(await ask(dataPath(run, "metrics.json")));
    } catch {
      this.figures.replaceChildren(hint("This run has not been measured. It is done at the end of a reconstruction, or with the button below."));
    }
  }

  show(metrics) {
    const rows = Object.entries(KINDS).filter(([kind]) => metrics[kind]).map(([kind, name]) => make("tr", {}, make("th", { scope: "row", textContent: name }), ...FIGURES.map(([key, , shape]) => make("td", { textContent: figure(metrics[kind][key], shape) }))));
    const head = make("tr", {}, make("th", {}), ...FIGURES.map(([, name]) => make("th", { scope: "col", textContent: name })));
    const facts = [[metrics.num_gaussians, "Gaussians", (v) => v.toLocaleString("en")], [metrics.train_seconds, "s of training", (v) => Math.round(v).toLocaleString("en")], [metrics.size_bytes, "MB", (v) => (v / 1e6).toFixed(1)]];
    const line = facts.filter(([value]) => typeof value === "number").map(([value, name, shape]) => `${shape(value)} ${name}`).join(" · ");
    const views = metrics.per_view || [];
    const reasons = Object.entries(metrics.reasons || {}).map(([name, reason]) => make("li", { textContent: `${name}: ${reason}` }));
    this.figures.replaceChildren(make("table", { className: "s3-table" }, make("thead", {}, head), make("tbody", {}, ...rows)),
      make("p", { className: "s3-hint", textContent: `${views.length} photographs that training never saw. ${line}` }), make("ul", { className: "s3-notes" }, ...reasons));
    this.report.hidden = false;
    this.report.href = address(dataPath(this.run, "report.html"));
    const pictures = views.map((view, i) => [view, i]).filter(([view]) => view.picture).slice(0, MAX_PICTURES);
    if (pictures.length) this.pictures.replaceChildren(...pictures.map(([view, i]) => this.picture(view, i)));
  }

  picture(view, index) {
    const figures = FIGURES.filter(([key]) => typeof view.raw?.[key] === "number").map(([key, name, shape]) => `${name} ${shape(view.raw[key])}`);
    const caption = `${view.name}: ${figures.join(", ")}`;
    const url = address(dataPath(this.run, `render/${index}.png`));
    const image = make("img", { loading: "lazy", src: url, alt: `photograph, rendering and error of ${view.name}` });
    return make("figure", {}, make("a", { href: url, target: "_blank", rel: "noopener" }, image), make("figcaption", { textContent: caption }));
  }

  async export() {
    this.go.disabled = true;
    this.say("Writing the file ...");
    try {
      const record = await ask(runPath(this.run, "export"), { format: this.format.value, frame: this.frame.value });
      this.offer(record.file, record.name, `${record.num_gaussians.toLocaleString("en")} Gaussians, ${(record.size_bytes / 1e6).toFixed(1)} MB`);
      this.say("");
    } catch (error) {
      this.say(error.message, true);
    }
    this.go.disabled = false;
  }

  async share() {
    this.say("Packing the share folder ...");
    try {
      const record = await ask(runPath(this.run, "share"), {});
      this.offer(record.file, record.name, `${(record.size_bytes / 1e6).toFixed(1)} MB; unpack it and open index.html`);
      this.say("");
    } catch (error) {
      this.say(error.message, true);
    }
  }

  async measure() {
    try {
      await ask(runPath(this.run, "evaluate"), {});
      this.say("Measuring: see Jobs below");
    } catch (error) {
      this.say(error.message, true);
    }
  }

  offer(file, name, text) {
    const link = make("a", { href: address(dataPath(this.run, file)), download: name, textContent: `Download ${name}` });
    this.files.prepend(make("div", {}, link, make("span", { textContent: ` ${text}` })));
  }

  say(text, isError = false) {
    this.status.textContent = text;
    this.status.classList.toggle("s3-error", isError);
  }
}

function hint(text) {
  return make("p", { className: "s3-hint", textContent: text });
}

function figure(value, shape) {
  return typeof value === "number" ? shape(value) : "n/a";
}
