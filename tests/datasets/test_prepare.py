"""Local copies laid out like the public data sets: recognised, verified, and turned into captures with their split."""

import hashlib
import os
import shutil
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from scene3d.data.reading import read_capture
from scene3d.data.registry import read_photo_scale, read_registry
from tests.datasets.copies import HELD_OUT, copy_photos, run, split_names
from tests.datasets.copies import mega_nerf as mega_nerf
from tests.datasets.copies import names as names
from tests.datasets.copies import prepare as prepare
from tests.synthetic_captures import tiny_capture as tiny_capture

NUM_VIEWS = 12


@pytest.fixture
def small_rubble(prepare, monkeypatch):
    """A registry that knows how many photographs these copies have."""
    registry = read_registry()
    rubble = registry.datasets["rubble"]
    small = replace(rubble, num_images=NUM_VIEWS, num_train=NUM_VIEWS - 2, num_test=2)
    datasets = {**registry.datasets, "rubble": small}
    monkeypatch.setattr(prepare, "read_registry", lambda: replace(registry, datasets=datasets))


@pytest.fixture
def one_model(tiny_capture, names, tmp_path):
    """Mega-NeRF's photographs with one COLMAP model for all of them."""
    for part, own in (("train", [name for name in names if name not in HELD_OUT]), ("val", HELD_OUT)):
        copy_photos(tiny_capture, tmp_path / "copy" / part / "rgbs", own)
    shutil.copytree(tiny_capture / "sparse", tmp_path / "copy" / "sparse")
    return tmp_path / "copy"


@pytest.fixture
def garden(tiny_capture, tmp_path):
    """images/, images_4/ and sparse/0, as Mip-NeRF 360 comes."""
    folder = tmp_path / "copy"
    for name in ("images", "sparse"):
        shutil.copytree(tiny_capture / name, folder / name)
    (folder / "images_4").mkdir()
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            image.resize((16, 12)).save(folder / "images_4" / path.name)
    return folder


def test_mega_nerf_parts_keep_their_split(prepare, small_rubble, mega_nerf, names, tmp_path, capsys):
    run(prepare, "verify", "rubble", mega_nerf)
    assert "10 training and 2 held-out photographs\nas the registry says" in capsys.readouterr().out
    run(prepare, "convert", "rubble", mega_nerf, "--output", tmp_path / "rubble")
    train, test = split_names(tmp_path / "rubble")
    assert test == [f"val/{name}" for name in HELD_OUT]
    assert train == [f"train/{name}" for name in names if name not in HELD_OUT]


def test_photographs_are_linked_not_copied(prepare, small_rubble, mega_nerf, tmp_path):
    run(prepare, "convert", "rubble", mega_nerf, "--output", tmp_path / "rubble")
    made = tmp_path / "rubble" / "val" / "images" / HELD_OUT[0]
    assert os.path.samefile(made, mega_nerf / "val" / "rgbs" / HELD_OUT[0])


def test_where_no_hard_link_can_be_made_a_symbolic_one_is_and_else_a_copy(
    prepare, small_rubble, mega_nerf, tmp_path, monkeypatch, capsys
):
    def refuse(source, target):
        raise OSError("not here")

    monkeypatch.setattr(prepare.os, "link", refuse)
    run(prepare, "convert", "rubble", mega_nerf, "--output", tmp_path / "a")
    assert (tmp_path / "a" / "val" / "images" / HELD_OUT[0]).is_symlink()
    assert len(split_names(tmp_path / "a")[1]) == 2
    monkeypatch.setattr(prepare.os, "symlink", refuse)
    run(prepare, "convert", "rubble", mega_nerf, "--output", tmp_path / "b")
    assert not (tmp_path / "b" / "val" / "images" / HELD_OUT[0]).is_symlink()
    assert "files were copied" in capsys.readouterr().err


def test_one_model_takes_the_split_from_the_folders_of_the_photographs(
    prepare, small_rubble, one_model, names, tmp_path
):
    run(prepare, "convert", "rubble", one_model, "--output", tmp_path / "rubble")
    train, test = split_names(tmp_path / "rubble")
    assert test == list(HELD_OUT)
    assert train == [name for name in names if name not in HELD_OUT]
    assert len(read_capture(tmp_path / "rubble").points) > 100


def test_one_model_takes_the_split_from_a_list(prepare, small_rubble, tiny_capture, tmp_path):
    for name in ("images", "sparse"):
        shutil.copytree(tiny_capture / name, tmp_path / "copy" / name)
    run(prepare, "convert", "rubble", tmp_path / "copy", "--output", tmp_path / "no", code=4)
    (tmp_path / "copy" / "test.txt").write_text("0003.png\n0009\n")
    run(prepare, "convert", "rubble", tmp_path / "copy", "--output", tmp_path / "rubble")
    assert split_names(tmp_path / "rubble")[1] == list(HELD_OUT)


