// Owns the page of a share folder: the same drawing and the same controls, without a server.

import { Controls } from "./controls.js";
import { SplatRenderer } from "./splats.js";

const stage = document.querySelector("#stage");
const { home, target, radius } = window.sharedScene;
const say = (text) => (document.querySelector("#say").textContent = text);

const renderer = new SplatRenderer(stage.querySelector("canvas"), { failed: say });
window.sharedScene.renderer = renderer;
const controls = new Controls(stage, { changed: () => draw(), clicked() {}, picked() {} });

function draw() {
  renderer.place(controls.pose, stage.clientWidth, stage.clientHeight, radius);
}

const packed = Uint8Array.from(atob(document.querySelector("#scene").textContent), (sign) => sign.charCodeAt(0));
renderer
  .loadBytes(packed)
  .then(() => {
    controls.place(home, target);
    addEventListener("resize", draw);
    document.body.dataset.loaded = "yes";
  })
  .catch((error) => say(error.message));
