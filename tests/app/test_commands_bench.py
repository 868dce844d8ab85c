"""The benchmark command: a tiny capture run for real, and methods that fail."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from app import benching
from app.cli import main, parse
from app.commands.bench import Bench
from scene3d.data.registry import PREPARED_NAME
from scene3d.errors import InputError, LimitExceeded
from scene3d.lpips import network
from scene3d.training.settings import ReconstructSettings
from tests.app.bench_output import tables_of
from tests.synthetic_captures import tiny_capture as tiny_capture

ITERATIONS = "20"


def hide_weights(patch, folder) -> None:
    """LPIPS weights are looked for where there are none; SCENE3D_CACHE stays, for compiled kernels are there too."""
    patch.setenv("SCENE3D_WEIGHTS", str(folder / "no-weights"))
    patch.setattr(network, "user_weights_folder", lambda: folder / "no-cache")


@pytest.fixture(autouse=True)
def _no_weights_of_this_machine(monkeypatch, tmp_path):
    hide_weights(monkeypatch, tmp_path)
    monkeypatch.delenv("SCENE3D_DATA", raising=False)


@pytest.fixture(scope="module")
def data(tiny_capture, tmp_path_factory):
    """A folder of local copies: a scene called like a data set, with that data set's split in lists."""
    folder = tmp_path_factory.mktemp("data")
    capture = folder / "rubble"
    capture.mkdir()
    for name in ("images", "sparse"):
        shutil.copytree(tiny_capture / name, capture / name)
    (capture / "test.txt").write_text("0003\n0009\n")
    (capture / PREPARED_NAME).write_text('{"photo_scale": 0.5}')
    return folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """What one real call printed and wrote."""
    output = tmp_path_factory.mktemp("bench")
    words = ["bench", "rubble", "--data", str(data), "--methods", "single", "--iterations", ITERATIONS]
    with pytest.MonkeyPatch.context() as patch:
        hide_weights(patch, output)
        assert main([*words, "--output", str(output)]) == 0
    return SimpleNamespace(output=output, words=[*words, "--output", str(output)])


def record_of(output) -> dict:
    return json.loads((output / "bench.json").read_text())


def method(reconstruct) -> benching.Method:
    """A way to reconstruct of the test's own."""
    return benching.Method(make_settings=ReconstructSettings, reconstruct=reconstruct)


def test_a_data_set_is_run_under_its_published_protocol(finished):
    (capture,) = record_of(finished.output)["captures"]
    (ours,) = capture["rows"]
    assert (capture["name"], capture["title"], ours["method"]) == ("rubble", "Rubble", "single")
    assert capture["protocol"] == {"image_scale": 0.25, "lpips_net": "vgg", "photo_scale": 0.5}
    assert ours["image_scale"] == 0.25
    assert ours["iterations"] == int(ITERATIONS)
    assert (ours["split"], ours["num_views"]) == ("test.txt", 2)
    assert 5 < ours["raw"]["psnr_db"] < ours["corrected"]["psnr_db"] + 1
    config = (finished.output / "rubble" / "single" / "config.yaml").read_text()
    assert "image_scale: 0.5" in config  # of photographs that are at half their size already


def test_the_record_says_what_was_published_and_where_we_differ(finished):
    (capture,) = record_of(finished.output)["captures"]
    published = capture["published"]
    assert (published["image_scale"], published["lpips_net"], published["num_test"]) == (0.25, "vgg", 21)
    assert {"raw", "corrected"} == {each["protocol"] for each in published["rows"]}
    assert any("our held-out views are 2" in note and "published 21" in note for note in capture["notes"])
    assert any(note.startswith("single: no lpips (") for note in capture["notes"])


def test_the_record_does_not_depend_on_the_machine(finished, data):
    text = (finished.output / "bench.json").read_text()
    assert record_of(finished.output)["schema_version"] == 1
    for place in (finished.output, data):
        assert str(place) not in text
    assert "seconds" not in text
    assert "memory" not in text


def test_a_second_call_runs_nothing_again_and_says_the_same(finished, monkeypatch, capsys):
    import app.evaluating

    def never(*words, **more):
        raise AssertionError("this was run again")

    before = (finished.output / "bench.json").read_bytes()
    monkeypatch.setitem(benching.METHODS, "single", lambda: method(never))
    metrics = finished.output / "rubble" / "single" / "eval" / "metrics.json"
    record = json.loads(metrics.read_text())
    monkeypatch.setattr(app.evaluating, "evaluate_run", lambda *words, **more: (record, 0))
    assert main(finished.words) == 0
    printed = capsys.readouterr()
    assert "is finished already" in printed.err
    assert "* single" in printed.out
    assert (finished.output / "bench.json").read_bytes() == before


