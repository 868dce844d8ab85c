// Owns the moment after a tab or a group is opened for the first time. Gradio makes its fields only then, and some frames
// later writes their first values into them once more, over whatever was typed: until then they take no input.

const FRAMES = 6;
const OPENERS = "[role=tab], button.label-wrap";

export function holdWhatOpens(tabs) {
  const opened = new WeakSet();
  let holding = 0;
  const panels = () => tabs.querySelectorAll("[role=tabpanel]");
  const still = () => panels().forEach((panel) => { panel.inert = true; });
  const watch = new MutationObserver(still);  // the panel of a new tab comes after the click

  async function hold(opener) {
    holding += 1;
    still();
    watch.observe(tabs, { childList: true, subtree: true });
    for (let frame = 0; frame < FRAMES; frame += 1) await new Promise(requestAnimationFrame);
    holding -= 1;
    if (holding) return;
    watch.disconnect();
    panels().forEach((panel) => { panel.inert = false; });
    // What takes no input loses the keyboard too.
    if (document.activeElement === document.body) opener.focus({ preventScroll: true });
  }

  tabs.addEventListener("click", ({ target }) => {
    const opener = target.closest(OPENERS);
    if (!opener || opened.has(opener)) return;
    opened.add(opener);
    hold(opener);
  }, true);
}
