// Owns the camera pose of the viewer and its arithmetic: position and rotation (world from camera, wxyz, OpenCV axes:
// +x right, +y down, +z forward) in a world whose z is up, and the vertical field of view in degrees.

export const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const subtract = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const scale = (a, factor) => [a[0] * factor, a[1] * factor, a[2] * factor];
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const length = (a) => Math.hypot(a[0], a[1], a[2]);

export function multiply(a, b) {
  const [aw, ax, ay, az] = a;
  const [bw, bx, by, bz] = b;
  return [
    aw * bw - ax * bx - ay * by - az * bz,
    aw * bx + ax * bw + ay * bz - az * by,
    aw * by - ax * bz + ay * bw + az * bx,
    aw * bz + ax * by - ay * bx + az * bw,
  ];
}

export function aboutAxis(axis, angle) {
  const sine = Math.sin(angle / 2) / (length(axis) || 1);
  return [Math.cos(angle / 2), axis[0] * sine, axis[1] * sine, axis[2] * sine];
}

export function rotate(q, v) {
  const [w, ...u] = q;
  const t = scale(cross(u, v), 2);
  return add(v, add(scale(t, w), cross(u, t)));
}

export const inverse = (q) => [q[0], -q[1], -q[2], -q[3]];
export const forward = (pose) => rotate(pose.rotation, [0, 0, 1]);

export function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

// The pose turned by a rotation of the world about a fixed point.
export function turnAbout(pose, center, q) {
  const rotation = unit(multiply(q, pose.rotation));
  return { ...pose, position: add(center, rotate(q, subtract(pose.position, center))), rotation };
}

export function moved(pose, step) {
  return { ...pose, position: add(pose.position, step) };
}

// Where a world point lies in an image of this size, or null behind the camera.
export function project(pose, point, width, height) {
  const seen = rotate(inverse(pose.rotation), subtract(point, pose.position));
  if (seen[2] < 1e-6) return null;
  const focal = focalLength(pose, height);
  return [width / 2 + (focal * seen[0]) / seen[2], height / 2 + (focal * seen[1]) / seen[2]];
}

export function focalLength(pose, height) {
  return height / 2 / Math.tan((pose.fov * Math.PI) / 360);
}

// Between two poses, share 0 to 1: a straight line, and the shorter great circle.
export function between(a, b, share) {
  const sign = a.rotation.reduce((sum, value, i) => sum + value * b.rotation[i], 0) < 0 ? -1 : 1;
  const cosine = Math.min(1, Math.abs(a.rotation.reduce((sum, value, i) => sum + value * b.rotation[i], 0)));
  const angle = Math.acos(cosine);
  const [p, r] = angle < 1e-6 ? [1 - share, share] : [Math.sin((1 - share) * angle), Math.sin(share * angle)];
  return {
    position: a.position.map((value, i) => value + share * (b.position[i] - value)),
    rotation: unit(a.rotation.map((value, i) => p * value + sign * r * b.rotation[i])),
    fov: a.fov + share * (b.fov - a.fov),
  };
}

// As the server reads it.
export function toQuery(pose) {
  return [...pose.position, ...pose.rotation, pose.fov].map((value) => Number(value.toPrecision(9))).join(",");
}

function unit(q) {
  const norm = Math.hypot(...q);
  return q.map((value) => value / norm);
}
