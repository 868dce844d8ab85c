"""Training makes losses fall, goes on bit for bit after an interruption, and fits a block as well as planes can."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scene3d.errors import Diverged, InputError, SettingsError
from scene3d.generation.batches import crop_batch
from scene3d.generation.held_out import measure_held_out, solid_iou
from scene3d.generation.model import make_model, model_from_tensors
from scene3d.generation.objectives import choose_points, cut_off_error
from scene3d.generation.palette import default_classes
from scene3d.generation.refinement import refine_codes
from scene3d.generation.sites import decode_values
from scene3d.generation.train_settings import make_preset
from scene3d.generation.train_state import num_parameters
from scene3d.generation.training import check_new, train_generator
from scene3d.generation.voxel_tensors import mask_tensor, tensor_from_values
from scene3d.io.checkpoint import load_checkpoint
from tests.scene3d.generation.small import generator, made_up_sites, nano, nano_spec

SHORT = replace(nano(), autoencoder_steps=60, denoiser_steps=24, checkpoint_steps=10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    return train_generator(SHORT, made_up_sites(), folder), folder


def test_losses_fall(trained):
    state, _ = trained
    auto, denoise = state.losses["autoencoder"], state.losses["denoiser"]
    assert [row[0] for row in auto] == list(range(10, 61, 10))
    assert auto[-1][1] < auto[0][1] / 3
    assert denoise[-1][2] < 0.95
    figures = measure_held_out(state.model, made_up_sites(), SHORT)
    assert figures["solid_iou"] > 0.75
    assert figures["velocity_mse"] < 1.1


def test_an_interrupted_training_ends_with_the_same_bytes(trained, tmp_path):
    state, _ = trained

    class Interrupt:
        """Stops the training in the middle of a stage."""

        def __init__(self, stage: str, step: int) -> None:
            self.stage, self.step = stage, step

        def start(self, stage, total, **figures): ...
        def finish(self, stage, **figures): ...
        def note(self, message, *, level="info"): ...
        def advance(self, stage, step, **figures):
            if (stage, step) == (self.stage, self.step):
                raise KeyboardInterrupt

    for stage, step in (("autoencoder", 30), ("denoiser", 20)):
        with pytest.raises(KeyboardInterrupt):
            train_generator(SHORT, made_up_sites(), tmp_path, resume=True, reporter=Interrupt(stage, step))
    resumed = train_generator(SHORT, made_up_sites(), tmp_path, resume=True)
    wanted = state.to_tensors()
    assert {name: value.numpy().tobytes() for name, value in resumed.to_tensors().items()} == {
        name: value.numpy().tobytes() for name, value in wanted.items()
    }
    assert resumed.losses == state.losses


def test_a_finished_training_is_not_repeated(trained):
    state, folder = trained
    again = train_generator(SHORT, made_up_sites(), folder, resume=True)
    assert torch.equal(again.model.code_mean, state.model.code_mean)
    saved = load_checkpoint(folder)
    assert saved is not None
    assert saved.record["stage"] == "denoiser"


def test_codes_are_normalised_by_what_was_measured(trained):
    state, _ = trained
    batch = crop_batch(made_up_sites(), nano_spec(), 64, generator(1))
    with torch.no_grad():
        codes = state.model.normalise(state.model.autoencoder.encode(batch.voxels).mean)
    assert float(codes.mean().abs()) < 0.1
    assert 0.7 < float(codes.std()) < 1.2
    assert torch.allclose(state.model.normalise(state.model.denormalise(codes)), codes, atol=1e-4)


def test_overlapping_blocks_have_nearly_the_same_codes_where_they_overlap(trained):
    """The encoder is local: a strip's codes follow the strip, not the block around it."""
    state, _ = trained
    spec = nano_spec()
    side, stride, edge = spec.block_voxels, spec.stride_voxels, 2
    values = torch.from_numpy(np.moveaxis(made_up_sites().tsdf[0].numpy() / np.float32(127), 0, 2)[None, None].copy())
    values = torch.cat([values, torch.zeros(1, 3, *values.shape[2:])], dim=1)
    with torch.no_grad():
        blocks = [state.model.autoencoder.encode(values[:, :, :side, :, k : k + side]).mean for k in (0, stride)]
    codes = [state.model.normalise(block) for block in blocks]
    overlap = (side - stride) // 2
    first, second = codes[0][0, 1, :, :, -overlap:], codes[1][0, 1, :, :, :overlap]
    unrelated = codes[1][0, 1, :, :, -overlap:]
    assert edge <= overlap
    assert float((first - second).square().mean()) < 0.5 * float((first - unrelated).square().mean())


