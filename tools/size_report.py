"""Prints the ten largest files and functions; fails when one passes the wall: 400 lines a file, 80 a function.

The docstring of a function does not count: saying more about it is no fault.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("rasterizer", "scene3d", "blocks", "app", "tools", "benchmarks", "tests")
FILE_WALL = 400
FUNCTION_WALL = 80
ALLOWED: dict[str, int] = {}
"""Name to size of what may stand above the wall; entries may be lowered or removed, never added."""

Size = tuple[int, str]


def measure(path: Path) -> tuple[Size, list[Size]]:
    """Lines of one file and of each function in it."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    functions = [
        (count_lines(node) - (count_lines(node.body[0]) if ast.get_docstring(node) else 0), f"{name}:{node.name}")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return (len(text.splitlines()), name), functions


def count_lines(node: ast.stmt) -> int:
    """Lines from the first to the last of a statement."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def find_source_files() -> Iterator[Path]:
    """Every Python file of the project."""
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def find_too_large(sizes: list[Size], wall: int) -> list[str]:
    """One line for each that is above the wall, or above its own entry in the allow-list."""
    return [f"{name} has {lines} lines; the wall is {wall}" for lines, name in sizes if lines > ALLOWED.get(name, wall)]


def main() -> int:
    """Print the report; 1 when something is too large or the allow-list names something that no longer needs it."""
    measured = [measure(path) for path in find_source_files()]
    files = sorted((file for file, _ in measured), reverse=True)
    functions = sorted((each for _, inside in measured for each in inside), reverse=True)
    for title, sizes in (("files", files), ("functions", functions)):
        print(f"largest {title}: " + ", ".join(f"{name} {lines}" for lines, name in sizes[:10]))
    walls = {
        name: (lines, wall) for sizes, wall in ((files, FILE_WALL), (functions, FUNCTION_WALL)) for lines, name in sizes
    }
    problems = find_too_large(files, FILE_WALL) + find_too_large(functions, FUNCTION_WALL)
    for name in ALLOWED:
        lines, wall = walls.get(name, (0, 0))
        if lines <= wall:
            problems.append(f"{name} is below the wall now; take it off the allow-list")
    print("\n".join(problems) or "no file and no function above the wall")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
