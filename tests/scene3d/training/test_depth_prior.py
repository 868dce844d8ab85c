"""The depth prior: maps come out in world units, useless ones are named and left out, the pull is right."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from scene3d.data.capture import Capture, SparsePoints
from scene3d.data.loader import TrainingImage
from scene3d.data.reading import read_capture
from scene3d.errors import InputError, LimitExceeded, SettingsError
from scene3d.geometry.similarity import Similarity
from scene3d.training.depth_maps import find_depth_map, fit_alignment, read_depth_map, resize_map
from scene3d.training.depth_prior import UNKNOWN, DepthPriorTerm, MapCache
from scene3d.training.geometry_settings import DepthPriorSettings
from scene3d.training.terms import LossTerm, RenderedView, StepView
from tests.synthetic_captures import tiny_capture as tiny_capture

WORLD_SCALE = 0.02
TRAIN = (1, 2, 3, 5, 6, 7)


@pytest.fixture(scope="module")
def capture(tiny_capture: Path) -> Capture:
    """The tiny capture in a world whose unit is not the files'."""
    return read_capture(tiny_capture).transformed(Similarity(WORLD_SCALE, np.eye(3), np.array([0.3, -0.2, 0.1])))


def _true_depth(capture: Capture, index: int) -> np.ndarray:
    """In world units; 0 for sky."""
    path = capture.root / "depth" / f"{Path(capture.views[index].name).stem}.npy"
    return np.asarray(np.load(path, allow_pickle=False) * WORLD_SCALE, np.float32)


def _save_npy(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values, allow_pickle=False)


def _save_inverse_png(path: Path, depth: np.ndarray, bits: int) -> None:
    """Inverse depth stretched over the range of the file, as monocular networks save it; 0 stays unknown."""
    inverse = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0)
    low, high, white = inverse[depth > 0].min(), inverse.max(), 2**bits - 1
    grey = np.where(depth > 0, 1 + (inverse - low) / (high - low) * (white - 1), 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey.round().astype(np.uint16 if bits == 16 else np.uint8)).save(path)


def _write_maps(folder: Path, capture: Capture, form: str) -> DepthPriorSettings:
    for index, view in enumerate(capture.views):
        depth, stem = _true_depth(capture, index), Path(view.name).stem
        if form == "depth npy":
            _save_npy(folder / f"{stem}.npy", depth * 37)
        else:
            _save_inverse_png(folder / f"{stem}.png", depth, 16 if form == "16 bits" else 8)
    return DepthPriorSettings(folder=folder, kind="depth" if form == "depth npy" else "inverse")


def _step(
    capture: Capture, index: int, depth: Tensor, *, progress: float = 0.0, mask: Tensor | None = None
) -> StepView:
    view = capture.views[index]
    height, width = depth.shape
    photo = TrainingImage(
        image=torch.zeros(height, width, 3), mask=mask, camera=view.camera.resized(width, height), name=view.name
    )
    rendered = RenderedView(image=photo.image, alpha=torch.ones_like(depth), depth=depth)
    return StepView(
        photo=photo,
        rendered=rendered,
        render=lambda camera: rendered.image,
        expose=lambda image: image,
        iteration=round(1000 * progress),
        iterations=1000,
        generator=torch.Generator(),
    )


def test_it_is_a_loss_term(capture: Capture) -> None:
    term = DepthPriorTerm.from_capture(capture, TRAIN, DepthPriorSettings())
    assert isinstance(term, LossTerm)
    assert not term.is_due(0, 100)


@pytest.mark.parametrize(("form", "tolerance"), [("depth npy", 0.03), ("16 bits", 0.03), ("8 bits", 0.04)])
def test_alignment_recovers_depth(tmp_path: Path, capture: Capture, form: str, tolerance: float) -> None:
    term = DepthPriorTerm.from_capture(capture, TRAIN, _write_maps(tmp_path / "maps", capture, form))
    assert term.findings == ()
    assert set(term.maps) == {capture.views[index].name for index in TRAIN}
    for index in TRAIN:
        truth = torch.from_numpy(_true_depth(capture, index))
        target = term.target(capture.views[index].name, truth.shape[1], truth.shape[0])
        known = (target != UNKNOWN) & (truth > 0)
        assert float(known.float().mean()) > 0.9
        errors = (target * truth - 1).abs()[known]
        assert float(errors.median()) < tolerance