def test_planes_of_one_block_fit_it_closely():
    """The oracle: planes and heads fitted directly to a few blocks, without an encoder."""
    settings = nano()
    batch = crop_batch(made_up_sites(), nano_spec(), 4, generator(2))
    network = make_model(settings.config, 0).autoencoder
    side, channels = nano_spec().block_voxels, settings.config.sizes.plane_channels
    planes = torch.nn.Parameter(0.1 * torch.randn(4, 3, channels, side, side, generator=generator(3)))
    optimizer = torch.optim.Adam(
        [{"params": [planes], "lr": 0.03}, {"params": network.distance_head.parameters()}], lr=3e-3
    )
    for _ in range(120):
        optimizer.zero_grad()
        loss = cut_off_error(network.query_grid(planes, side).tsdf, batch.voxels[:, 0]).mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = network.query_grid(planes, side).tsdf
    assert float((found - batch.voxels[:, 0]).abs().mean()) < 0.04
    assert solid_iou(found, batch.voxels[:, 0], from_level=3) > 0.85


def test_refined_codes_fit_the_known_half_of_a_block_better(trained):
    state, _ = trained
    side = nano_spec().block_voxels
    values = decode_values(made_up_sites().tsdf[:1].numpy(), made_up_sites().rgb[:1].numpy())[:, :side, :side]
    known = np.zeros(values.shape[:4], bool)
    known[:, : side // 2] = True
    network, target = state.model.autoencoder, tensor_from_values(values)[:, 0]
    errors = []
    for steps in (0, 40):
        codes = refine_codes(state.model, values, known, steps=steps)
        with torch.no_grad():
            found = network.query_grid(network.decode(codes), side).tsdf
        errors.append(float((found - target).abs()[mask_tensor(known)].mean()))
    assert errors[1] < 0.7 * errors[0]


def test_half_of_the_points_lie_near_a_surface():
    batch = crop_batch(made_up_sites(), nano_spec(), 4, generator(2))
    points = choose_points(batch, 400, generator(3))
    where = ((points + 1) * nano_spec().block_voxels / 2).long().clamp(0, 15)
    chosen = batch.voxels[torch.arange(4)[:, None], 0, where[..., 0], where[..., 1], where[..., 2]]
    assert float((chosen.abs() < 1).float().mean()) > 0.5
    assert float((chosen.abs() >= 1).float().mean()) > 0.1


def test_beyond_the_truncation_there_is_no_error():
    found = torch.tensor([1.5, -3.0, 0.9, -1.5])
    wanted = torch.tensor([1.0, -1.0, 1.0, 1.0])
    assert cut_off_error(found, wanted).tolist() == pytest.approx([0.0, 0.0, 0.1, 2.5])


def test_a_training_may_begin_with_a_trained_model(trained, tmp_path):
    state, _ = trained
    longer = replace(SHORT, autoencoder_steps=0, denoiser_steps=10)
    further = train_generator(longer, made_up_sites(), tmp_path, start=state.model)
    assert further.losses["autoencoder"] == []
    assert further.losses["denoiser"][-1][2] < state.losses["denoiser"][0][2]
    before, after = state.model.to_tensors(), further.model.to_tensors()
    for name, value in after.items():
        assert torch.equal(value, before[name]) == (not name.startswith("denoiser."))
    with pytest.raises(SettingsError, match="other blocks or networks"):
        train_generator(make_preset("tiny", default_classes()), made_up_sites(), tmp_path / "other", start=state.model)


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    broken = made_up_sites()
    settings = replace(SHORT, autoencoder_rate=1e30, autoencoder_steps=20)
    with pytest.raises(Diverged, match="no number"):
        train_generator(settings, broken, tmp_path)


def test_presets_are_ordered_by_size_and_the_tiny_one_fits_into_the_program():
    names = ("nano", "tiny", "short", "full")
    sizes = [num_parameters(make_preset(name, default_classes()).config) for name in names]
    assert sizes == sorted(sizes)
    assert 2 * sizes[1] <= 8_000_000  # bytes in half precision


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingsError, match="held out"):
        replace(nano(), held_out=6)
    with pytest.raises(SettingsError, match="steps"):
        replace(nano(), denoiser_steps=0)


def test_a_folder_with_a_training_is_not_written_over(tmp_path):
    check_new(tmp_path, resume=False)
    (tmp_path / "checkpoints").mkdir()
    check_new(tmp_path, resume=True)
    with pytest.raises(InputError, match="--resume"):
        check_new(tmp_path, resume=False)


def test_weights_of_other_networks_are_refused():
    tensors = make_model(nano().config, 0).to_tensors()
    tensors.pop("code_std")
    with pytest.raises(InputError, match="code_std"):
        model_from_tensors(nano().config, tensors, where="here")
