"""The scene panel in a real browser: what is seen, where the camera is, what a click hits, what a box exports."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from scene3d.io.ply import read_gaussians_ply
from tests.app.viewer.browsers import WAIT_MS, browser, open_page
from tests.app.viewer.sites import PAGE_MARKS, make_sphere, open_site, write_sphere

__all__ = ["browser"]

pytestmark = PAGE_MARKS

FRONT = {"position": [0, -4, 0], "rotation": [np.sqrt(0.5), -np.sqrt(0.5), 0, 0], "fov": 45}
"""Looks along +y with +z upwards in the picture."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene-panel")
    with open_site(folder / "root", extra=write_sphere(folder)) as site:
        yield site


@pytest.fixture
def page(browser, site):
    """A page of its own for each test: tools, overlays and boxes of one would be in the next one's picture."""
    page = open_page(browser, site.url)
    page.wait_for_function("window.scene3d?.panel?.picture?.drawn > 0")
    yield page
    page.context.close()


def stand_in_front(page):
    """Puts the camera before the sphere and waits for the picture of that place."""
    drawn = page.evaluate("window.scene3d.panel.picture.drawn")
    page.evaluate("(pose) => window.scene3d.panel.controls.place(pose, [0, 0, 0])", FRONT)
    if page.evaluate("window.scene3d.panel.picture.mode") == "server":
        page.wait_for_function(f"window.scene3d.panel.picture.drawn > {drawn}")


def middle_color(page):
    """Mean colour of a small square in the middle of the picture, 0..255."""
    picture = Image.open(io.BytesIO(page.locator(".s3-stage").screenshot())).convert("RGB")
    x, y = picture.width // 2, picture.height // 2
    return np.asarray(picture.crop((x - 12, y - 12, x + 12, y + 12)), float).mean(axis=(0, 1))


def choose_tool(page, name):
    button = page.get_by_role("button", name=name, exact=True)
    if button.get_attribute("aria-pressed") != "true":
        button.click()


def test_the_server_shows_the_colour_of_the_sphere(page):
    page.get_by_role("button", name="Server", exact=True).click()
    stand_in_front(page)
    assert middle_color(page) == pytest.approx([217, 26, 26], abs=16)


def test_the_browser_draws_the_same_colour_by_itself(page):
    page.get_by_role("button", name="Browser", exact=True).click()
    page.wait_for_function("window.scene3d.panel.picture.loaded && window.scene3d.panel.picture.splats.frames > 3")
    stand_in_front(page)
    page.wait_for_function("!window.scene3d.panel.picture.splats.running")
    assert middle_color(page) == pytest.approx([217, 26, 26], abs=24)
    page.get_by_role("button", name="Server", exact=True).click()


def test_the_camera_of_the_browser_reaches_the_server(page, site):
    stand_in_front(page)
    box = page.locator(".s3-stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 20, steps=4)
    page.mouse.up()
    page.wait_for_function("!window.scene3d.panel.picture.frames.busy && !window.scene3d.panel.picture.frames.wanted")
    position = page.evaluate("window.scene3d.panel.controls.pose.position")
    assert np.linalg.norm(np.subtract(position, FRONT["position"])) > 0.1
    assert site.cameras[-1].center == pytest.approx(position, abs=1e-5)
    assert np.linalg.norm(position) == pytest.approx(4, abs=1e-6)  # it turned about the middle


def test_a_click_finds_the_place_on_the_surface(page):
    stand_in_front(page)
    width, height = page.evaluate("window.scene3d.panel.picture.size()")
    x, y = width / 2 + 60, height / 2 - 40
    found = page.evaluate("([x, y]) => window.scene3d.panel.pick(x, y)", [x, y])["world"]
    focal = height / 2 / np.tan(np.radians(45) / 2)
    ray = np.array([60 / focal, 1.0, 40 / focal])
    ray /= np.linalg.norm(ray)
    start = np.array(FRONT["position"])
    along = -ray @ start - np.sqrt((ray @ start) ** 2 - (start @ start - 1))
    assert found == pytest.approx(start + along * ray, abs=0.06)


def test_a_click_beside_the_sphere_says_that_nothing_is_there(page):
    stand_in_front(page)
    choose_tool(page, "Measure")
    box = page.locator(".s3-stage").bounding_box()
    page.mouse.click(box["x"] + 8, box["y"] + 8)
    page.locator(".s3-scene .s3-error").wait_for()
    assert "nothing at this place" in page.locator(".s3-scene .s3-status").inner_text()


def test_two_clicks_measure_a_distance(page):
    stand_in_front(page)
    choose_tool(page, "Measure")
    page.get_by_role("button", name="Clear").first.click()
    box = page.locator(".s3-stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for count, offset in enumerate((-50, 50), 1):
        page.mouse.click(x + offset, y)
        page.wait_for_function(f"window.scene3d.panel.tools.measure.points.length === {count}")
    first, second = page.evaluate("window.scene3d.panel.tools.measure.points.map((point) => point.world)")
    assert page.locator(".s3-result").inner_text() == f"{np.linalg.norm(np.subtract(first, second)):.4g} units"


def test_the_crop_box_exports_the_gaussians_inside(page, tmp_path):
    choose_tool(page, "Crop")
    page.evaluate("window.scene3d.panel.tools.crop.setBox({ min: [0, -2, -0.5], max: [2, 2, 2] })")
    box = page.evaluate("window.scene3d.panel.tools.crop.box()")
    page.get_by_role("button", name="Export the inside").click()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download sphere-crop.ply").click()
    downloading.value.save_as(tmp_path / "crop.ply")
    means = make_sphere().means.numpy()
    inside = ((means >= box["min"]) & (means <= box["max"])).all(axis=1)
    assert 0 < inside.sum() < len(means)
    assert np.allclose(read_gaussians_ply(tmp_path / "crop.ply").means.numpy(), means[inside], atol=1e-6)


def test_nothing_is_asked_of_any_other_machine_and_nothing_breaks(page):
    assert page.foreign == []
    assert page.errors == []


def test_a_share_folder_shows_the_scene_from_a_disk_without_a_server(browser, page, site, tmp_path):
    record = page.evaluate(
        "fetch('scene3d-api/runs/sphere.ply/share', { method: 'POST', headers: { 'Content-Type': 'application/json' },"
        " body: '{}' }).then((answer) => answer.json())"
    )
    packed = page.request.get(f"{site.url}/scene3d-data/sphere.ply/{record['file']}").body()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert {"index.html", "scene.spz", "LICENCES.txt"} <= set(archive.namelist())
        (tmp_path / "index.html").write_bytes(archive.read("index.html"))
    shared = browser.new_page(viewport={"width": 640, "height": 480})
    asked = []
    shared.on("request", lambda request: asked.append(request.url))
    shared.set_default_timeout(WAIT_MS)
    shared.goto((tmp_path / "index.html").as_uri(), wait_until="domcontentloaded")
    shared.wait_for_function("document.body.dataset.loaded === 'yes'", timeout=WAIT_MS)
    drawn = "window.sharedScene.renderer.frames > 3 && !window.sharedScene.renderer.running"
    shared.wait_for_function(drawn, timeout=WAIT_MS)
    picture = Image.open(io.BytesIO(shared.screenshot())).convert("RGB")
    red, green, blue = np.asarray(picture.crop((310, 230, 330, 250)), float).mean(axis=(0, 1))
    assert red > 150 > 80 > max(green, blue)
    assert not [url for url in asked if url.startswith("http")]
    shared.close()
