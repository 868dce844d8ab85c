// Owns the map of blocks beside the form: that of the plan just made, else that of the chosen run.

import { address, dataPath, make, onRun, page } from "./api.js";

const HINT = "A large capture is divided into blocks. Plan them to see the division, and the load of each block, before hours are spent.";

export function mount(root) {
  const show = (url, text) => {
    const image = make("img", { src: url, alt: "Map of the blocks from above", className: "s3-plan", onerror: () => root.replaceChildren(make("p", { className: "s3-hint", textContent: HINT })) });
    root.replaceChildren(make("p", { className: "s3-hint", textContent: text }), make("a", { href: url, target: "_blank", rel: "noopener" }, image));
  };
  const ofRun = (run) => {
    if (run) show(address(dataPath(run, "plan.png")), "The division of the chosen run.");
    else root.replaceChildren(make("p", { className: "s3-hint", textContent: HINT }));
  };
  document.addEventListener("scene3d-ended", ({ detail }) => {
    if (detail.kind !== "partition" || detail.state !== "done") return;
    show(address(`scene3d-api/jobs/${detail.id}/plan.png`), `${detail.title}: cells, dashed what each looks past its edges, and its load.`);
  });
  ofRun(page.run);
  onRun(ofRun);
}
