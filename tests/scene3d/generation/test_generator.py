"""The generator fills cells so that known voxels stay, the order does not matter, and a seed says everything."""

from dataclasses import replace

import numpy as np
import pytest

from scene3d.errors import InputError, SettingsError
from scene3d.generation.generator import Generator, make_canvas, window_of
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.model_files import read_model, write_model
from scene3d.generation.place import make_place
from scene3d.geometry.voxels import VoxelField
from tests.scene3d.generation.small import nano, nano_spec, town_site, untrained

CELLS = [(i, j) for i in range(2) for j in range(2)]
SETTINGS = GrowSettings(seed=4, steps=2)


def town_canvas(known: np.ndarray | None = None) -> VoxelField:
    """2 x 2 cells of the town, of which a part is known."""
    spec = nano_spec()
    canvas = make_canvas(spec, (2, 2))
    x, y, _ = canvas.shape
    values = town_site().values()[:x, :y]
    known = np.zeros(canvas.shape, bool) if known is None else known
    unit = spec.truncation_voxels * canvas.voxel_size
    return replace(
        canvas,
        sdf=np.where(known, values[..., 0] * unit, canvas.truncation).astype(np.float32),
        rgb=np.where(known[..., None], values[..., 1:], 0.0).astype(np.float32),
        known=known,
    )


def strip(width: int) -> np.ndarray:
    known = np.zeros(make_canvas(nano_spec(), (2, 2)).shape, bool)
    known[:width] = True
    return known


@pytest.mark.parametrize("mode", ["geometry+strips", "published", "independent"])
def test_every_mode_fills_the_cells_and_keeps_what_is_known(mode):
    canvas = town_canvas(strip(5))
    settings = replace(SETTINGS, mode=mode, steps=4, jump_length=2, jump_samples=2)
    grown = untrained().grow(canvas, CELLS, settings)
    assert grown.known.all()
    assert np.isfinite(grown.sdf).all()
    assert np.array_equal(grown.sdf[canvas.known], canvas.sdf[canvas.known])
    assert np.array_equal(grown.rgb[canvas.known], canvas.rgb[canvas.known])
    assert np.abs(grown.sdf).max() <= canvas.truncation


def test_only_the_asked_cells_are_filled():
    canvas = town_canvas(strip(3))
    grown = untrained().grow(canvas, [(1, 1)], SETTINGS)
    inside = np.zeros(canvas.shape, bool)
    inside[window_of(nano_spec(), (1, 1))] = True
    assert np.array_equal(grown.known, canvas.known | inside)


def test_the_order_of_cells_changes_nothing():
    canvas = town_canvas(strip(5))
    wanted = untrained().grow(canvas, CELLS, SETTINGS)
    for order in (CELLS[::-1], [CELLS[k] for k in (2, 0, 3, 1)]):
        assert np.abs(untrained().grow(canvas, order, SETTINGS).sdf - wanted.sdf).max() <= 1e-5


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    canvas = make_canvas(nano_spec(), (1, 1))
    one = untrained().grow(canvas, [(0, 0)], SETTINGS)
    assert one.sdf.tobytes() == untrained().grow(canvas, [(0, 0)], SETTINGS).sdf.tobytes()
    assert np.abs(one.sdf - untrained().grow(canvas, [(0, 0)], replace(SETTINGS, seed=5)).sdf).max() > 0.01


def test_an_empty_mask_is_the_unconditional_path_bit_for_bit():
    canvas = make_canvas(nano_spec(), (1, 1))
    conditioned = untrained().grow(canvas, [(0, 0)], SETTINGS)
    free = untrained().grow(canvas, [(0, 0)], replace(SETTINGS, mode="independent"))
    assert conditioned.sdf.tobytes() == free.sdf.tobytes()


def test_a_known_canvas_comes_back_as_it_was():
    canvas = town_canvas(np.ones(make_canvas(nano_spec(), (2, 2)).shape, bool))
    grown = untrained().grow(canvas, CELLS, SETTINGS)
    assert grown.sdf.tobytes() == canvas.sdf.tobytes()


def test_the_default_mode_calls_the_denoiser_once_a_step_for_each_batch():
    generator = Generator(untrained().model, "counted")
    generator.grow(make_canvas(nano_spec(), (1, 1)), [(0, 0)], GrowSettings())
    assert generator.num_evaluations == 10
    generator.grow(town_canvas(strip(5)), [(0, 0)], GrowSettings(mode="published", steps=50))
    assert generator.num_evaluations == 10 + 230


