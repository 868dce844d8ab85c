import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scene3d.config import (
    choose_preset,
    load_settings,
    read_record,
    settings_from_record,
    settings_to_record,
    write_settings,
)
from scene3d.errors import SettingsError
from scene3d.training.settings import ReconstructSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate: float = 0.5
    name: str = "plain"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise SettingsError(f"rate is {self.rate}; it must be zero or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    steps: int = 10
    mode: Literal["slow", "quick"] = "slow"
    loud: bool = False
    place: Path | None = None
    corner: tuple[float, float, float] = (0.0, 0.0, 0.0)
    names: tuple[str, ...] = ()
    marked: Annotated[int, "note"] = 3
    inner: Inner = field(default_factory=Inner)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_without_any_source_every_setting_keeps_its_default():
    assert load_settings(Outer) == Outer()


def test_an_empty_file_changes_nothing(tmp_path):
    assert load_settings(Outer, write(tmp_path / "c.yaml", "# nothing\n")) == Outer()


def test_a_flag_beats_the_file_and_the_file_beats_the_preset(tmp_path):
    file = write(tmp_path / "c.yaml", "marked: 2\nsteps: 2\ninner: {name: file}\n")
    preset = {"steps": 1, "marked": 1, "inner": {"rate": 0.1, "name": "preset"}}

    settings = load_settings(Outer, file, {"steps": 3}, preset=preset)

    assert settings == Outer(steps=3, marked=2, inner=Inner(rate=0.1, name="file"))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"stepz": 1}, "did you mean 'steps'"),
        ({"qqqqq": 1}, "known here: steps, mode"),
        ({"inner": {"raet": 1}}, r"unknown setting 'inner.raet'; did you mean 'rate'"),
        ({"inner": 3}, "inner is 3; it must be a group"),
        ({"steps": 1.5}, "steps is 1.5; it must be a whole number"),
        ({"steps": True}, "whole number"),
        ({"inner": {"rate": "quick"}}, r"inner.rate is 'quick'; it must be a number"),
        ({"inner": {"rate": math.nan}}, "a number"),
        ({"inner": {"rate": math.inf}}, "a number"),
        ({"inner": {"rate": -1}}, "rate is -1.0; it must be zero or more"),
        ({"loud": "yes please"}, "true or false"),
        ({"loud": 1}, "true or false"),
        ({"mode": "sloow"}, "must be slow or quick"),
        ({"place": 3}, "must be text"),
        ({"corner": [1, 2]}, "a list of 3"),
        ({"corner": [1, 2, "x"]}, r"corner\[2\]"),
        ({"names": "abc"}, "a list"),
        ({"inner": {"name": None}}, "must be text"),
        ({"inner": {"name": ["x" * 500]}}, r"\.\.\.; it must be text"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(record, message):
    with pytest.raises(SettingsError, match=message):
        settings_from_record(Outer, record)


@pytest.mark.parametrize("text", ["rate: 1e-3", "rate: 0.001", "rate: '0.001'", "rate: 1.0e-03"])
def test_every_common_way_to_write_a_small_number_is_understood(tmp_path, text):
    assert load_settings(Inner, write(tmp_path / "c.yaml", text)).rate == 0.001


def test_a_whole_number_may_be_written_with_an_exponent(tmp_path):
    assert load_settings(Outer, write(tmp_path / "c.yaml", "steps: 7e3")).steps == 7000


def test_large_whole_numbers_lose_no_digit():
    assert settings_from_record(Outer, {"steps": 2**62 + 1}).steps == 2**62 + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1\n- 2\n", "no mapping"),
        (b"3: 4\n", "no mapping"),
        (b"steps: [1,\n", "not readable as YAML"),
        (b"\xff\xfe\x00", "not readable as YAML"),
        (b"steps: 1\nsteps: 2\n", "'steps' stands there twice"),
        (b"a: &x [1]\nb: [*x, *x]\n", "aliases are not accepted"),
        (b"steps: !!python/object/apply:os.system ['true']\n", "not readable as YAML"),
        (b"[" * 200_000, "not readable as YAML"),
        (b"#" * (1024 * 1024 + 1), "no settings file"),
        (b"steps: 2024-13-45\n", "not readable as YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=message) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        read_record(tmp_path / "absent.yaml")
    with pytest.raises(SettingsError, match="directory"):
        read_record(tmp_path)


def test_an_error_in_the_file_names_the_file(tmp_path):
    path = write(tmp_path / "mine.yaml", "stepz: 3")
    with pytest.raises(SettingsError, match=r"mine\.yaml"):
        load_settings(Outer, path)


def test_settings_written_and_read_back_are_equal(tmp_path):
    settings = Outer(
        steps=7, mode="quick", loud=True, place=Path("ä b/c"), corner=(1e-9, 2.5, -3.0), names=("a", "7"), marked=0
    )
    write_settings(tmp_path / "c.yaml", settings)
    assert load_settings(Outer, tmp_path / "c.yaml") == settings


@given(
    iterations=st.integers(1, 10**9),
    rate=st.floats(0, 1e9),
    weight=st.floats(0, 1),
    background=st.sampled_from(["black", "white", "random"]),
)
def test_reconstruction_settings_survive_yaml(iterations, rate, weight, background):
    record = {
        "iterations": iterations,
        "background": background,
        "optimizer": {"means_lr": rate},
        "loss": {"ssim_weight": weight},
    }
    settings = settings_from_record(ReconstructSettings, record)

    again = settings_from_record(ReconstructSettings, yaml.safe_load(yaml.safe_dump(settings_to_record(settings))))

    assert again == settings
    assert (again.iterations, again.optimizer.means_lr, again.loss.ssim_weight) == (iterations, rate, weight)


def test_the_record_lists_every_setting():
    record = settings_to_record(ReconstructSettings())
    assert list(record) == [part.name for part in fields(ReconstructSettings)]
    assert record["density"]["every"] == ReconstructSettings().density.every


def test_an_unknown_preset_is_answered_with_the_known_ones():
    presets = {"fast": {"steps": 1}, "high": {"steps": 2}}
    assert choose_preset(presets, "high") == {"steps": 2}
    with pytest.raises(SettingsError, match="no preset 'hihg'; choose fast or high"):
        choose_preset(presets, "hihg")
