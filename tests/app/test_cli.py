import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import cli
from app.cli import COMMANDS, find_names, main, parse
from app.commands.reconstruct import Reconstruct
from app.settings_flags import PRESETS, find_flag
from blocks.settings import RunSettings
from rasterizer.errors import BackendUnavailable
from scene3d.config import settings_from_record, write_settings
from scene3d.errors import InputError, LimitExceeded, SettingsError
from scene3d.training.settings import LossSettings

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "gradio", "pycolmap", "gsplat", "scipy", "rasterizer")

PROBE = """
import sys
from app.cli import main
code = main(sys.argv[2:])
print("LOADED", [name for name in sys.argv[1].split(",") if name in sys.modules])
sys.exit(code)
"""


def run_python(*words: str, code: str = PROBE, heavy: tuple[str, ...] = HEAVY) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh interpreter that says at the end which heavy modules it loaded."""
    command = [sys.executable, "-c", code, ",".join(heavy), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Stands in for the real one."""

    wait: float = 0.0
    """A flag."""


@pytest.fixture
def command(monkeypatch):
    """Makes `doctor` run a function of the test's choice."""

    def install(run):
        module = SimpleNamespace(Doctor=Doctor, run=lambda settings, reporter: run())
        monkeypatch.setattr(cli, "_load", lambda name: module)

    return install


def fail_with(error):
    def run():
        raise error

    return run


def test_help_loads_nothing_heavy_and_lists_every_command():
    done = run_python("--help", heavy=(*HEAVY, "numpy", "tyro", "rich", "yaml.nodes"))
    assert done.returncode == 0
    assert "LOADED []" in done.stdout
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_loads_nothing_heavy(name):
    done = run_python(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
    assert f"usage: scene3d {name}" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_settings_that_explain_themselves(name):
    module_name, class_name = find_names(name)
    module = importlib.import_module(f"app.commands.{module_name}")
    settings = getattr(module, class_name)
    assert settings.__dataclass_params__.frozen
    assert settings.__doc__
    assert not settings.__doc__.startswith(settings.__name__ + "(")
    assert callable(module.run)


def test_every_flag_of_reconstruct_has_a_help_text():
    text = run_python("reconstruct", "--help").stdout
    body = re.sub(r"[│╭╮╰╯─]", " ", text)
    flags = re.findall(r"^\s+(--[a-z.-]+)((?: \S+)*)\s*(.*?)(?=^\s+-)", body, re.MULTILINE | re.DOTALL)
    assert len(flags) > 20
    assert [flag for flag, *rest in flags if len(" ".join(rest).split()) < 3] == []


def test_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"scene3d \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_without_a_command_the_overview_comes_with_the_code_for_wrong_use(capsys):
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recnstruct"], "there is no command 'recnstruct'; did you mean 'reconstruct'?"),
        (["xyzzy"], "see `scene3d --help`"),
        (["--verbose"], "there is no command '--verbose'"),
        (["reconstruct"], "Missing from scene3d reconstruct: CAPTURE -o PATH, --output PATH"),
        (["reconstruct", "a", "-o", "b", "--iteratons", "3"], "--iteratons"),
        (["reconstruct", "a", "-o", "b", "--image-scal", "3"], "did you mean --image-scale?"),
        (["reconstruct", "a", "-o", "b", "--iterations", "many"], "--iterations"),
        (["reconstruct", "a", "-o", "b", "--iterations", "0"], "iterations is 0; it must be at least 1"),
        (["reconstruct", "a", "-o", "b", "--loss.ssim-weight", "2"], "loss.ssim_weight is 2.0"),
        (["reconstruct", "a", "-o", "b", "--preset", "slow"], "choose fast, default or high"),
        (["reconstruct", "a", "-o", "b", "--config", "/nowhere.yaml"], "/nowhere.yaml: No such file"),
        (["reconstruct", "a", "-o", "b", "--backend", "magic"], "magic"),
        (["doctor", "extra"], "extra"),
    ],
)
def test_wrong_use_ends_with_2_and_one_line_on_stderr(words, message, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("scene3d: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no photographs", where="x"), 4),
        (LimitExceeded("too much"), 5),
        (BackendUnavailable("gsplat", "no CUDA device"), 6),
        (KeyboardInterrupt(), 130),
        (ValueError("a fault"), 1),
    ],
)
def test_an_error_inside_a_command_becomes_its_exit_code_and_one_line(command, capsys, error, code):
    command(fail_with(error))
    assert main(["doctor"]) == code
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


