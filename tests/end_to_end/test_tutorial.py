"""The tutorial's commands, in their order, as they stand on the page."""

import re
import shlex
from pathlib import Path

import pytest

from app.cli import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def _commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.mark.timeout(240)
def test_the_tutorial_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = _commands()
    assert len(commands) >= 8
    for program, *words in commands:
        assert program == "scene3d"
        assert main(words) == 0, " ".join(words)
    for product in ("run/report.html", "run/merged/scene.ply"):
        assert (tmp_path / "town" / product).is_file()
    for product in ("first/eval/metrics.json", "first/report.html", "clean.ply", "scene.spz", "orbit.gif", "plan.png"):
        assert (tmp_path / "town" / product).is_file(), product
    assert len(list((tmp_path / "town" / "large" / "blocks").iterdir())) == 2
    assert list((tmp_path / "town" / "pictures").rglob("*.png"))
