import ast
import importlib
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FACADES = ("rasterizer",)


def load_tool():
    spec = importlib.util.spec_from_file_location("api_surface", ROOT / "tools" / "api_surface.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_public_names_is_up_to_date():
    recorded = json.loads((ROOT / "tests" / "api_surface.json").read_text(encoding="utf-8"))
    assert load_tool().describe() == recorded, "run tools/api_surface.py and look at what changed"


@pytest.mark.parametrize("name", FACADES)
def test_every_name_a_facade_promises_is_there(name):
    module = importlib.import_module(name)
    assert [each for each in module.__all__ if not hasattr(module, each)] == []


def test_public_names_are_found_and_private_ones_left_out():
    source = "import os\nfrom a import b\n_x = 1\nY: int = 2\nZ = 3\ndef f(): ...\ndef _g(): ...\nclass C: ..."
    assert load_tool().find_public_names(source) == ["C", "Y", "Z", "f"]


def test_a_module_that_lists_its_names_is_taken_at_its_word():
    assert load_tool().find_public_names("from a import b\nc = 1\n__all__ = ['b']") == ["b"]


def test_every_public_function_and_class_says_what_it_is():
    bare = []
    for package in ("rasterizer", "scene3d", "blocks", "app"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
                if public and not ast.get_docstring(node):
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert bare == []