def test_without_a_split_a_copy_is_refused_in_one_line(prepare, tiny_capture, tmp_path, capsys):
    run(prepare, "verify", "rubble", tiny_capture, code=4)
    assert "nothing says which photographs are held out" in capsys.readouterr().err.splitlines()[-1]


def test_poses_that_are_pickles_are_never_read(prepare, mega_nerf, capsys):
    for part in ("train", "val"):
        shutil.rmtree(mega_nerf / part / "sparse")
        (mega_nerf / part / "metadata" / "000000.pt").write_bytes(b"\x80\x04.")
    run(prepare, "verify", "rubble", mega_nerf, code=4)
    assert "pickles (metadata/*.pt), which are never read" in capsys.readouterr().err


def test_what_is_missing_is_counted_and_makes_the_result_partial(prepare, small_rubble, mega_nerf, tmp_path, capsys):
    (mega_nerf / "train" / "rgbs" / "0000.png").unlink()
    (mega_nerf / "train" / "rgbs" / "0001.png").write_bytes(b"no picture")
    run(prepare, "verify", "rubble", mega_nerf, code=3)
    printed = capsys.readouterr().out
    assert "1 photographs have a pose but are missing (train/0000.png)" in printed
    assert "9 training photographs instead of 10" in printed
    assert "1 photographs cannot be read, such as train/images/0001.png" in printed


def test_every_eighth_view_is_held_out_and_shrunk_photographs_are_taken(prepare, garden, names, tmp_path, capsys):
    run(prepare, "convert", "mipnerf360-garden", garden, "--output", tmp_path / "made", code=3)
    assert "12 photographs instead of 185" in capsys.readouterr().err
    train, test = split_names(tmp_path / "made")
    assert test == names[::8]
    assert len(train) == 10
    capture = read_capture(tmp_path / "made")
    assert {(view.camera.width, view.camera.height) for view in capture.views} == {(16, 12)}
    assert read_photo_scale(tmp_path / "made") == 0.25


def test_without_shrunk_photographs_the_full_ones_are_taken(prepare, garden, tmp_path):
    shutil.rmtree(garden / "images_4")
    run(prepare, "convert", "mipnerf360-garden", garden, "--output", tmp_path / "made", code=3)
    assert read_photo_scale(tmp_path / "made") == 1.0


def test_a_folder_that_holds_something_is_left_alone(prepare, small_rubble, mega_nerf, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    run(prepare, "convert", "rubble", mega_nerf, "--output", tmp_path / "full", code=4)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    assert "holds something already" in capsys.readouterr().err


@pytest.mark.parametrize("copy", ["nowhere", "."])
def test_a_folder_that_is_none_of_the_layouts_is_refused_with_the_way_to_get_one(prepare, tmp_path, copy, capsys):
    run(prepare, "verify", "rubble", tmp_path / copy, code=4)
    assert "Mega-NeRF repository" in capsys.readouterr().err


def test_an_unknown_name_is_answered_with_the_closest(prepare, tmp_path, capsys):
    run(prepare, "verify", "ruble", tmp_path, code=4)
    assert "did you mean 'rubble'?" in capsys.readouterr().err


def test_a_download_without_a_known_hash_is_not_made(prepare, tmp_path, capsys):
    run(prepare, "fetch", "rubble", "--output", tmp_path, code=4)
    assert "no download of Rubble with a known hash" in capsys.readouterr().err
    run(prepare, "fetch", "rubble", "--output", tmp_path, "--url", "http://127.0.0.1:1/x", code=2)
    assert list(tmp_path.iterdir()) == []


def test_fetch_downloads_what_is_asked_for_and_checks_it(prepare, tmp_path, monkeypatch, capsys):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.zip").write_bytes(b"content")
    monkeypatch.setenv("no_proxy", "*")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *words):
            super().__init__(*words, directory=tmp_path / "served")

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/a.zip"
        words = ["fetch", "rubble", "--output", tmp_path / "out", "--url", url, "--sha256"]
        run(prepare, *words, hashlib.sha256(b"content").hexdigest())
        run(prepare, "fetch", "rubble", "-o", tmp_path / "other", "--url", url, "--sha256", "0" * 64, code=4)
        server.shutdown()
        thread.join()
    assert (tmp_path / "out" / "a.zip").read_bytes() == b"content"
    assert list((tmp_path / "other").iterdir()) == []
    assert "whole, with the right hash" in capsys.readouterr().out