def test_the_median_and_mean_deviation_fit_is_exact_on_a_line_and_ignores_outliers() -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(0, 1, 200)
    wanted = 0.3 * values + 0.2
    wanted[:20] += generator.uniform(1, 5, 20)
    fitted = fit_alignment(values, wanted)
    assert fitted.scale == pytest.approx(0.3, rel=1e-6)
    assert fitted.offset == pytest.approx(0.2, rel=1e-6)
    assert fitted.is_reliable


@pytest.mark.parametrize("values", [-np.linspace(0, 1, 50), np.full(50, 0.5)], ids=["reversed", "flat"])
def test_a_map_that_does_not_rise_towards_the_camera_is_unreliable(values: np.ndarray) -> None:
    assert not fit_alignment(values, np.linspace(1, 2, 50)).is_reliable


def test_maps_of_noise_or_of_the_wrong_kind_are_left_out_and_counted(tmp_path: Path, capture: Capture) -> None:
    settings = _write_maps(tmp_path, capture, "16 bits")
    generator = np.random.default_rng(0)
    noisy, reversed_name = (capture.views[index].name for index in (1, 2))
    noise = generator.integers(1, 65536, (48, 64)).astype(np.uint16)
    Image.fromarray(noise).save(tmp_path / f"{Path(noisy).stem}.png")
    _save_npy(tmp_path / f"{Path(reversed_name).stem}.npy", _true_depth(capture, 2))
    term = DepthPriorTerm.from_capture(capture, TRAIN, settings)
    assert set(term.maps) == {capture.views[index].name for index in TRAIN[2:]}
    (finding,) = term.findings
    assert finding.what.startswith("2 of 6 views have a depth map that contradicts")
    assert noisy in finding.what
    assert reversed_name in finding.what


