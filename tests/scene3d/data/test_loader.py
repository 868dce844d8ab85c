"""The loader: right pixels, bounded memory, and the same answer whatever happens beside it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from scene3d.cameras.models import CameraModel, pinhole_of
from scene3d.data.capture import View
from scene3d.data.loader import ImageLoader
from scene3d.errors import InputError, SettingsError
from scene3d.seeding import make_numpy_generator
from tests.scene3d.data import rigs

WIDTH, HEIGHT = rigs.WIDTH, rigs.HEIGHT
IMAGE_BYTES = WIDTH * HEIGHT * 3


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return make_numpy_generator(index, "picture").integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def views(tmp_path):
    """Six views with noise for photographs."""
    made = []
    for index in range(6):
        path = tmp_path / f"{index}.png"
        Image.fromarray(picture(index)).save(path)
        camera = rigs.make_camera((index, 0, 5), (index, 1, 0))
        made.append(View(name=path.name, image_path=path, camera=camera))
    return made


def with_lens(view: View, lens: CameraModel) -> View:
    pinhole = pinhole_of(lens)
    camera = rigs.Camera(width=pinhole.width, height=pinhole.height, K=pinhole.K, cam_from_world=np.eye(4))
    return View(name=view.name, image_path=view.image_path, camera=camera, lens=lens)


def test_pixels_come_as_they_are_in_the_file(views):
    with ImageLoader(views) as loader:
        loaded = loader.load(3)
    assert loaded.image.dtype == torch.float32
    np.testing.assert_array_equal((loaded.image * 255).round().numpy(), picture(3))
    assert loaded.mask is None
    assert loaded.name == "3.png"


def test_a_loaded_image_may_be_written_to(views):
    with ImageLoader(views) as loader:
        loader.load(0).image.zero_()
        assert loader.load(0).image.max() > 0.9


@pytest.mark.parametrize("scale", [0.5, 0.25, 0.3])
def test_camera_and_image_shrink_together(views, scale):
    with ImageLoader(views, image_scale=scale) as loader:
        loaded = loader.load(0)
    assert loaded.image.shape == (loaded.camera.height, loaded.camera.width, 3)
    assert (loaded.camera.width, loaded.camera.height) == (round(WIDTH * scale), round(HEIGHT * scale))
    np.testing.assert_allclose(loaded.camera.K[0, 0], views[0].camera.K[0, 0] * loaded.camera.width / WIDTH)


def test_shrinking_averages_instead_of_dropping_pixels(views, tmp_path):
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "0.png")
    with ImageLoader(views, image_scale=0.5) as loader:
        image = loader.load(0).image
    assert (image[:, 2:-2] - 0.5).abs().max() < 0.1


def test_a_pixel_edge_stays_where_it_is_when_shrunk(views, tmp_path):
    edge = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    edge[:, 35:] = 255
    Image.fromarray(edge).save(tmp_path / "0.png")
    for scale in (0.5, 0.3, 0.7):
        with ImageLoader(views, image_scale=scale) as loader:
            loaded = loader.load(0)
        dark_columns = (1 - loaded.image[HEIGHT // 8, :, 0]).sum() * WIDTH / loaded.camera.width
        assert float(dark_columns) == pytest.approx(35, abs=0.15)


def test_what_comes_back_does_not_depend_on_budget_order_or_prefetching(views):
    with ImageLoader(views) as loader:
        truth = [loader.load(i).image for i in range(6)]
    order = make_numpy_generator(0, "order").integers(0, 6, 60)
    with ImageLoader(views, memory_bytes=2 * IMAGE_BYTES, workers=3) as loader:
        for position, index in enumerate(order):
            loader.prefetch(order[position + 1 : position + 4].tolist())
            assert torch.equal(loader.load(int(index)).image, truth[index])


@pytest.mark.parametrize("images", [0, 0.9, 1, 2.5, 6])
def test_kept_bytes_never_exceed_the_budget(views, images):
    budget = int(images * IMAGE_BYTES)
    with ImageLoader(views, memory_bytes=budget) as loader:
        for index in [0, 1, 2, 3, 4, 5, 0, 5, 1, 4]:
            loader.prefetch([(index + 1) % 6, (index + 2) % 6])
            loader.load(index)
            assert loader.cached_bytes <= budget
        assert loader.cached_bytes == int(images) * IMAGE_BYTES


def test_thousands_of_views_are_loaded_within_the_budget(views):
    many = [views[index % 6] for index in range(3000)]
    with ImageLoader(many, memory_bytes=10 * IMAGE_BYTES) as loader:
        for index in range(0, 3000, 7):
            loader.prefetch([index + 7] if index + 7 < 3000 else [])
            loader.load(index)
            assert loader.cached_bytes <= 10 * IMAGE_BYTES


def test_a_kept_image_is_not_read_again(views, tmp_path):
    with ImageLoader(views) as loader:
        first = loader.load(2).image
        (tmp_path / "2.png").unlink()
        assert torch.equal(loader.load(2).image, first)


def test_the_least_recently_used_image_goes_first(views, tmp_path):
    with ImageLoader(views, memory_bytes=2 * IMAGE_BYTES) as loader:
        for index in (0, 1, 0, 2):
            loader.load(index)
        for index in (0, 1, 2):
            (tmp_path / f"{index}.png").unlink()
        loader.load(0)
        loader.load(2)
        with pytest.raises(InputError):
            loader.load(1)


def test_a_prefetched_image_is_read_before_it_is_needed(views, tmp_path):
    loader = ImageLoader(views)
    loader.prefetch([4])
    loader._executor.shutdown(wait=True)
    (tmp_path / "4.png").unlink()
    np.testing.assert_array_equal((loader.load(4).image * 255).round().numpy(), picture(4))
    loader.close()


def test_prefetching_more_than_fits_stops_at_the_budget(views):
    loader = ImageLoader(views, memory_bytes=3 * IMAGE_BYTES)
    loader.prefetch(range(6))
    loader._executor.shutdown(wait=True)
    # Room for two images with masks: those wanted first must not be pushed out by those wanted last.
    assert loader.cached_bytes == 2 * IMAGE_BYTES
    assert set(loader._kept) == {0, 1}
    loader.close()


def test_many_threads_get_the_right_images(views):
    with ImageLoader(views) as loader:
        truth = [loader.load(i).image for i in range(6)]
    with ImageLoader(views, memory_bytes=2 * IMAGE_BYTES, workers=2) as loader, ThreadPoolExecutor(4) as pool:
        indices = make_numpy_generator(1, "order").integers(0, 6, 80).tolist()

        def look(index: int) -> bool:
            loader.prefetch([(index + 1) % 6])
            return torch.equal(loader.load(index).image, truth[index])

        assert all(pool.map(look, indices))
        assert loader.cached_bytes <= 2 * IMAGE_BYTES


@pytest.mark.parametrize("prefetched", [False, True])
def test_an_unreadable_photograph_is_named_and_the_others_go_on(views, tmp_path, prefetched):
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    with ImageLoader(views) as loader:
        if prefetched:
            loader.prefetch([1, 2])
        for _ in range(2):
            with pytest.raises(InputError, match=r"view '1\.png'"):
                loader.load(1)
        assert loader.load(2).name == "2.png"


def test_transparency_and_mask_file_both_hide_pixels(views, tmp_path):
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:10] = 0
    Image.fromarray(np.dstack([picture(0), alpha])).save(tmp_path / "0.png")
    drawn = np.full((HEIGHT, WIDTH), 255, np.uint8)
    drawn[:, :7] = 0
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    view = View(name="0", image_path=tmp_path / "0.png", camera=views[0].camera, mask_path=tmp_path / "mask.png")
    with ImageLoader([view]) as loader:
        mask = loader.load(0).mask
    assert mask is not None
    expected = np.ones((HEIGHT, WIDTH), bool)
    expected[:10], expected[:, :7] = False, False
    np.testing.assert_array_equal(mask.numpy(), expected)


def test_a_mask_that_hides_nothing_is_none(views, tmp_path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 1, np.uint8)).save(tmp_path / "mask.png")
    view = View(name="0", image_path=tmp_path / "0.png", camera=views[0].camera, mask_path=tmp_path / "mask.png")
    with ImageLoader([view], image_scale=0.5) as loader:
        assert loader.load(0).mask is None


def test_a_shrunk_mask_uses_no_pixel_that_was_hidden(views, tmp_path):
    drawn = np.full((HEIGHT, WIDTH), 255, np.uint8)
    drawn[20:21, 30:31] = 0
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    view = View(name="0", image_path=tmp_path / "0.png", camera=views[0].camera, mask_path=tmp_path / "mask.png")
    with ImageLoader([view], image_scale=0.5) as loader:
        mask = loader.load(0).mask
    assert mask is not None
    assert not mask[10, 15]
    assert mask.sum() >= mask.numel() - 9


def test_a_mask_of_another_shape_is_refused(views, tmp_path):
    Image.fromarray(np.zeros((WIDTH, HEIGHT), np.uint8)).save(tmp_path / "mask.png")
    view = View(name="0", image_path=tmp_path / "0.png", camera=views[0].camera, mask_path=tmp_path / "mask.png")
    with ImageLoader([view]) as loader, pytest.raises(InputError, match="mask is 60 x 80"):
        loader.load(0)


def test_a_photograph_of_another_shape_than_its_camera_is_refused(views, tmp_path):
    Image.fromarray(picture(0, HEIGHT, WIDTH)).save(tmp_path / "0.png")
    with ImageLoader(views) as loader, pytest.raises(InputError, match="60 x 80 pixels, its camera 80 x 60"):
        loader.load(0)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_a_distorted_photograph_comes_as_its_pinhole_sees_it(views, tmp_path, scale):
    # Smooth in the plane, so that the truth can be computed at any size.
    lens = CameraModel(name="SIMPLE_RADIAL", width=WIDTH * 4, height=HEIGHT * 4, params=(240.0, 161.0, 118.0, -0.2))

    def paint(model: CameraModel) -> np.ndarray:
        from scene3d.cameras.models import unproject

        x, y = np.meshgrid(np.arange(model.width) + 0.5, np.arange(model.height) + 0.5)
        rays = unproject(model, np.stack([x.ravel(), y.ravel()], axis=1))
        waves = 0.5 + 0.45 * np.sin(5 * rays[:, :2] / rays[:, 2:] + 0.3)
        return np.concatenate([waves, waves[:, :1]], axis=1).reshape(model.height, model.width, 3)

    Image.fromarray(np.rint(255 * paint(lens)).astype(np.uint8)).save(tmp_path / "0.png")
    view = with_lens(views[0], lens)
    with ImageLoader([view], image_scale=scale) as loader:
        loaded = loader.load(0)
    K = loaded.camera.K
    pinhole = CameraModel(
        name="PINHOLE",
        width=loaded.camera.width,
        height=loaded.camera.height,
        params=(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])),
    )
    difference = np.abs(loaded.image.numpy() - paint(pinhole))[2:-2, 2:-2]
    assert difference.max() < 0.02
    assert loaded.mask is None


def test_a_closed_loader_keeps_nothing_and_still_loads(views):
    loader = ImageLoader(views)
    loader.load(0)
    loader.close()
    assert loader.cached_bytes == 0
    loader.prefetch([1])
    assert loader.load(1).name == "1.png"
    assert loader.cached_bytes == 0


@pytest.mark.parametrize("settings", [{"image_scale": 0.0}, {"image_scale": 1.5}, {"memory_bytes": -1}, {"workers": 0}])
def test_settings_that_make_no_sense_are_refused(views, settings):
    with pytest.raises(SettingsError):
        ImageLoader(views, **settings)
