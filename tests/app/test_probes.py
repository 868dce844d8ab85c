import sys

import pytest

from app import probes
from app.probes import Probe, ask, probe_machine, probe_rasterizers


def test_a_question_that_fails_is_an_answer():
    def explode():
        raise RuntimeError("no\nluck")

    assert list(ask([("thing", explode)])) == [Probe("thing", "no", "asking failed: RuntimeError: no luck")]


def test_every_answer_is_one_line():
    for probe in probe_machine():
        assert probe.detail
        assert "\n" not in probe.detail


def test_a_broken_rasterizer_does_not_stop_the_doctor(monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterizer", None)
    (probe,) = probe_rasterizers()
    assert (probe.name, probe.state) == ("rasterizers", "no")


def test_each_backend_is_listed_with_its_reason():
    listed = {probe.name: probe for probe in probe_rasterizers()}
    assert listed["rasterizer reference"].state == "yes"
    assert all(probe.detail for probe in listed.values())


def test_a_package_that_is_missing_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(probes.importlib.util, "find_spec", lambda name: None)
    listed = {probe.name: probe for probe in ask(probes.QUESTIONS)}
    assert listed["pycolmap"] == Probe(
        "pycolmap", "optional", "not installed, so no camera poses from plain photographs; `pip install pycolmap`"
    )
    assert listed["video encoder"].state == "optional"


@pytest.mark.parametrize(("free", "state"), [(1, "optional"), (100 * 2**30, "yes"), (None, "yes")])
def test_little_memory_is_said(monkeypatch, free, state):
    monkeypatch.setattr(probes, "find_free_memory_bytes", lambda: free)
    listed = {probe.name: probe for probe in ask(probes.QUESTIONS)}
    assert listed["memory"].state == state


def test_weights_are_found_where_the_environment_points(monkeypatch, tmp_path):
    monkeypatch.setenv("SCENE3D_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("SCENE3D_CACHE", str(tmp_path / "cache"))
    listed = {probe.name: probe for probe in ask(probes.QUESTIONS)}
    assert listed["LPIPS alex"].state == "optional"
    assert str(tmp_path) in listed["LPIPS alex"].detail
    assert listed["cache folder"].detail.startswith(str(tmp_path / "cache"))
