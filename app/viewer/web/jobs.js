// Owns the list of jobs below the panels.
import { make } from "./api.js";
export function mount(root) { root.replaceChildren(make("div", {})); }
