"""Takes the pictures of docs/viewer.md: every panel of the viewer with a finished run, in headless Chromium."""

import argparse
import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.app.viewer.browsers import FLAGS
from tests.app.viewer.sites import open_site

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
SIZE = {"width": 1366, "height": 860}
MAX_BYTES = 200_000
WAIT_MS = 120_000


def main() -> int:
    """Open the viewer on a run and photograph its panels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a finished run; its folder's other runs and captures are listed too")
    parser.add_argument("--dark", action="store_true", help="only the scene panel, in dark mode")
    arguments = parser.parse_args()
    run = arguments.run.resolve()
    with open_site(run.parent) as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        try:
            page = browser.new_page(viewport=SIZE, color_scheme="dark" if arguments.dark else "light")
            page.set_default_timeout(WAIT_MS)
            page.goto(site.url + ("?__theme=dark" if arguments.dark else ""), wait_until="domcontentloaded")
            page.wait_for_function("!!window.scene3d?.select")
            page.evaluate("(run) => window.scene3d.select(run)", run.name)
            photograph_scene(page, run.name, dark=arguments.dark)
            if not arguments.dark:
                photograph_others(page)
        finally:
            browser.close()
    return 0


def photograph_scene(page: Page, run: str, *, dark: bool) -> None:
    """The scene, a photograph against its rendering, a measured distance, and contributions."""
    page.wait_for_function(
        "(run) => window.scene3d.panel.info?.id === run && window.scene3d.panel.picture.drawn > 0", arg=run
    )
    wait_for_pictures(page)
    save(page, "viewer_dark" if dark else "viewer_scene")
    if dark:
        return
    page.locator(".s3-thumb").nth(3).click()
    page.wait_for_function("window.scene3d.panel.view === 3 && !window.scene3d.panel.picture.frames.busy")
    wait_for_pictures(page)
    save(page, "viewer_compare")
    page.get_by_role("button", name="Home", exact=True).click()
    page.get_by_role("button", name="Measure", exact=True).click()
    box = page.locator(".s3-stage").bounding_box()
    assert box is not None
    for count, share in enumerate((0.35, 0.62), 1):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.55 * box["height"])
        page.wait_for_function(f"window.scene3d.panel.tools.measure.points.length === {count}")
    page.get_by_label("What is shown").select_option("depth")
    page.wait_for_function("window.scene3d.panel.picture.last?.frame.shown === 'depth'")
    save(page, "viewer_measure")
    page.get_by_label("What is shown").select_option("contribution")
    page.wait_for_function("window.scene3d.panel.picture.last?.frame.shown === 'contribution'")
    save(page, "viewer_contribution")


def photograph_others(page: Page) -> None:
    """Capture, reconstruct, extend, evaluate."""
    page.get_by_role("tab", name="Capture", exact=True).click()
    page.locator("#s3-capture-look").click()
    page.locator("#s3-verdict .s3-findings").wait_for()
    save(page, "viewer_capture")
    page.get_by_role("tab", name="Reconstruct", exact=True).click()
    page.get_by_label("Blocks", exact=False).first.fill("4")
    page.locator("#s3-plan").click()
    page.locator("#s3-plan-map").get_by_text("dashed what each looks past").wait_for()
    page.locator("#s3-plan-map img").wait_for()
    wait_for_pictures(page)
    save(page, "viewer_reconstruct")
    page.get_by_role("tab", name="Extend", exact=True).click()
    page.locator(".s3-possible").first.wait_for()
    names = [cell.get_attribute("data-cell") for cell in page.locator(".s3-possible").all()[:3]]
    for name in names:
        page.locator(f'[data-cell="{name}"]').dispatch_event("click")
    page.wait_for_function("window.scene3d.extend.pictured")
    save(page, "viewer_extend")
    photograph_seam(page)
    page.get_by_role("tab", name="Evaluate & export", exact=True).click()
    page.locator(".s3-worst img").first.wait_for()
    wait_for_pictures(page)
    save(page, "viewer_evaluate")


def photograph_seam(page: Page) -> None:
    """The map of steps along the seam, where something has grown."""
    if not page.evaluate("window.scene3d.extend.info.shown.includes('seam_step')"):
        print("nothing has grown in this run: viewer_seam.jpg stays what it was")
        return
    page.get_by_role("button", name="Clear", exact=True).locator("visible=true").click()
    page.get_by_label("What the map shows").select_option("seam_step")
    page.wait_for_function("window.scene3d.extend.pictured.includes('shown=seam_step')")
    save(page, "viewer_seam")


def wait_for_pictures(page: Page) -> None:
    """Until every picture that can be seen is there."""
    page.wait_for_function(
        "[...document.images].every((image) => !image.offsetParent || image.complete || "
        "image.getBoundingClientRect().top > innerHeight)"
    )


def save(page: Page, name: str) -> None:
    """A screenshot as JPEG, small enough for a repository."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in range(88, 30, -6):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= MAX_BYTES:
            break
    (PICTURES / f"{name}.jpg").write_bytes(stream.getvalue())
    print(f"{name}.jpg, {stream.tell() / 1e3:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
