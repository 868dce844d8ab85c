import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def size_report(tmp_path, monkeypatch):
    """The tool, looking at an empty project of its own."""
    spec = importlib.util.spec_from_file_location("size_report", ROOT / "tools" / "size_report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ALLOWED", {})
    (tmp_path / "scene3d").mkdir()
    return module


def write(root: Path, lines: int, name: str = "a.py") -> None:
    (root / "scene3d" / name).write_text("x = 1\n" * lines)


def test_a_file_at_the_wall_passes_and_one_line_more_fails(size_report, tmp_path, capsys):
    write(tmp_path, 400)
    assert size_report.main() == 0
    write(tmp_path, 401)
    assert size_report.main() == 1
    assert "scene3d/a.py has 401 lines; the wall is 400" in capsys.readouterr().out


def test_a_function_at_the_wall_passes_and_one_line_more_fails(size_report, tmp_path, capsys):
    for body, code in ((79, 0), (80, 1)):
        (tmp_path / "scene3d" / "a.py").write_text("def f():\n" + "    x = 1\n" * body)
        assert size_report.main() == code
    assert "scene3d/a.py:f has 81 lines; the wall is 80" in capsys.readouterr().out


def test_a_docstring_does_not_make_a_function_large(size_report, tmp_path):
    text = 'def f():\n    """\n' + "    word\n" * 90 + '    """\n' + "    x = 1\n" * 79
    (tmp_path / "scene3d" / "a.py").write_text(text)
    assert size_report.main() == 0
    (tmp_path / "scene3d" / "a.py").write_text(text + "    x = 1\n")
    assert size_report.main() == 1


def test_an_entry_of_the_allow_list_that_is_not_needed_fails(size_report, tmp_path, monkeypatch):
    monkeypatch.setattr(size_report, "ALLOWED", {"scene3d/a.py": 450})
    write(tmp_path, 450)
    assert size_report.main() == 0
    write(tmp_path, 451)
    assert size_report.main() == 1
    write(tmp_path, 400)
    assert size_report.main() == 1


def test_the_ten_largest_are_printed_largest_first(size_report, tmp_path, capsys):
    for size in range(1, 13):
        write(tmp_path, size, f"m{size}.py")
    size_report.main()
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("largest files: scene3d/m12.py 12, scene3d/m11.py 11")
    assert line.count("scene3d/") == 10
