// Owns drawing Gaussians in the browser itself: three and Spark, from the light copy of a scene.

import { PerspectiveCamera, Scene, WebGLRenderer } from "three";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
import { multiply } from "./pose.js";

const HALF_TURN_ABOUT_X = [0, 1, 0, 0];
const SETTLE_MS = 1500;
// A machine so slow that a frame takes longer than all of that still draws so many: the first come before the sorting.
const LEAST_FRAMES = 4;

export class SplatRenderer {
  constructor(canvas, { failed }) {
    this.renderer = new WebGLRenderer({ canvas, antialias: false, preserveDrawingBuffer: true });
    this.renderer.setClearColor(0x000000, 1);
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(60, 1, 0.01, 1000);
    this.camera.matrixAutoUpdate = true;
    this.spark = new SparkRenderer({ renderer: this.renderer, onDirty: () => this.wake() });
    this.scene.add(this.spark);
    this.mesh = null;
    this.failed = failed;
    this.until = 0;
    this.left = 0;
    this.running = false;
    this.frames = 0;
  }

  // Shows the .spz at this address; resolves to the number of Gaussians.
  load(url) {
    return this.show({ url });
  }

  loadBytes(fileBytes) {
    return this.show({ fileBytes });
  }

  async show(source) {
    const mesh = new SplatMesh({ ...source, fileType: "spz" });
    // An .spz is right-up-back; half a turn about x brings it back to the world's own axes.
    mesh.quaternion.set(1, 0, 0, 0);
    await mesh.initialized;
    this.clear();
    this.mesh = mesh;
    this.scene.add(mesh);
    this.wake();
    return mesh.packedSplats?.numSplats ?? mesh.numSplats ?? 0;
  }

  clear() {
    if (!this.mesh) return;
    this.scene.remove(this.mesh);
    this.mesh.dispose();
    this.mesh = null;
    this.wake();
  }

  place(pose, width, height, radius) {
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 1.5));
    if (this.width !== width || this.height !== height) this.renderer.setSize(width, height, false);
    [this.width, this.height] = [width, height];
    const [w, x, y, z] = multiply(pose.rotation, HALF_TURN_ABOUT_X);
    this.camera.quaternion.set(x, y, z, w);
    this.camera.position.set(...pose.position);
    this.camera.fov = pose.fov;
    this.camera.aspect = width / height;
    this.camera.near = Math.max(radius * 1e-3, 1e-4);
    this.camera.far = radius * 1e3;
    this.camera.updateProjectionMatrix();
    this.wake();
  }

  // Draws for a moment: sorting ends some frames after the camera has stopped.
  wake() {
    this.until = performance.now() + SETTLE_MS;
    this.left = LEAST_FRAMES;
    if (!this.running) requestAnimationFrame(() => this.tick());
    this.running = true;
  }

  tick() {
    this.running = performance.now() < this.until || this.left > 0;
    if (!this.running) return;
    try {
      this.renderer.render(this.scene, this.camera);
      this.frames += 1;
      this.left -= 1;
    } catch (error) {
      this.running = false;
      this.failed(error.message);
      return;
    }
    requestAnimationFrame(() => this.tick());
  }
}
