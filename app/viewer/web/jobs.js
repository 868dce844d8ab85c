// Owns the list of jobs below the panels: what is at work, its curves and blocks, and how to stop and resume it.

import { address, ask, dataPath, make, page, select } from "./api.js";
import { frameQuery } from "./frames.js";
import { lineChart } from "./chart.js";
import { holdWhatOpens } from "./settle.js";

const EVERY_MS = 1500;
const PREVIEW_EVERY_MS = 4000;
const STATES = { waiting: "waiting", running: "at work", paused: "paused", done: "done", partial: "done, with gaps", failed: "failed", cancelled: "cancelled", killed: "killed" };
const MAKES_A_SCENE = ["reconstruct", "demo"];
const SEVERE = new Set(["failed", "killed", "partial"]);

export function mount(root) {
  const list = new JobList(root);
  holdWhatOpens(document.querySelector("#s3-tabs"));
  window.scene3d = { ...(window.scene3d || {}), jobs: list };
  return list;
}

class JobList {
  constructor(root) {
    this.body = make("div", { className: "s3-jobs-body" });
    this.status = make("div", { className: "s3-status", role: "status", "aria-live": "polite" });
    this.cards = new Map();
    this.latest = [];
    root.replaceChildren(make("section", { className: "s3-jobs", "aria-label": "Jobs" }, make("h2", { textContent: "Jobs" }), this.status, this.body));
    this.look();
  }

  async look() {
    try {
      const { jobs } = await ask("scene3d-api/jobs");
      this.show(jobs);
      if (this.status.classList.contains("s3-lost")) this.say("");
      this.status.classList.remove("s3-lost");
    } catch (error) {
      this.say(error.message, true);
      this.status.classList.add("s3-lost");
    }
    setTimeout(() => this.look(), document.hidden ? 4 * EVERY_MS : EVERY_MS);
  }

  say(text, isError = false) {
    this.status.textContent = text;
    this.status.classList.toggle("s3-error", isError);
  }

  show(jobs) {
    const before = new Map(this.latest.map((job) => [job.id, job.state]));
    this.latest = jobs;
    for (const job of jobs) {
      if (!this.cards.has(job.id)) this.cards.set(job.id, new Card(job, (action) => this.act(job.id, action)));
      this.cards.get(job.id).update(job);
      const ended = before.get(job.id) === "running" && job.state !== "running";
      if (ended) this.announce(job);
    }
    const kept = new Set(jobs.map((job) => job.id));
    for (const id of [...this.cards.keys()]) if (!kept.has(id)) this.cards.delete(id);
    const elements = jobs.map((job) => this.cards.get(job.id).element);
    if (!elements.length) elements.push(make("p", { className: "s3-hint", textContent: "Nothing has been started yet. What is started here goes on when this page is closed." }));
    if (elements.some((element, i) => this.body.children[i] !== element) || this.body.children.length !== elements.length) this.body.replaceChildren(...elements);
  }

  // The list of runs is Gradio's; a hidden button of the page makes it look again.
  announce(job) {
    // Whoever has nothing open sees what has just been made.
    if (!page.run && job.state === "done" && MAKES_A_SCENE.includes(job.kind)) select(job.run);
    document.querySelector("#s3-refresh")?.click();
    document.dispatchEvent(new CustomEvent("scene3d-ended", { detail: job }));
    if (page.run === job.run) window.scene3d.panel?.open(job.run);
  }

  async act(id, action) {
    try {
      await ask(`scene3d-api/jobs/${id}/${action}`, {});
      this.say("");
    } catch (error) {
      this.say(error.message, true);
    }
    const { jobs } = await ask("scene3d-api/jobs").catch(() => ({ jobs: this.latest }));
    this.show(jobs);
  }
}

