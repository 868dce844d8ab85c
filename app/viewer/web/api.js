// Owns talking to the server, and which run the page shows. Paths are relative to the page, so that a prefix works.

const listeners = new Set();
export const page = { run: null };

export function address(path) {
  return new URL(path, document.baseURI).href;
}

// The address remembers the run, so that a reload shows it again.
export function select(run) {
  if (run === page.run) return;
  page.run = run || null;
  const here = new URL(location.href);
  if (page.run) here.searchParams.set("run", page.run);
  history.replaceState(null, "", here);
  for (const listener of listeners) listener(page.run);
}

export function onRun(listener) {
  listeners.add(listener);
  if (page.run) listener(page.run);
}

// The JSON of an answer; an error carries the server's own sentence.
export async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(address(path), options);
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  const record = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(record.error || `the server refused (${response.status})`);
  return record;
}

export function runPath(run, rest) {
  return `scene3d-api/runs/${encodeURIComponent(run)}/${rest}`;
}

export function dataPath(run, artifact) {
  return `scene3d-data/${encodeURIComponent(run)}/${artifact}`;
}

// An element with properties, attributes (aria-, data-, role, for) and children; text is never read as HTML.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "for" || name === "list") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

window.scene3d = { ...(window.scene3d || {}), select, page };
if (window.scene3d.wanted !== undefined) select(window.scene3d.wanted);
