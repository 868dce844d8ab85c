"""The decoder: its heads say what the modes promise, and the same seed draws the same one."""

import pytest
import torch

from scene3d.errors import SettingsError
from scene3d.gaussians.decoder import Decoder, decoder_checksum, flat_parameters, write_parameters
from scene3d.gaussians.decoder_shape import DecoderShape
from scene3d.seeding import make_generator

SMALL = {"num_features": 6, "num_hidden": 8, "num_offsets": 3, "sh_degree": 2}


def _decoder(mode: str = "static", seed: int = 0) -> Decoder:
    decoder = Decoder(DecoderShape(mode=mode, **SMALL), make_generator(seed))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=make_generator(seed, "more"))
    return decoder.requires_grad_(False)


def _features(num: int = 7) -> torch.Tensor:
    return torch.randn(num, 6, generator=make_generator(1))


def _directions(num: int = 7, seed: int = 2) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(num, 3, generator=make_generator(seed)), dim=1)


def test_the_same_generator_state_draws_the_same_decoder() -> None:
    shape = DecoderShape(**SMALL)
    assert decoder_checksum(Decoder(shape, make_generator(3))) == decoder_checksum(Decoder(shape, make_generator(3)))
    assert decoder_checksum(Decoder(shape, make_generator(3))) != decoder_checksum(Decoder(shape, make_generator(4)))


def test_an_untrained_decoder_shows_the_base_colour_at_the_start_opacity() -> None:
    decoder = Decoder(DecoderShape(**SMALL), make_generator(0))
    features = 0.1 * _features()
    with torch.no_grad():
        decoded = decoder(features)
    assert float((decoded.opacities - 0.1).abs().max()) < 0.02
    assert float((decoded.sh[:, :, 0] - features[:, None, :3]).abs().max()) < 0.1
    assert float(decoded.sh[:, :, 1:].abs().max()) == 0
    torch.testing.assert_close(
        torch.nn.functional.normalize(decoded.quats, dim=-1)[..., 0], torch.ones(7, 3), rtol=0, atol=0.01
    )


def test_lower_degrees_are_the_first_coefficients_of_higher_ones() -> None:
    decoder, features = _decoder(), _features()
    whole = decoder(features).sh.detach()
    assert whole.shape == (7, 3, 9, 3)
    assert float(whole[:, :, 4:].abs().max()) > 0
    for degree in (0, 1):
        torch.testing.assert_close(decoder(features, sh_degree=degree).sh.detach(), whole[:, :, : (degree + 1) ** 2])


def test_the_static_mode_does_not_depend_on_who_looks() -> None:
    decoder, features = _decoder(), _features()
    one, other = decoder(features, _directions()), decoder(features, _directions(seed=9))
    for name in ("opacity_logits", "log_shares", "quats", "sh"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_in_the_view_mode_every_head_depends_on_who_looks() -> None:
    decoder, features = _decoder("view"), _features()
    one, other = decoder(features, _directions()), decoder(features, _directions(seed=9))
    for name in ("opacity_logits", "log_shares", "quats", "sh"):
        assert float((getattr(one, name) - getattr(other, name)).detach().abs().max()) > 1e-3
    assert one.sh.shape == (7, 3, 1, 3)


def test_the_view_modes_opacity_is_tanh_where_that_is_positive_and_nothing_elsewhere() -> None:
    decoder, features, directions = _decoder("view"), _features(40), _directions(40)
    head = decoder.opacity(decoder.hidden(torch.cat([features, directions], 1)).relu().split(8, 1)[0])
    opacities = decoder(features, directions).opacities
    expected = head.tanh()
    assert bool((expected > 0.01).any())
    assert bool((expected < -0.01).any())
    positive = expected > 1e-3
    torch.testing.assert_close(opacities[positive], expected[positive], rtol=1e-4, atol=1e-6)
    assert float(opacities[expected < 0].max()) < 1 / 255


def test_gradients_of_the_view_mode_stay_finite_at_and_below_zero() -> None:
    decoder = _decoder("view").double().requires_grad_()
    with torch.no_grad():
        decoder.opacity.weight.zero_()
        decoder.opacity.bias.copy_(torch.tensor([0.0, -5.0, 30.0]))
    features = _features().double().requires_grad_()
    decoder(features, _directions().double()).opacities.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in decoder.parameters() if p.grad is not None)


def test_flat_parameters_are_written_back_in_their_order() -> None:
    decoder, twin = _decoder(seed=1), _decoder(seed=2)
    assert decoder_checksum(decoder) != decoder_checksum(twin)
    write_parameters(twin, flat_parameters(decoder))
    assert decoder_checksum(decoder) == decoder_checksum(twin)


def test_the_checksum_changes_with_any_parameter() -> None:
    before = decoder_checksum(_decoder())
    seen = {before}
    for name, _ in _decoder().named_parameters():
        decoder = _decoder()
        with torch.no_grad():
            dict(decoder.named_parameters())[name].reshape(-1)[-1].add_(1e-3)
        seen.add(decoder_checksum(decoder))
    assert len(seen) == 1 + len(list(_decoder().named_parameters()))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_features": 2}, "num_features"),
        ({"num_offsets": 0}, "num_offsets"),
        ({"num_hidden": 5000}, "num_hidden"),
        ({"sh_degree": 4}, "sh_degree"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        DecoderShape(**{**SMALL, **changes})
