"""From photographs to a scene in a real browser, and what a page remembers when it is opened anew."""

import re
import zipfile
from pathlib import Path

import pytest

from scene3d.data.reading import read_capture
from tests.app.viewer.browsers import browser, open_page, open_tab
from tests.app.viewer.sites import PAGE_MARKS, open_site
from tests.helpers import shared_data
from tests.synthetic_captures import tiny_capture

__all__ = ["browser", "tiny_capture"]

pytestmark = PAGE_MARKS


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with open_site(tmp_path_factory.mktemp("work") / "root") as site:
        yield site


@pytest.fixture
def page(browser, site):
    page = open_page(browser, site.url)
    page.wait_for_function("window.scene3d?.jobs")  # before that, what is typed or uploaded may be lost
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def archive(tiny_capture: Path, tmp_path_factory) -> Path:
    """Photographs and poses of the tiny capture in one zip."""
    path = tmp_path_factory.mktemp("zip") / "tiny.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for each in sorted(tiny_capture.rglob("*")):
            if each.is_file() and each.parts[-2] != "depth":
                opened.write(each, Path("tiny", each.relative_to(tiny_capture)))
    return path


@pytest.fixture(scope="module")
def capture(site, archive) -> str:
    """The capture in the viewer's folder, without the way through the page."""
    from app.viewer.uploads import admit

    upload = site.services.workspace.private / "uploads" / "direct.zip"
    upload.write_bytes(archive.read_bytes())
    return admit(site.services.workspace, "direct", [upload]).id


TYPE_AT_ONCE = """(text) => new Promise((done) => {
    const setValue = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
    const isWanted = (label) => label.textContent.trim().startsWith("Iterations");
    const look = () => {
        const field = [...document.querySelectorAll(".s3-form label")].find(isWanted)?.querySelector("input");
        if (!field?.value || field.closest("[inert]")) { setTimeout(look); return; }
        setValue.call(field, text);
        field.dispatchEvent(new Event("input", { bubbles: true }));
        setTimeout(() => done(field.value), 2000);
    };
    [...document.querySelectorAll("[role=tab]")].find((each) => each.textContent.trim() === "Reconstruct").click();
    look();
})"""
"""Types into the first field of the form as soon as it takes input; tells what stands there two seconds later."""


def job_card(page, title):
    return page.locator(".s3-job").filter(has=page.get_by_role("heading", name=title, exact=True))


def wait_until_done(page, site, title):
    """The card of a job, once it has ended well."""
    card = job_card(page, title)
    try:
        card.locator(".s3-state:is([data-state=done], [data-state=failed], [data-state=killed])").wait_for()
    finally:
        job = next((job for job in site.services.jobs.list() if job.title == title), None)
        assert job is not None, f"{title} was never started"
        assert job.state == "done", site.services.jobs.log_tail(job.id)
    return card


def start_run(page, name, iterations):
    open_tab(page, "Reconstruct")
    page.locator("#s3-run-name input, #s3-run-name textarea").first.fill(name)
    field = page.get_by_label("iterations", exact=False).first
    page.wait_for_function("(field) => field.value === '7000'", arg=field.element_handle())  # the form is filled in
    field.fill(str(iterations))
    field.press("Tab")
    page.locator("#s3-start").click()
    page.locator("#s3-said").get_by_text(f"Reconstruct {name}").or_(page.locator("#s3-said [role=alert]")).wait_for()
    assert field.input_value() == str(iterations)


def test_what_is_typed_as_soon_as_the_form_opens_stays(page):
    assert page.evaluate(TYPE_AT_ONCE, "60") == "60"
    assert page.get_by_label("iterations", exact=False).first.input_value() == "60"


def test_a_preset_fills_the_form(page):
    open_tab(page, "Reconstruct")
    page.get_by_role("radio", name="fast", exact=True).click()
    field = page.get_by_label("iterations", exact=False).first
    page.wait_for_function("(field) => field.value === '2000'", arg=field.element_handle())


