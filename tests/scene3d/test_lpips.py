"""LPIPS reproduces the published distances, and says why when it cannot."""

import struct
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

from scene3d.errors import InputError, MissingPart
from scene3d.io.images import read_image
from scene3d.lpips.download import convert_weights, extract_tensors, fetch_lpips_weights
from scene3d.lpips.network import MIN_SIDE_PX, Lpips, expected_shapes, user_weights_folder, weights_name
from scene3d.seeding import make_generator
from tests.helpers import shared_weights


def random_weights(net: str) -> dict[str, torch.Tensor]:
    generator = make_generator(0, net)
    return {key: torch.rand(shape, generator=generator) / shape[0] for key, shape in expected_shapes(net).items()}


@pytest.fixture(autouse=True)
def _no_weights_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("SCENE3D_WEIGHTS", raising=False)
    monkeypatch.setenv("SCENE3D_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("net", "expected"), [("alex", (0.722, 0.138)), ("vgg", (0.5686, 0.4217))])
def test_published_distances_are_reproduced(net, expected):
    images = {
        name: torch.from_numpy(read_image(shared_weights(f"ex_{name}.png")).image) / 255 for name in ("ref", "p0", "p1")
    }
    network, reason = Lpips.load(net, shared_weights(weights_name(net)))
    assert reason == ""
    for name, distance in zip(("p0", "p1"), expected, strict=True):
        assert network.distance(images["ref"], images[name]) == pytest.approx(distance, abs=5e-4)
        assert network.distance(images[name], images["ref"]) == pytest.approx(distance, abs=5e-4)


def test_without_weights_there_is_a_reason_and_no_network():
    network, reason = Lpips.load("alex")
    assert network is None
    assert "lpips_alex.safetensors" in reason


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_smallest_images_work_and_smaller_ones_are_refused(net):
    network = Lpips(net, random_weights(net))
    side = MIN_SIDE_PX[net]
    image = torch.rand(side, side + 3, 3, generator=make_generator(1))
    assert network.distance(image, image) == 0
    assert network.distance(image, 1 - image) > 0
    with pytest.raises(InputError, match="at least"):
        network.distance(image[:-1], image[:-1])


def test_weights_are_found_in_order(monkeypatch, tmp_path):
    weights = random_weights("alex")
    for folder in (user_weights_folder(), tmp_path / "named", tmp_path / "given"):
        folder.mkdir(parents=True)
    bias = "features.0.bias"
    save_file({**weights, bias: weights[bias] + 1}, user_weights_folder() / weights_name("alex"))
    assert torch.equal(Lpips.load()[0].weights[bias], weights[bias] + 1)
    save_file({**weights, bias: weights[bias] + 2}, tmp_path / "named" / weights_name("alex"))
    monkeypatch.setenv("SCENE3D_WEIGHTS", str(tmp_path / "named"))
    assert torch.equal(Lpips.load()[0].weights[bias], weights[bias] + 2)
    save_file({**weights, bias: weights[bias] + 3}, tmp_path / "given" / weights_name("alex"))
    for given in (tmp_path / "given", tmp_path / "given" / weights_name("alex")):
        assert torch.equal(Lpips.load("alex", given)[0].weights[bias], weights[bias] + 3)


def test_weights_asked_for_must_be_right(tmp_path):
    with pytest.raises(InputError, match="there is no"):
        Lpips.load("alex", tmp_path)
    path = tmp_path / weights_name("alex")
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00no json!")
    with pytest.raises(InputError, match="cannot be read"):
        Lpips.load("alex", path)
    save_file(random_weights("alex"), path)
    with pytest.raises(InputError, match="not LPIPS weights of the network 'vgg'"):
        Lpips.load("vgg", path)


def serialised(weights: dict[str, torch.Tensor]) -> bytes:
    """Buffers as the source package stores them: marked, in order, convolutions [y, x, in, out], noise between."""
    content = b"\x80\x03}q\x00("
    for key, value in weights.items():
        stored = value.permute(2, 3, 1, 0) if value.ndim == 4 else value
        buffer = stored.contiguous().numpy().astype("<f4").tobytes()
        content += key.encode() + b"q\x01B" + struct.pack("<I", len(buffer)) + buffer + b"tq\x02b"
    return content


def test_tensors_are_cut_out_of_the_source_file():
    weights = random_weights("alex")
    extracted = extract_tensors(serialised(weights), "alex")
    assert extracted.keys() == weights.keys()
    assert all(torch.equal(extracted[key], weights[key]) for key in weights)


def test_a_source_file_cut_short_is_refused():
    with pytest.raises(InputError, match="not where they should be"):
        extract_tensors(serialised(random_weights("alex"))[:-3000], "alex")


def test_an_unknown_archive_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        convert_weights(b"not an archive", "alex", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_download_says_what_to_do(monkeypatch, tmp_path):
    def no_network(command, **_):
        assert "--require-hashes" in command
        return subprocess.CompletedProcess(command, 1, "", "some trace\nERROR: no connection\n")

    monkeypatch.setattr(subprocess, "run", no_network)
    with pytest.raises(MissingPart, match=r"no connection.*--lpips-weights"):
        fetch_lpips_weights(tmp_path)


def test_the_shared_weights_have_the_expected_tensors():
    for net in ("alex", "vgg"):
        weights = load_file(shared_weights(weights_name(net)))
        assert {key: tuple(value.shape) for key, value in weights.items()} == expected_shapes(net)
