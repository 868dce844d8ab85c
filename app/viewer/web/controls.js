// Owns how pointer and keys move the camera: orbit about a target, or fly.

import { aboutAxis, add, forward, length, moved, rotate, scale, subtract, turnAbout } from "./pose.js";

const UP = [0, 0, 1];
const TURN_PER_PX = 0.006;
const KEY_TURN = 0.06;
const KEY_STEP = 0.06;
const CLICK_PX = 4;

export class Controls {
  // `changed(moving)` is called after every change; `clicked(x, y)` on a click that moved nothing.
  constructor(element, { changed, clicked, picked }) {
    this.pose = null;
    this.target = [0, 0, 0];
    this.flying = false;
    this.element = element;
    this.changed = changed;
    element.addEventListener("pointerdown", (event) => this.press(event, clicked));
    element.addEventListener("dblclick", (event) => picked(...place(element, event)));
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  place(pose, target) {
    this.pose = pose;
    this.target = target;
    this.changed(false);
  }

  distance() {
    return Math.max(length(subtract(this.target, this.pose.position)), 1e-4);
  }

  press(event, clicked) {
    if (!this.pose) return;
    const { element } = this;
    const start = [event.clientX, event.clientY];
    let last = start;
    let dragged = false;
    const panning = event.button === 2 || event.button === 1 || event.shiftKey;
    element.setPointerCapture(event.pointerId);
    const move = (next) => {
      const step = [next.clientX - last[0], next.clientY - last[1]];
      dragged ||= Math.hypot(next.clientX - start[0], next.clientY - start[1]) > CLICK_PX;
      if (!dragged) return;
      last = [next.clientX, next.clientY];
      if (panning) this.pan(...step);
      else this.turn(-step[0] * TURN_PER_PX, -step[1] * TURN_PER_PX);
    };
    const end = (last_event) => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", end);
      element.removeEventListener("pointercancel", end);
      if (dragged) this.changed(false);
      else if (event.button === 0 && last_event.type === "pointerup") clicked(...place(element, event));
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", end);
  }

  turn(yaw, pitch) {
    const center = this.flying ? this.pose.position : this.target;
    const distance = this.distance();
    // Flying turns the head, so the same drag moves the picture the other way round.
    const sign = this.flying ? -1 : 1;
    this.pose = turnAbout(this.pose, center, aboutAxis(UP, sign * yaw));
    this.pose = turnAbout(this.pose, center, aboutAxis(rotate(this.pose.rotation, [1, 0, 0]), sign * pitch));
    if (this.flying) this.target = add(this.pose.position, scale(forward(this.pose), distance));
    this.changed(true);
  }

  pan(dx, dy) {
    const focal = this.element.clientHeight / 2 / Math.tan((this.pose.fov * Math.PI) / 360);
    const unit = this.distance() / focal;
    this.shift(rotate(this.pose.rotation, [-dx * unit, -dy * unit, 0]), true);
  }

  wheel(event) {
    if (!this.pose) return;
    event.preventDefault();
    const factor = Math.exp(Math.max(-0.4, Math.min(0.4, event.deltaY * 0.0015)));
    if (this.flying) this.shift(scale(forward(this.pose), (1 - factor) * this.distance()), true);
    else this.pose = { ...this.pose, position: add(this.target, scale(subtract(this.pose.position, this.target), factor)) };
    this.changed(true);
    clearTimeout(this.wheelEnd);
    this.wheelEnd = setTimeout(() => this.changed(false), 200);
  }

  key(event) {
    if (!this.pose || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = KEY_STEP * this.distance();
    const steps = { w: [0, 0, step], s: [0, 0, -step], a: [-step, 0, 0], d: [step, 0, 0], q: [0, step, 0], e: [0, -step, 0] };
    const turns = { ArrowLeft: [-KEY_TURN, 0], ArrowRight: [KEY_TURN, 0], ArrowUp: [0, -KEY_TURN], ArrowDown: [0, KEY_TURN] };
    if (event.key in steps) this.shift(rotate(this.pose.rotation, steps[event.key]), false);
    else if (event.key in turns) {
      this.turn(...turns[event.key]);
      this.changed(false);
    } else return;
    event.preventDefault();
  }

  shift(step, moving) {
    this.pose = moved(this.pose, step);
    this.target = add(this.target, step);
    this.changed(moving);
  }
}

function place(element, event) {
  const box = element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}
