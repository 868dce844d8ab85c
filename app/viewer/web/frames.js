// Owns pictures that the server renders: small while the camera moves, whole when it rests, stale ones dropped.

import { address } from "./api.js";
import { toQuery } from "./pose.js";

const TARGET_MS = 120;
const SMALLEST = 0.2;
const CLIENT = Math.random().toString(36).slice(2, 12);

let number = 0;

export class FrameRenderer {
  // `drawn(info)` hears of every picture that is shown; `failed(message)` of every error.
  constructor(image, { drawn, failed }) {
    this.image = image;
    this.drawn = drawn;
    this.failed = failed;
    this.wanted = null;
    this.busy = false;
    this.share = 0.5;
  }

  // The newest request wins; what was asked for in between is never sent.
  request(frame) {
    this.wanted = frame;
    if (!this.busy) this.next();
  }

  async next() {
    const frame = this.wanted;
    this.wanted = null;
    if (!frame) return;
    this.busy = true;
    const started = performance.now();
    try {
      await this.show(frame);
      if (frame.moving) this.adapt(performance.now() - started);
    } catch (error) {
      this.failed(error.message);
    }
    this.busy = false;
    if (this.wanted) this.next();
  }

  async show(frame) {
    const share = frame.moving ? this.share : 1;
    const size = [frame.width, frame.height].map((side) => Math.max(16, Math.round(side * share)));
    const response = await fetch(address(frameQuery(frame, size, { client: CLIENT })));
    if (response.status === 204) return; // a newer picture is on its way
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error || `no picture (${response.status})`);
    const blob = await response.blob();
    const url = URL.createObjectURL(blob);
    const previous = this.image.src;
    this.image.src = url;
    await this.image.decode().catch(() => {});
    if (previous.startsWith("blob:")) URL.revokeObjectURL(previous);
    this.drawn({ frame, width: size[0], height: size[1], bytes: blob.size, timing: response.headers.get("Server-Timing") });
  }

  adapt(elapsed) {
    this.share = Math.min(1, Math.max(SMALLEST, this.share * Math.sqrt(TARGET_MS / Math.max(elapsed, 1))));
  }
}

// Only pictures with a client are dropped when it has asked for a newer one.
export function frameQuery(frame, [width, height], more = {}) {
  number += 1;
  const query = new URLSearchParams({ size: `${width}x${height}`, shown: frame.shown || "image", n: number, ...more });
  if (frame.view !== undefined && frame.view !== null) query.set("view", frame.view);
  else query.set("pose", toQuery(frame.pose));
  if (frame.key) query.set("key", frame.key);
  return `scene3d-frame/${encodeURIComponent(frame.run)}?${query}`;
}
