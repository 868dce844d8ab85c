"""README and the page on blocks say what the results say, and their commands and pictures exist."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/blocks.md")


def _table_module() -> object:
    specification = importlib.util.spec_from_file_location("quality_table", ROOT / "tools" / "quality_table.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_those_of_the_results(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert _table_module().replace_tables(page, text) == text  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_named_is_one_of_the_program(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"scene3d (\w+)", " ".join(re.findall(r"`([^`]*)`", text)))) | {"reconstruct"}
    shown = subprocess.run(
        [sys.executable, "-m", "app.cli", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {name for name in named if name.islower() and name not in shown} <= {"COMMAND"}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_picture_linked_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
