"""README says what the results say, and its commands exist."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _table_module() -> object:
    specification = importlib.util.spec_from_file_location("quality_table", ROOT / "tools" / "quality_table.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_table_is_the_one_of_the_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert _table_module().replace_table(text) == text  # type: ignore[attr-defined]


def test_every_command_named_is_one_of_the_program() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"scene3d (\w+)", " ".join(re.findall(r"`([^`]*)`", text)))) | {"reconstruct"}
    shown = subprocess.run(
        [sys.executable, "-m", "app.cli", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {name for name in named if name.islower() and name not in shown} <= {"COMMAND"}


def test_every_file_and_picture_linked_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