def test_missing_and_damaged_maps_are_counted_and_their_views_left_in_peace(
    tmp_path: Path, capture: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    settings = _write_maps(tmp_path, capture, "16 bits")
    for index in (1, 2):
        (tmp_path / f"{Path(capture.views[index].name).stem}.png").unlink()
    damaged = tmp_path / f"{Path(capture.views[3].name).stem}.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    term = DepthPriorTerm.from_capture(capture, TRAIN, settings)
    assert sorted(finding.what[:30] for finding in term.findings) == [
        "1 of 6 views have a depth map ",
        "2 of 6 views have no depth map",
    ]
    assert damaged.name in caplog.text
    assert float(term(_step(capture, 1, torch.ones(48, 64)))) == 0


def test_a_view_with_too_few_points_goes_without(tmp_path: Path, capture: Capture) -> None:
    settings = _write_maps(tmp_path, capture, "16 bits")
    bare = dataclasses.replace(capture, points=SparsePoints.empty())
    term = DepthPriorTerm.from_capture(bare, TRAIN, settings)
    assert not term.maps
    assert not term.is_due(0, 100)
    assert term.findings[0].what.startswith("6 of 6 views saw too few")


def test_points_of_other_views_take_no_part(tmp_path: Path, capture: Capture) -> None:
    settings = _write_maps(tmp_path, capture, "16 bits")
    points = capture.points
    seen = np.isin(np.arange(len(points)), points.track_points[np.isin(points.track_views, TRAIN)])
    elsewhere = dataclasses.replace(points, positions=np.where(seen[:, None], points.positions, 1e6))
    moved = dataclasses.replace(capture, points=elsewhere)
    terms = [DepthPriorTerm.from_capture(each, TRAIN, settings) for each in (capture, moved)]
    assert terms[0].maps == terms[1].maps


def test_a_folder_that_is_none_is_named(tmp_path: Path, capture: Capture) -> None:
    with pytest.raises(InputError, match="no folder"):
        DepthPriorTerm.from_capture(capture, TRAIN, DepthPriorSettings(folder=tmp_path / "absent"))


def _exact_term(tmp_path: Path, capture: Capture, depth: Tensor) -> DepthPriorTerm:
    """A term whose one map asks for just this depth."""
    settings = DepthPriorSettings(folder=tmp_path, kind="depth")
    _save_npy(tmp_path / f"{Path(capture.views[1].name).stem}.npy", _true_depth(capture, 1))
    term = DepthPriorTerm.from_capture(capture, [1], settings)
    aligned = term.maps[capture.views[1].name]
    exact = dataclasses.replace(aligned, alignment=dataclasses.replace(aligned.alignment, scale=1.0, offset=0.0))
    _save_npy(aligned.path, depth.numpy())
    return dataclasses.replace(term, maps={capture.views[1].name: exact})


def _depth() -> Tensor:
    return torch.linspace(0.5, 3.0, 48 * 64).reshape(48, 64)


@pytest.mark.parametrize("size_ratio", [1.0, 0.5, 2.0])
def test_the_loss_vanishes_for_the_depth_the_map_asks_for(tmp_path: Path, capture: Capture, size_ratio: float) -> None:
    inverse = torch.linspace(2.0, 0.5, 64).expand(48, 64)
    term = _exact_term(tmp_path, capture, 1 / inverse)
    width = round(64 * size_ratio)
    places = (torch.arange(width) + 0.5) / size_ratio - 0.5
    rendered = 1 / (2.0 - 1.5 * places / 63).expand(round(48 * size_ratio), width)
    inner = torch.zeros(rendered.shape, dtype=torch.bool)
    inner[:, 2:-2] = True  # resampling has nothing to go by beyond the border
    assert float(term(_step(capture, 1, rendered, mask=inner))) < 1e-5


@pytest.mark.parametrize("ratio", [0.8, 1.25])
def test_the_loss_pulls_depth_towards_the_map(tmp_path: Path, capture: Capture, ratio: float) -> None:
    term = _exact_term(tmp_path, capture, _depth())
    depth = (_depth() * ratio).requires_grad_()
    loss = term(_step(capture, 1, depth))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(float((1 / _depth() - 1 / (_depth() * ratio)).abs().mean()), rel=1e-4)
    assert depth.grad is not None
    assert torch.equal(depth.grad.sign(), torch.full_like(depth, 1.0 if ratio > 1 else -1.0))


def test_the_weight_falls_along_a_straight_line_in_the_logarithm(tmp_path: Path, capture: Capture) -> None:
    term = _exact_term(tmp_path, capture, _depth())
    losses = [float(term(_step(capture, 1, 1.5 * _depth(), progress=t))) for t in (0.0, 0.5, 1.0)]
    assert losses[2] / losses[0] == pytest.approx(0.1, rel=1e-3)
    assert losses[1] ** 2 == pytest.approx(losses[0] * losses[2], rel=1e-3)


@pytest.mark.parametrize("empty", ["masked", "transparent", "unknown"])
def test_with_nothing_to_compare_the_loss_is_zero_and_so_is_its_gradient(
    tmp_path: Path, capture: Capture, empty: str
) -> None:
    term = _exact_term(tmp_path, capture, _depth() * (0 if empty == "unknown" else 1))
    depth = (2 * _depth()).requires_grad_()
    mask = torch.zeros(48, 64, dtype=torch.bool) if empty == "masked" else None
    step = _step(capture, 1, depth, mask=mask)
    if empty == "transparent":
        clear = dataclasses.replace(step.rendered, alpha=torch.full((48, 64), 0.3))
        step = dataclasses.replace(step, rendered=clear)
    loss = term(step)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert depth.grad is not None
    assert float(depth.grad.abs().max()) == 0


def test_nothing_rendered_gives_finite_gradients(tmp_path: Path, capture: Capture) -> None:
    depth = torch.zeros(48, 64, requires_grad=True)
    _exact_term(tmp_path, capture, _depth())(_step(capture, 1, depth)).backward()  # type: ignore[no-untyped-call]
    assert depth.grad is not None
    assert depth.grad.isfinite().all()


def test_unknown_pixels_stay_unknown_and_do_not_bleed_when_resized() -> None:
    values = np.full((40, 40), 3.0, np.float32)
    values[:, :10] = np.nan
    small = resize_map(values, 20, 20)
    assert small[:, :4].isnan().all()
    assert torch.equal(small[:, 6:], torch.full((20, 14), 3.0))


def test_zeros_infinities_and_negative_depths_are_unknown(tmp_path: Path) -> None:
    stored = np.array([[0.0, np.nan, np.inf, -2.0, 1e-45, 4.0]], np.float32)
    _save_npy(tmp_path / "a.npy", stored)
    depth, inverse = (read_depth_map(tmp_path / "a.npy", kind) for kind in ("depth", "inverse"))
    np.testing.assert_array_equal(depth, [[np.nan, np.nan, np.nan, np.nan, np.nan, 0.25]])
    np.testing.assert_array_equal(inverse, [[np.nan, np.nan, np.nan, -2.0, np.float32(1e-45), 4.0]])


def test_grey_of_three_equal_channels_and_columns_first_are_read(tmp_path: Path) -> None:
    values = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(np.repeat(values[:, :, None], 3, axis=2)).save(tmp_path / "a.png")
    _save_npy(tmp_path / "b.npy", np.asfortranarray(values.astype(np.float64)))
    for name in ("a.png", "b.npy"):
        np.testing.assert_array_equal(read_depth_map(tmp_path / name, "inverse"), values)


def _npy_bytes(shape: tuple[int, ...], *, dtype: str = "<f4", num_bytes: int = 16) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(num_bytes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"not numpy", "not a .npy"),
        ("a.npy", _npy_bytes((2, 3)), "header declares 2 x 3"),
        ("a.npy", _npy_bytes((2, 2, 1)), "not one depth per pixel"),
        ("a.npy", _npy_bytes((2, 8), dtype="|i1"), "not one depth per pixel"),
        ("a.npy", _npy_bytes((0, 3)), "no pixels"),
        ("a.png", b"\x89PNG nonsense", "cannot be decoded"),
    ],
)
def test_files_that_are_no_maps_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_depth_map(tmp_path / name, "inverse")