def test_a_run_with_other_settings_is_not_reported_as_this_one(finished, capsys):
    words = [("30" if word == ITERATIONS else word) for word in finished.words]
    saved = (finished.output / "bench.json").read_bytes()
    try:
        assert main(words) == 3
    finally:
        (finished.output / "bench.json").write_bytes(saved)
    assert "holds a run with other settings" in capsys.readouterr().out


def test_a_capture_of_ones_own_has_tables_without_published_rows(tiny_capture, tmp_path, monkeypatch, capsys):
    made = []

    def fake(capture, folder, settings, *, resume, reporter):
        made.append((capture, settings))
        raise InputError("nothing to see", where=capture, remedy="look elsewhere")

    monkeypatch.setitem(benching.METHODS, "fake", lambda: method(fake))
    words = ["bench", str(tiny_capture), "--output", str(tmp_path / "out"), "--methods", "fake", "--image-scale", "0.5"]
    assert main(words) == 3
    ((capture, settings),) = made
    assert capture == tiny_capture
    assert (settings.image_scale, settings.test_every) == (0.5, 8)
    assert settings.iterations == ReconstructSettings().iterations
    (kept,) = record_of(tmp_path / "out")["captures"]
    assert kept["published"] is None
    assert kept["rows"][0]["failure"] == "CAPTURE: nothing to see; look elsewhere"
    assert "fake failed: CAPTURE: nothing to see; look elsewhere" in capsys.readouterr().out


def test_one_method_that_fails_does_not_stop_the_others(data, tmp_path, monkeypatch, capsys):
    def too_large(capture, folder, settings, *, resume, reporter):
        raise LimitExceeded("needs 90 GB", remedy="use --image-scale")

    monkeypatch.setitem(benching.METHODS, "large", lambda: method(too_large))
    calls = []
    monkeypatch.setitem(
        benching.METHODS,
        "broken",
        lambda: calls.append(1) or method(lambda *words, **more: 1 / 0),
    )
    words = ["bench", "rubble", "--data", str(data), "--output", str(tmp_path), "--methods", "large", "broken"]
    assert main(words) == 3
    failures = [each["failure"] for each in record_of(tmp_path)["captures"][0]["rows"]]
    assert failures[0] == "needs 90 GB; use --image-scale"
    assert failures[1].startswith("ZeroDivisionError")
    assert calls == [1]
    raw = tables_of(capsys.readouterr().out)["raw"]
    assert [line.split()[:2] for line in raw[2:4]] == [["*", "large"], ["*", "broken"]]
    assert raw[2].endswith("failed")


def test_blocks_that_could_not_be_trained_make_the_result_partial(finished, data, tmp_path, monkeypatch, capsys):
    ends = []

    def in_blocks(capture, folder, settings, *, resume, reporter):
        ends.append(resume)
        shutil.copytree(finished.output / "rubble" / "single", folder, dirs_exist_ok=True)
        (folder / "bench.json").unlink()
        holes = (SimpleNamespace(block_id="b1"),) if len(ends) == 1 else ()
        return SimpleNamespace(holes=holes, num_blocks=4)

    monkeypatch.setitem(benching.METHODS, "blocks", lambda: method(in_blocks))
    words = ["bench", "rubble", "--data", str(data), "--output", str(tmp_path), "--methods", "blocks"]
    words += ["--iterations", ITERATIONS]
    assert main(words) == 3
    printed = capsys.readouterr().out
    assert "this run, 4 blocks" in printed
    assert "blocks: blocks b1 could not be trained" in printed
    assert main(words) == 0
    assert ends == [False, True]


def test_flags_become_settings():
    command = parse("bench", ["rubble", "./mine", "-o", "out", "--methods", "single", "--lpips-net", "vgg"])
    assert (command.names, command.methods, command.lpips_net) == (("rubble", "./mine"), ("single",), "vgg")
    assert Bench(names=("rubble",), output=command.output).methods == ("blocks", "single")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "out"], "nothing to measure is named"),
        (["rubble", "--output", "out", "--methods", "best"], "no method 'best'.*blocks, single"),
        (["rubble", "--output", "out", "--methods", "single", "single"], "one twice"),
        (["rubble", "--output", "out", "--image-scale", "2"], "above 0 and up to 1"),
        (["rubble", "--output", "out", "--iterations", "0"], "at least 1"),
    ],
)
def test_wrong_use_ends_with_2_and_one_line(words, message, capsys):
    assert main(["bench", *words]) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])


def test_every_method_that_is_promised_can_be_imported():
    for name, make in benching.METHODS.items():
        method = make()
        assert callable(method.reconstruct), name
        assert replace(method.make_settings(image_scale=0.5, test_every=8), iterations=3).iterations == 3
