import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rasterizer", "scene3d", "blocks", "app")
FOLDERS = (*PACKAGES, "tools", "benchmarks", "datasets", "tests")

BANNED_NAMES = {"eval", "exec", "__import__"}
BANNED_CALLS = {
    "pickle.load",
    "pickle.loads",
    "pickle.dump",
    "pickle.dumps",
    "torch.save",
    "torch.load",
    "torch.manual_seed",
    "numpy.empty",
    "numpy.random.seed",
    "numpy.random.rand",
    "numpy.random.randn",
    "numpy.random.randint",
    "random.seed",
    "random.random",
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "os.system",
    "os.popen",
    "tempfile.mktemp",
    "shutil.unpack_archive",
}
BANNED_METHODS = {"extractall"}
ALIASES = {"np": "numpy"}

# Written in pieces, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers")) + ")/[a-z]"
)
REGISTRIES = (
    "py" + "pi.org",
    "python" + "hosted.org",
    "download.py" + "torch.org",
    "registry.np" + "mjs",
    "conda" + ".org",
)


def source_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append(ALIASES.get(node.id, node.id))
    return ".".join(reversed(parts))


def find_banned(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name == "numpy.load" and any(w.arg == "allow_pickle" and _is_false(w.value) for w in node.keywords):
                continue
            if name in BANNED_NAMES | BANNED_CALLS or name.rsplit(".", 1)[-1] in BANNED_METHODS:
                yield node.lineno, name
            for word in node.keywords:
                if word.arg in ("shell", "allow_pickle") and not _is_false(word.value):
                    yield node.lineno, f"{name}({word.arg}=...)"
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for module in modules:
                if module and module.split(".")[0] in ("pickle", "dill", "cloudpickle", "marshal", "shelve"):
                    yield node.lineno, f"import {module}"


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def calls(tree: ast.AST, *names: str) -> list[int]:
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and dotted(node.func) in names]


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


@pytest.mark.parametrize(
    "code",
    [
        "pickle.load(f)",
        "import pickle",
        "from pickle import loads",
        "np.empty(3)",
        "torch.load(p)",
        "eval('1')",
        "archive.extractall(p)",
        "subprocess.run('x', shell=True)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(x, Loader=y)",
    ],
)
def test_the_search_finds_what_it_looks_for(code):
    assert list(find_banned(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["yaml.safe_load(x)", "model.eval()", "np.zeros(3)", "run(x, shell=False)", "a.load(f)"]
)
def test_the_search_leaves_harmless_calls_alone(code):
    assert not list(find_banned(ast.parse(code)))


def test_no_banned_call_is_in_the_tree():
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in source_files(*FOLDERS)
        for line, name in find_banned(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_only_the_application_prints_and_only_the_command_line_exits():
    found = []
    for path in source_files(*PACKAGES):
        tree, name = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(ROOT).as_posix()
        if not name.startswith("app/"):
            found += [f"{name}:{line} print" for line in calls(tree, "print")]
        if name != "app/cli.py":
            found += [f"{name}:{line} exit" for line in calls(tree, "sys.exit", "exit", "quit", "os._exit")]
    assert found == []


def test_no_package_postpones_its_annotations():
    # Shapes are checked at run time; postponed annotations would switch the check off without a word.
    found = [
        path for path in source_files(*PACKAGES) if "from __future__ import annotations" in path.read_text("utf-8")
    ]
    assert found == []


def test_every_module_opens_with_one_sentence():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in source_files(*PACKAGES)}
    bare = [str(path.relative_to(ROOT)) for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    assert bare == []


def test_no_tracked_file_names_a_machine_path_or_a_package_registry():
    found = []
    for path in tracked_files():
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATHS.search(line) or any(host in line for host in REGISTRIES):
                found.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}")
    assert found == []