class Card {
  constructor(job, act) {
    this.shown = null;
    this.previewed = 0;
    const button = (text, action) => make("button", { type: "button", className: "s3-button", textContent: text, onclick: () => act(action), "data-action": action });
    this.buttons = { pause: button("Pause", "pause"), resume: button("Resume", "resume"), cancel: button("Cancel", "cancel") };
    this.watch = make("button", { type: "button", className: "s3-button", textContent: "Show in Scene", onclick: () => show(job.run) });
    this.state = make("span", { className: "s3-state" });
    this.title = make("h3", { textContent: job.title });
    this.message = make("p", { className: "s3-message" });
    this.stages = make("div", { className: "s3-stages" });
    this.blocks = make("div", { className: "s3-blocks" });
    this.notes = make("ul", { className: "s3-notes" });
    this.charts = make("div", { className: "s3-charts" });
    this.preview = make("img", { className: "s3-preview", alt: "The scene as far as it is trained", hidden: true });
    this.link = make("a", { className: "s3-product", hidden: true });
    this.extra = make("div", { className: "s3-job-extra" }, this.preview, this.charts);
    this.element = make("article", { className: "s3-job", "data-job": job.id },
      make("header", {}, this.title, this.state, make("span", { className: "s3-group s3-end" }, this.watch, ...Object.values(this.buttons))),
      this.message, this.stages, this.blocks, this.extra, this.notes, this.link);
  }

  update(job) {
    const text = JSON.stringify({ ...job, curves: job.curves.loss.length });
    if (text === this.shown) return;
    this.shown = text;
    this.state.textContent = STATES[job.state] || job.state;
    this.state.dataset.state = job.state;
    this.element.dataset.state = job.state;
    for (const [name, button] of Object.entries(this.buttons)) button.hidden = !job.can[name];
    this.watch.hidden = !job.run || job.state === "waiting" || !["reconstruct", "demo", "extend", "undo"].includes(job.kind);
    this.message.textContent = job.message;
    this.message.classList.toggle("s3-error", SEVERE.has(job.state));
    this.stages.replaceChildren(...job.stages.map(stageRow), ...(job.state === "running" ? [] : job.finished.slice(-3).map(doneRow)));
    this.blocks.replaceChildren(...job.blocks.map((block) => make("span", { className: "s3-chip", "data-state": block.state, textContent: `block ${block.id}: ${block.state}` })));
    const warnings = job.notes.filter((note) => note.level !== "info").slice(-4);
    this.notes.replaceChildren(...warnings.map((note) => make("li", { textContent: note.message })));
    const isOpen = ["running", "paused", "killed"].includes(job.state);
    this.charts.replaceChildren(...(isOpen ? charts(job.curves) : []));
    this.link.hidden = !job.product;
    if (job.product) Object.assign(this.link, { textContent: `Download ${job.product.split("/").pop()}`, href: address(dataPath(job.run, job.product)), download: job.product.split("/").pop() });
    this.look(job, isOpen);
  }

  // A run in training shows what it has: the page asks again when it is time, not for every picture.
  async look(job, isOpen) {
    if (!isOpen || job.kind !== "reconstruct") {
      this.preview.hidden = true;
      return;
    }
    if (performance.now() - this.previewed < PREVIEW_EVERY_MS) return;
    this.previewed = performance.now();
    const info = await ask(`scene3d-api/runs/${encodeURIComponent(job.run)}/scene`).catch(() => null);
    if (!info || info.key === this.key) return;
    this.key = info.key;
    this.preview.src = address(frameQuery({ run: job.run, pose: info.home.pose }, [480, 270]));
    this.preview.hidden = false;
  }
}

function show(run) {
  select(run);
  [...document.querySelectorAll("[role=tab]")].find((tab) => tab.textContent.trim() === "Scene")?.click();
  document.querySelector("#s3-refresh")?.click();
}

function stageRow(stage) {
  const share = stage.total ? Math.min(1, stage.step / stage.total) : 0;
  const bar = make("div", { className: "s3-progress", role: "progressbar", "aria-label": stage.name, "aria-valuemin": 0, "aria-valuemax": stage.total, "aria-valuenow": stage.step }, make("div", {}));
  bar.firstChild.style.width = `${100 * share}%`;
  const counted = stage.total > 1 ? `${stage.step.toLocaleString("en")} of ${stage.total.toLocaleString("en")}` : "";
  return make("div", { className: "s3-stage-row" }, make("b", { textContent: stage.name }), bar, make("span", { textContent: [counted, stage.text].filter(Boolean).join(" · ") }));
}

function doneRow(stage) {
  return make("div", { className: "s3-stage-row s3-done-row" }, make("b", { textContent: stage.name }), make("span", { textContent: stage.text }));
}

function charts(curves) {
  return [lineChart("loss", curves.loss, ""), lineChart("PSNR of held-out views", curves.psnr_db, " dB")].filter(Boolean);
}