def test_coloured_pictures_are_no_maps(tmp_path: Path) -> None:
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="mode RGB"):
        read_depth_map(tmp_path / "a.png", "inverse")


def test_a_header_that_asks_for_too_much_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(_npy_bytes((1 << 20, 1 << 20)))
    with pytest.raises(LimitExceeded, match="pixels"):
        read_depth_map(tmp_path / "a.npy", "inverse")


def test_maps_are_found_beside_the_view_s_name_and_by_its_stem(tmp_path: Path) -> None:
    for name in ("left/a.png", "b.npy", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_depth_map(tmp_path, "left/a.jpg") == tmp_path / "left/a.png"
    assert find_depth_map(tmp_path, "right/b.jpg") == tmp_path / "b.npy"
    assert find_depth_map(tmp_path, "right/b.jpg", by_stem=False) is None
    assert find_depth_map(tmp_path, "c") == tmp_path / "c.png"
    assert find_depth_map(tmp_path, "d.jpg") is None


def test_the_cache_keeps_the_recently_used_within_its_bytes() -> None:
    cache, made = MapCache(max_bytes=100), []

    def get(name: str, num: int = 10) -> Tensor:
        return cache.get((Path(name), num, 1), lambda: made.append(name) or torch.zeros(num))  # type: ignore[func-returns-value]

    for name in ("a", "b", "a", "c", "a", "b"):
        get(name)
    assert made == ["a", "b", "c", "b"]
    assert cache.cached_bytes == 80
    get("huge", 1000)
    assert cache.cached_bytes == 80


@pytest.mark.parametrize("wrong", [{"weight": 0.0}, {"final_weight": -1.0}, {"min_matches": 2}])
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="depth_prior"):
        DepthPriorSettings(**wrong)  # type: ignore[arg-type]