def test_a_zip_with_poses_becomes_a_scene(page, site, archive):
    open_tab(page, "Capture")
    page.locator("#s3-capture-name input, #s3-capture-name textarea").first.fill("tiny town")
    page.locator("#s3-capture-files input[type=file]").set_input_files(str(archive))
    page.get_by_text("tiny.zip").first.wait_for()
    page.locator("#s3-capture-add").click()
    page.locator("#s3-verdict").get_by_text("12 photographs").wait_for()
    start_run(page, "tiny run", 60)
    card = wait_until_done(page, site, "Reconstruct tiny run")
    assert (site.root / "tiny run" / "merged" / "scene.ply").is_file()
    assert not any((site.services.workspace.private / "uploads").rglob("*.zip"))
    card.get_by_role("button", name="Show in Scene").click()
    page.wait_for_function("window.scene3d.panel.info?.id === 'tiny run' && window.scene3d.panel.picture.drawn > 0")
    page.locator(".s3-thumb").first.click()
    page.wait_for_function("window.scene3d.panel.view === 0")
    page.get_by_label("What is shown").select_option("contribution")
    page.wait_for_function("window.scene3d.panel.picture.last.frame.shown === 'contribution'")
    page.locator(".s3-stage .s3-legend").get_by_text("Largest weight in a photograph").wait_for()
    assert re.search(r"\d+ of [\d,]+ Gaussians", page.locator(".s3-scene .s3-status").inner_text())


def test_photographs_without_poses_get_them(page, site, tmp_path):
    photos = sorted((shared_data("sceaux") / "images").iterdir())[:6]
    with zipfile.ZipFile(tmp_path / "facade.zip", "w") as opened:
        for each in photos:
            opened.write(each, each.name)
    open_tab(page, "Capture")
    page.locator("#s3-capture-name input, #s3-capture-name textarea").first.fill("facade")
    page.locator("#s3-capture-files input[type=file]").set_input_files(str(tmp_path / "facade.zip"))
    page.get_by_text("facade.zip").first.wait_for()
    page.locator("#s3-capture-add").click()
    page.locator("#s3-verdict").get_by_text("6 photographs and no poses yet").wait_for()
    page.locator("#s3-capture-poses").click()
    card = job_card(page, "Find poses of facade")
    card.get_by_role("progressbar").first.wait_for()
    wait_until_done(page, site, "Find poses of facade")
    captures = page.locator("#s3-captures input")
    captures.click()
    page.get_by_role("option", name="captures/facade-posed").click()
    page.locator("#s3-capture-look").click()
    page.locator("#s3-verdict").get_by_text("6 photographs").wait_for()
    assert len(read_capture(site.root / "captures" / "facade-posed").views) == 6


def test_a_job_outlives_the_page_and_can_be_paused_and_resumed(page, site, capture):
    open_tab(page, "Reconstruct")
    page.locator("#s3-reconstruct-capture input").first.wait_for()
    start_run(page, "long run", 500_000)
    card = job_card(page, "Reconstruct long run")
    card.locator("[role=progressbar][aria-label=train]").wait_for()
    page.reload()
    card.locator("[role=progressbar][aria-label=train]").wait_for()
    second = open_page(page.context.browser, site.url)
    job_card(second, "Reconstruct long run").locator(".s3-state[data-state=running]").wait_for()
    second.context.close()
    card.get_by_role("button", name="Pause").click()
    card.locator(".s3-state[data-state=paused]").wait_for()
    assert (site.root / "long run" / "config.yaml").is_file()
    card.get_by_role("button", name="Resume").click()
    card.locator(".s3-state[data-state=running]").wait_for()
    job = next(job for job in site.services.jobs.list() if job.run == "long run")
    assert "--resume" in Path(f"/proc/{job.pid}/cmdline").read_text()
    card.get_by_role("button", name="Cancel").click()
    card.locator(".s3-state[data-state=cancelled]").wait_for()


def test_a_name_that_leads_elsewhere_is_refused_on_the_page(page, site, capture):
    start_run(page, "../elsewhere", 60)
    page.locator("#s3-said [role=alert]").wait_for()
    assert "cannot be used" in page.locator("#s3-said").inner_text()
    assert not (site.root.parent / "elsewhere").exists()


def test_whoever_comes_first_makes_the_example_and_sees_it(browser, tmp_path):
    with open_site(tmp_path / "empty") as site:
        page = open_page(browser, site.url)
        page.get_by_role("button", name="Make the example").click()
        wait_until_done(page, site, "Example town")
        page.wait_for_function(
            "window.scene3d.panel.info?.id === 'example~run' && window.scene3d.panel.picture.drawn > 0"
        )
        assert page.errors == []
        page.context.close()
