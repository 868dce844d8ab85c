"""Lists the public names of every module into tests/api_surface.json; run it after adding or removing one."""

import ast
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("rasterizer", "scene3d", "blocks", "app")
SURFACE = ROOT / "tests" / "api_surface.json"


def find_public_names(source: str) -> list[str]:
    """Names a module offers: those of `__all__` where it has one, else what it defines without a leading underscore."""
    defined: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
            continue
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if "__all__" in names and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            return sorted(ast.literal_eval(node.value))
        defined.update(names)
    return sorted(name for name in defined if not name.startswith("_"))


def describe() -> dict[str, list[str]]:
    """Public names by module, for every module that is itself public and offers any."""
    surface = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            names = find_public_names(path.read_text(encoding="utf-8"))
            if names and not any(part.startswith("_") for part in parts):
                surface[".".join(parts)] = names
    return surface


def main() -> int:
    """Write the list."""
    SURFACE.write_text(json.dumps(describe(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