def test_debug_shows_the_trace_wherever_it_stands(command, capsys):
    command(fail_with(ValueError("a fault")))
    for words in (["--debug", "doctor"], ["doctor", "--debug"]):
        assert main(words) == 1
        assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 3, 4, 6])
def test_a_command_chooses_its_own_exit_code(command, code):
    command(lambda: code)
    assert main(["doctor"]) == code


@pytest.mark.parametrize("words", [["--help"], ["clean", "--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_stops_reading_is_no_error(words, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "app.cli", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=50, env=environment
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 0


def settings_of(*words: str) -> RunSettings:
    return parse("reconstruct", ["CAPTURE", "--output", "RUN", *words]).settings


def test_flags_reach_the_settings_they_name():
    settings = settings_of("--image-scale", ".5", "--iterations", "2000", "--loss.opacity-weight=0.01")
    assert settings == RunSettings(image_scale=0.5, iterations=2000, loss=LossSettings(opacity_weight=0.01))


def test_blocks_in_turns_on_two_workers_are_a_few_flags():
    words = (
        "--field",
        "anchors",
        "--blocks",
        "4",
        "--turns.accumulate",
        "2",
        "--workers",
        "2",
        "--turns.offload",
        "disk",
    )
    settings = settings_of(*words)
    assert (settings.field, settings.blocks, settings.workers, settings.ray) == ("anchors", 4, 2, None)
    assert (settings.turns.accumulate, settings.turns.offload) == (2, "disk")
    assert settings.needs_ray
    assert settings_of("--ray", "auto").needs_ray
    assert not settings_of().needs_ray


@pytest.mark.parametrize(("words", "blocks"), [((), "auto"), (("--blocks", "auto"), "auto"), (("--blocks", "4"), 4)])
def test_the_number_of_blocks_is_a_number_or_auto(words, blocks, tmp_path):
    settings = settings_of(*words)
    assert settings == RunSettings(blocks=blocks)
    write_settings(tmp_path / "config.yaml", settings)
    assert settings_of("--config", str(tmp_path / "config.yaml")) == settings


def test_another_number_of_blocks_is_refused():
    for word in ("0", "some", "1.5"):
        with pytest.raises(SettingsError, match="blocks"):
            settings_of("--blocks", word)


def test_the_command_itself_keeps_what_is_no_setting():
    parsed = parse("reconstruct", ["CAPTURE", "-o", "RUN", "--resume", "--no-evaluate"])
    assert parsed == Reconstruct(capture=Path("CAPTURE"), output=Path("RUN"), resume=True, evaluate=False)


def test_every_preset_makes_valid_settings_that_differ():
    made = [settings_from_record(RunSettings, record) for record in PRESETS.values()]
    assert len({repr(settings) for settings in made}) == len(PRESETS)
    assert settings_of() == made[list(PRESETS).index("default")]


def test_a_flag_beats_the_file_which_beats_the_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("iterations: 11\nseed: 12\n")
    settings = settings_of("--preset", "fast", "--config", str(file), "--seed", "13")
    assert (settings.image_scale, settings.iterations, settings.seed) == (PRESETS["fast"]["image_scale"], 11, 13)


def test_a_resumed_run_takes_up_its_own_settings(tmp_path):
    write_settings(tmp_path / "config.yaml", RunSettings(iterations=77, seed=5))
    words = ["CAPTURE", "--output", str(tmp_path), "--seed", "6"]
    assert parse("reconstruct", [*words, "--resume"]).settings == RunSettings(iterations=77, seed=6)
    assert parse("reconstruct", words).settings == RunSettings(seed=6)


def test_an_unknown_key_in_the_file_is_refused_with_a_proposal(tmp_path):
    (tmp_path / "mine.yaml").write_text("iteratons: 11\n")
    with pytest.raises(SettingsError, match=r"mine.yaml: unknown setting 'iteratons'; did you mean 'iterations'"):
        settings_of("--config", str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--preset", "fast"], "fast"),
        (["--preset=fast"], "fast"),
        (["--preset", "fast", "--preset", "high"], "high"),
        (["x", "--presets", "fast"], None),
        (["--preset"], None),
        ([], None),
    ],
)
def test_a_flag_is_found_the_way_the_parser_would(words, value):
    assert find_flag(words, "--preset") == value
