"""Growing one cell from the map in a real browser, with a stand-in and with the generator that comes along."""

import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from scene3d.training.run import reconstruct
from scene3d.training.settings import ReconstructSettings
from tests.app.viewer.browsers import browser, open_page, open_tab
from tests.app.viewer.sites import PAGE_MARKS, open_site
from tests.synthetic_captures import tiny_capture

__all__ = ["browser", "tiny_capture"]

pytestmark = PAGE_MARKS

ROOT = Path(__file__).resolve().parents[3]
STAND_IN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from dataclasses import replace
from scene3d.generation.generator import Generator
from scene3d.generation.palette import default_classes
from scene3d.generation.spec import GeneratorSpec
from tests.blocks.flat_grower import FlatGrower
spec = replace(GeneratorSpec(), classes=default_classes())
Generator.load = classmethod(lambda cls, path=None: FlatGrower(spec))
from app.cli import main
raise SystemExit(main())
"""
"""The command line with a stand-in for the generator."""


@pytest.fixture(scope="module")
def site(tiny_capture, tmp_path_factory):
    root = tmp_path_factory.mktemp("extend") / "root"
    reconstruct(tiny_capture, root / "town", ReconstructSettings(iterations=150, eval_every=0))
    shutil.copytree(root / "town", root / "village")
    with open_site(root) as site:
        site.services.jobs._command = (sys.executable, "-c", STAND_IN)
        yield site


def wait_for_growth(page, site, run):
    """The job that has grown a run, once it has ended well."""
    card = page.locator(".s3-job").filter(has=page.get_by_role("heading", name=f"Grow 1 cell of {run}", exact=True))
    card.locator(".s3-state:is([data-state=done], [data-state=failed])").wait_for()
    job = next(job for job in site.services.jobs.list() if job.run == run and job.kind == "extend")
    assert job.state == "done", site.services.jobs.log_tail(job.id)
    return job


def test_a_cell_grows_is_told_apart_and_is_undone_to_the_byte(browser, site):
    scene = site.root / "town" / "merged" / "scene.ply"
    before = sha256(scene.read_bytes()).hexdigest()
    page = open_page(browser, f"{site.url}?run=town")
    open_tab(page, "Extend")
    cell = page.locator(".s3-possible").first
    cell.wait_for()
    cell.focus()
    page.keyboard.press("Space")
    page.locator(".s3-cell.s3-chosen").wait_for()
    page.get_by_role("radio", name="road").click()
    page.locator(".s3-patch").first.dispatch_event("pointerdown")
    page.get_by_role("button", name="Grow", exact=True).click()
    job = wait_for_growth(page, site, "town")
    page.locator(".s3-cell.s3-grown").wait_for()
    assert "--layout" in job.words
    assert sha256(scene.read_bytes()).hexdigest() != before
    open_tab(page, "Scene")
    page.wait_for_function("window.scene3d.panel.info?.shown.includes('origin')")
    open_tab(page, "Extend")
    page.get_by_role("button", name="Undo the last").click()
    page.wait_for_function("!document.querySelector('.s3-cell.s3-grown')")
    assert sha256(scene.read_bytes()).hexdigest() == before
    assert page.errors == []
    page.context.close()


def test_the_generator_that_comes_along_grows_a_cell_and_its_seam_is_on_the_map(browser, site, monkeypatch):
    from scene3d.generation.generator import Generator

    monkeypatch.setattr(site.services.jobs, "_command", (sys.executable, "-m", "app.viewer.child"))
    page = open_page(browser, f"{site.url}?run=village")
    open_tab(page, "Extend")
    page.locator(".s3-possible").first.wait_for()
    page.locator(".s3-possible").first.dispatch_event("click")
    page.get_by_label("Steps").fill("2")
    page.get_by_role("button", name="Grow", exact=True).click()
    job = wait_for_growth(page, site, "village")
    assert job.words[job.words.index("--steps") + 1] == "2"
    page.locator(".s3-cell.s3-grown").wait_for()
    record = json.loads((site.root / "village" / "extend" / "001" / "extension.json").read_text())
    assert record["weights_sha256"] == Generator.load().weights_sha256
    assert record["num_gaussians"] > 0
    for name, title in (
        ("seam_step", "Step of the surface at the seam"),
        ("seam_color", "Step of colours at the seam"),
    ):
        page.get_by_label("What the map shows").select_option(name)
        page.wait_for_function(f"window.scene3d.extend.pictured.includes('shown={name}')")
        assert page.locator(".s3-map-frame .s3-legend figcaption").inner_text() == title
    assert page.errors == []
    page.context.close()