def test_guidance_costs_a_second_call_only_with_a_layout():
    canvas = make_canvas(nano_spec(), (1, 1))
    layout = np.full(canvas.shape[:2], 8)
    for asked, wanted in ((None, 3), (layout, 6)):
        generator = Generator(untrained().model, "counted")
        generator.grow(canvas, [(0, 0)], GrowSettings(steps=3, guidance=2.0), layout=asked)
        assert generator.num_evaluations == wanted


def test_a_layout_changes_what_grows():
    canvas = make_canvas(nano_spec(), (1, 1))
    model = untrained().model
    model.denoiser.leave.conv.weight.data.normal_(0, 0.3, generator=None)  # it begins at zero and would say nothing
    generator = Generator(model, "awake")
    free, told = (
        generator.grow(canvas, [(0, 0)], SETTINGS, layout=layout) for layout in (None, np.full(canvas.shape[:2], 8))
    )
    untrained.cache_clear()
    assert np.abs(free.sdf - told.sdf).max() > 1e-3


def test_another_truncation_of_the_canvas_is_understood():
    canvas = town_canvas(strip(5))
    short = 0.5 * canvas.truncation
    cut = replace(canvas, sdf=np.clip(canvas.sdf, -short, short), truncation=short)
    grown = untrained().grow(cut, CELLS, SETTINGS)
    assert np.abs(grown.sdf).max() <= short
    assert np.array_equal(grown.sdf[canvas.known], cut.sdf[canvas.known])


@pytest.mark.parametrize(
    ("cells", "layout", "message"),
    [
        ([(2, 0)], None, "lies outside the canvas"),
        ([(-1, 0)], None, "lies outside the canvas"),
        ([(0, 0)], np.zeros((3, 3), np.int64), "the layout has"),
        ([(0, 0)], np.full((28, 28), 99), "classes outside"),
    ],
)
def test_requests_that_do_not_fit_are_refused(cells, layout, message):
    with pytest.raises(InputError, match=message):
        untrained().grow(make_canvas(nano_spec(), (2, 2)), cells, SETTINGS, layout=layout)


def test_a_canvas_of_another_height_is_refused():
    canvas = make_canvas(replace(nano_spec(), block_voxels=20, stride_voxels=16), (1, 1))
    with pytest.raises(InputError, match="voxels high"):
        untrained().grow(canvas, [(0, 0)], SETTINGS)


def test_a_generator_is_written_and_read(tmp_path):
    settings, model = nano(), untrained().model
    path = write_model(tmp_path, settings.config, model.to_tensors(), {"steps": 0}, name="model")
    canvas = make_canvas(nano_spec(), (1, 1))
    loaded = [Generator.load(place) for place in (path, tmp_path, path.with_suffix(".safetensors"))]
    grown = [generator.grow(canvas, [(0, 0)], SETTINGS).sdf for generator in loaded]
    assert np.array_equal(grown[0], grown[1])
    assert np.array_equal(grown[0], grown[2])
    assert np.abs(grown[0] - untrained().grow(canvas, [(0, 0)], SETTINGS).sdf).max() < 0.02  # half precision
    assert loaded[0].spec == nano_spec()
    assert loaded[0].weights_sha256 == read_model(path).sha256


@pytest.mark.parametrize("damage", ["weights", "version", "config", "name"])
def test_damaged_generators_are_refused(tmp_path, damage):
    path = write_model(tmp_path, nano().config, untrained().model.to_tensors(), {}, name="model")
    text = path.read_text()
    if damage == "weights":
        weights = path.with_suffix(".safetensors")
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    elif damage == "version":
        path.write_text(text.replace('"schema_version": 1', '"schema_version": 7'))
    elif damage == "config":
        path.write_text(text.replace('"code_channels": 4', '"code_channels": 5'))
    else:
        path.write_text(text.replace("model.safetensors", "../model.safetensors"))
    with pytest.raises(InputError):
        Generator.load(path)


def test_a_place_has_the_size_and_layout_asked_for():
    place = make_place(untrained(), (2, 1), SETTINGS, layout=np.array([[1, 8]]))
    assert place.field.shape == (28, 16, 16)
    assert place.field.known.all()
    assert place.layout is not None
    assert (place.layout[:, :8] == 1).all()
    assert (place.layout[:, 8:] == 8).all()
    with pytest.raises(SettingsError, match="grid of 0 x 3"):
        make_place(untrained(), (0, 3), SETTINGS)
