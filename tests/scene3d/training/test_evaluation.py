"""Evaluation measures what it says, keeps the schema, and never makes a number up."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage
from scene3d.data.split import view_list_sha256
from scene3d.errors import InputError, SettingsError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.images import read_image
from scene3d.lpips.network import expected_shapes, weights_name
from scene3d.metrics import psnr_db, ssim
from scene3d.render import Rendering, render_view
from scene3d.seeding import make_generator
from scene3d.training.evaluation import EvaluationSettings, evaluate_views, safe_name
from scene3d.training.metrics_record import RunFacts

SETTINGS = EvaluationSettings(backend="reference")
FACTS = RunFacts(split="every 8th view", image_scale=0.5, seed=3, iterations=100, train_seconds=2.5, size_bytes=999)


@pytest.fixture(autouse=True)
def _no_weights_of_this_machine(monkeypatch, tmp_path_factory):
    monkeypatch.delenv("SCENE3D_WEIGHTS", raising=False)
    monkeypatch.setenv("SCENE3D_CACHE", str(tmp_path_factory.mktemp("cache")))


def make_cloud() -> Gaussians:
    generator = make_generator(0, "cloud")
    return Gaussians(
        means=(torch.rand(80, 3, generator=generator) - 0.5) * 2 + torch.tensor([0, 0, 2.5]),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(80, 1),
        log_scales=torch.full((80, 3), -2.0),
        opacity_logits=torch.full((80,), 1.0),
        sh=torch.rand(80, 1, 3, generator=generator),
    )


def make_camera(shift: float) -> Camera:
    pose = np.eye(4)
    pose[0, 3] = shift
    K = np.array([[40.0, 0, 22], [0, 40, 18], [0, 0, 1]])
    return Camera(width=44, height=36, K=K, cam_from_world=pose)


class Photos:
    """Photographs made by rendering the scene itself, then spoiled by a noise that grows with the index."""

    def __init__(self, count: int = 3, *, noise: float = 0.02) -> None:
        self.photos = []
        for i in range(count):
            camera = make_camera(0.1 * i)
            image = render_view(make_cloud(), camera, backend="reference").image.clamp(0, 1)
            spoiled = image + noise * (i + 1) * torch.randn(image.shape, generator=make_generator(i))
            photo = TrainingImage(image=spoiled.clamp(0, 1), mask=None, camera=camera, name=f"flight/photo {i}.jpg")
            self.photos.append(photo)

    def load(self, index: int) -> TrainingImage:
        return self.photos[index]

    def prefetch(self, indices) -> None:
        assert all(0 <= index < len(self.photos) for index in indices)


def test_figures_are_the_means_of_the_views_and_worst_come_first():
    photos = Photos()
    result = evaluate_views(make_cloud(), photos, [0, 1, 2], SETTINGS, FACTS)
    assert [view.name for view in result.per_view] == [f"flight/photo {i}.jpg" for i in (2, 1, 0)]
    images = [render_view(make_cloud(), photo.camera, backend="reference").image.clamp(0, 1) for photo in photos.photos]
    expected = [psnr_db(image, photo.image) for image, photo in zip(images, photos.photos, strict=True)]
    assert result.raw.psnr_db == pytest.approx(np.mean(expected))
    expected = [ssim(image, photo.image) for image, photo in zip(images, photos.photos, strict=True)]
    assert result.raw.ssim == pytest.approx(np.mean(expected))


def test_the_metrics_file_has_the_schema(tmp_path):
    result = evaluate_views(make_cloud(), Photos(), [2, 0], SETTINGS, FACTS, output=tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record == json.loads(json.dumps(result.record))
    assert record["schema_version"] == 1
    assert set(record["raw"]) == set(record["corrected"]) == {"psnr_db", "ssim", "lpips"}
    protocol = record["protocol"]
    assert protocol["split"] == "every 8th view"
    assert protocol["view_list_sha256"] == view_list_sha256(["flight/photo 0.jpg", "flight/photo 2.jpg"])
    assert protocol["image_scale"] == 0.5
    assert protocol["ssim_padding"] == "zero"
    assert protocol["seed"] == 3
    assert {"lpips_net", "lpips_input"} <= set(protocol)
    assert record["num_gaussians"] == 80
    assert (record["size_bytes"], record["train_seconds"], record["iterations"]) == (999, 2.5, 100)
    assert len(record["per_view"]) == 2


def test_missing_figures_are_null_with_a_reason():
    record = evaluate_views(make_cloud(), Photos(), [0], SETTINGS, FACTS).record
    assert record["raw"]["lpips"] is None
    assert "lpips_alex.safetensors" in record["reasons"]["lpips"]
    assert record["protocol"]["lpips_net"] is None
    assert record["peak_memory_bytes"] is None
    assert "peak_memory_bytes" in record["reasons"]


def test_no_held_out_views_give_no_figures(tmp_path):
    record = evaluate_views(make_cloud(), Photos(), [], SETTINGS, FACTS, output=tmp_path).record
    assert record["raw"] == record["corrected"] == {"psnr_db": None, "ssim": None, "lpips": None}
    assert record["reasons"]["psnr_db"] == "there are no held-out views"
    assert (tmp_path / "metrics.json").is_file()


def test_lpips_is_measured_when_its_weights_are_there(tmp_path):
    generator = make_generator(0)
    weights = {key: torch.rand(shape, generator=generator) / shape[0] for key, shape in expected_shapes("alex").items()}
    save_file(weights, tmp_path / weights_name("alex"))
    record = evaluate_views(make_cloud(), Photos(), [0], replace(SETTINGS, lpips_weights=tmp_path), FACTS).record
    assert record["raw"]["lpips"] > 0
    assert record["protocol"]["lpips_net"] == "alex"
    assert record["protocol"]["lpips_input"] == "[-1, 1]"
    assert "lpips" not in record["reasons"]


def test_an_exposure_difference_counts_raw_and_not_corrected():
    photos = Photos(2, noise=0.0)
    photos.photos = [replace(photo, image=0.6 * photo.image + 0.1) for photo in photos.photos]
    result = evaluate_views(make_cloud(), photos, [0, 1], SETTINGS, FACTS)
    assert result.raw.psnr_db < 25
    assert result.corrected.psnr_db > 45


def test_masked_out_pixels_do_not_count():
    photos = Photos(1, noise=0.0)
    mask = torch.ones(36, 44, dtype=torch.bool)
    mask[:, :11] = False
    image = photos.photos[0].image.clone()
    image[:, :11] = 1 - image[:, :11]
    photos.photos = [replace(photos.photos[0], image=image, mask=mask)]
    result = evaluate_views(make_cloud(), photos, [0], SETTINGS, FACTS)
    assert result.raw.psnr_db == 100
    assert result.raw.ssim == pytest.approx(1)
    assert result.per_view[0].used_share == 0.75


def test_a_view_without_usable_pixels_is_named_and_left_out():
    photos = Photos(2)
    blind = replace(photos.photos[1], mask=torch.zeros(36, 44, dtype=torch.bool))
    photos.photos[1] = blind
    record = evaluate_views(make_cloud(), photos, [0, 1], SETTINGS, FACTS).record
    assert record["per_view"][0]["name"] == blind.name
    assert record["per_view"][0]["raw"]["psnr_db"] is None
    assert record["raw"]["psnr_db"] == record["per_view"][1]["raw"]["psnr_db"]
    assert blind.name in record["reasons"]["per_view"]


def test_a_rendering_that_is_not_finite_gives_no_number(monkeypatch):
    photos = Photos(1)
    nothing = torch.full((36, 44, 3), float("nan"))
    broken = Rendering(image=nothing, alpha=nothing[:, :, 0], depth=nothing[:, :, 0])
    monkeypatch.setattr("scene3d.training.evaluation.render_view", lambda *_, **__: broken)
    record = evaluate_views(make_cloud(), photos, [0], SETTINGS, FACTS).record
    assert record["raw"]["psnr_db"] is None
    assert record["reasons"]["psnr_db"] == "no held-out view could be measured"


def test_pictures_show_photograph_rendering_and_error(tmp_path):
    photos = Photos()
    old = tmp_path / "renders" / "007_old.png"
    old.parent.mkdir()
    old.write_bytes(b"")
    mine = old.with_name("my notes.txt")
    mine.write_text("keep")
    settings = replace(SETTINGS, max_pictures=2)
    result = evaluate_views(make_cloud(), photos, [0, 1, 2], settings, FACTS, output=tmp_path)
    names = [view.picture for view in result.per_view]
    assert names == ["renders/000_flight_photo_2.jpg.png", "renders/001_flight_photo_1.jpg.png", None]
    assert {path.name for path in old.parent.iterdir()} == {*(name.split("/")[1] for name in names[:2]), mine.name}
    picture = read_image(tmp_path / names[0]).image.astype(np.float32) / 255
    assert picture.shape == (36, 3 * 44, 3)
    assert np.abs(picture[:, :44] - photos.photos[2].image.numpy()).max() <= 0.5 / 255 + 1e-6
    error = np.abs(picture[:, :44] - picture[:, 44:88]).mean(axis=2)
    brightness = picture[:, 88:].sum(axis=2)
    assert np.corrcoef(error.ravel(), brightness.ravel())[0, 1] > 0.9


def test_file_names_of_pictures_are_tame():
    assert safe_name("../flight 1/ß<x>.JPG") == ".._flight_1___x_.JPG"
    assert len(safe_name("a" * 300)) == 100


def test_settings_and_weights_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="max_pictures"):
        EvaluationSettings(max_pictures=-1)
    with pytest.raises(InputError, match="there is no"):
        evaluate_views(make_cloud(), Photos(1), [0], replace(SETTINGS, lpips_weights=tmp_path), FACTS)


LEFT = torch.zeros(36, 44, dtype=torch.bool)
LEFT[:, :22] = True


def tell_halves(camera, depth, alpha):
    return {"left": LEFT, "right": ~LEFT}


def test_figures_of_regions_are_those_of_the_parts_of_the_picture():
    photos = Photos(2)
    half = photos.photos[0].image.clone()
    half[:, 22:] = render_view(make_cloud(), photos.photos[0].camera, backend="reference").image.clamp(0, 1)[:, 22:]
    photos.photos[0] = replace(photos.photos[0], image=half)
    result = evaluate_views(make_cloud(), photos, [0, 1], SETTINGS, FACTS, regions=tell_halves)
    for photo in photos.photos:
        image = render_view(make_cloud(), photo.camera, backend="reference").image.clamp(0, 1)
        view = next(view for view in result.per_view if view.name == photo.name)
        assert view.regions["left"].psnr_db == pytest.approx(psnr_db(image[:, :22], photo.image[:, :22]))
        assert view.regions["right"].psnr_db == pytest.approx(psnr_db(image[:, 22:], photo.image[:, 22:]))
        assert view.regions["left"].ssim == pytest.approx(ssim(image, photo.image, LEFT))
        assert view.regions["left"].used_share == view.regions["right"].used_share == 0.5
    flawless = next(view for view in result.per_view if view.name == photos.photos[0].name)
    assert flawless.regions["right"].psnr_db == 100
    assert flawless.regions["right"].ssim == pytest.approx(1)


def test_means_of_regions_stand_in_the_record_with_the_shape_of_raw():
    result = evaluate_views(make_cloud(), Photos(3), [0, 1, 2], SETTINGS, FACTS, regions=tell_halves)
    record = result.record
    assert set(record["left"]) == set(record["right"]) == set(record["raw"])
    lefts = [view["regions"]["left"] for view in record["per_view"]]
    assert record["left"]["psnr_db"] == pytest.approx(np.mean([left["psnr_db"] for left in lefts]))
    assert set(lefts[0]) == {"psnr_db", "ssim", "lpips", "used_share"}
    assert result.regions["left"].psnr_db == record["left"]["psnr_db"]
    assert (record["protocol"]["num_views_left"], record["protocol"]["min_region_share"]) == (3, 0.01)
    assert json.loads(json.dumps(record)) == record


def test_without_regions_the_record_is_as_it_was():
    record = evaluate_views(make_cloud(), Photos(1), [0], SETTINGS, FACTS).record
    assert "regions" not in record["per_view"][0]
    assert "min_region_share" not in record["protocol"]


def test_a_region_loses_what_the_mask_leaves_out():
    photos = Photos(1)
    mask = torch.ones(36, 44, dtype=torch.bool)
    mask[:18] = False
    photos.photos[0] = replace(photos.photos[0], mask=mask)
    result = evaluate_views(make_cloud(), photos, [0], SETTINGS, FACTS, regions=tell_halves)
    photo, image = photos.photos[0], render_view(make_cloud(), make_camera(0.0), backend="reference").image.clamp(0, 1)
    left = result.per_view[0].regions["left"]
    assert left.used_share == 0.25
    assert left.psnr_db == pytest.approx(psnr_db(image[18:, :22], photo.image[18:, :22]))


def test_views_that_hardly_show_a_region_do_not_count_for_it():
    def tell_by_place(camera, depth, alpha):
        shown = torch.zeros(36, 44, dtype=torch.bool)
        shown.view(-1)[: 16 if camera.cam_from_world[0, 3] else 15] = True  # 1 % of 1584 pixels is 15.84
        return {"corner": shown, "nothing": torch.zeros(36, 44, dtype=torch.bool)}

    record = evaluate_views(make_cloud(), Photos(3), [0, 1, 2], SETTINGS, FACTS, regions=tell_by_place).record
    corners = {view["name"]: view["regions"]["corner"] for view in record["per_view"]}
    assert corners["flight/photo 0.jpg"]["psnr_db"] is None
    assert corners["flight/photo 0.jpg"]["used_share"] == pytest.approx(15 / 1584)
    counted = [corners[f"flight/photo {i}.jpg"]["psnr_db"] for i in (1, 2)]
    assert record["corner"]["psnr_db"] == pytest.approx(np.mean(counted))
    assert record["protocol"]["num_views_corner"] == 2
    assert record["nothing"] == {"psnr_db": None, "ssim": None, "lpips": None}
    assert "no held-out view" in record["reasons"]["nothing"]
    assert "corner" not in record["reasons"]


def test_regions_see_depth_and_alpha_of_the_measured_rendering(monkeypatch):
    rendered, seen = [], []

    def render_and_count(*args, **kwargs):
        rendered.append(render_view(*args, **kwargs))
        return rendered[-1]

    def note(camera, depth, alpha):
        seen.append((depth, alpha))
        return tell_halves(camera, depth, alpha)

    monkeypatch.setattr("scene3d.training.evaluation.render_view", render_and_count)
    evaluate_views(make_cloud(), Photos(2), [0, 1], SETTINGS, FACTS, regions=note)
    assert len(rendered) == len(seen) == 2
    for rendering, (depth, alpha) in zip(rendered, seen, strict=True):
        assert torch.equal(rendering.depth, depth)
        assert torch.equal(rendering.alpha, alpha)


def test_further_facts_of_the_run_join_the_record():
    facts = replace(FACTS, further={"blocks": [{"load": 3}], "rounds": None}, further_reasons={"blocks": "one is gone"})
    record = evaluate_views(make_cloud(), Photos(1), [0], SETTINGS, facts).record
    assert record["blocks"] == [{"load": 3}]
    assert record["reasons"]["blocks"] == "one is gone"
    assert record["reasons"]["rounds"] == "the run did not record it"
