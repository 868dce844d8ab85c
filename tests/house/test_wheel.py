"""What a wheel built from this tree holds, and that it works where it is installed."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools.build_wheels import PLATFORMS, REGISTRY, check_contents, stage_sources

PACKAGES = {"app", "blocks", "rasterizer", "scene3d"}
NEVER_SHIPPED = ("benchmarks", "datasets", "docs", "tests", "tools")
CPU_SOURCES = Path("rasterizer/backends/cpu/src")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the tree whose other folders all look like packages."""
    folder = tmp_path_factory.mktemp("wheel")
    stage_sources(folder / "stage")
    for name in NEVER_SHIPPED:
        (folder / "stage" / name).mkdir(exist_ok=True)
        (folder / "stage" / name / "__init__.py").touch()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "made")]
    done = subprocess.run([*command, str(folder / "stage")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (folder / "made").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel in it."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-compile", "--target", str(target), str(wheel)], check=True)
    return target


def run_installed(installed: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=installed.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_our_four_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top_level = {name.split("/")[0] for name in names}
    assert {name for name in top_level if not name.endswith(".dist-info")} == PACKAGES


def test_the_wheel_holds_every_module_of_the_tree(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert modules - names == set()


def test_the_wheel_holds_the_kernel_sources_and_no_library_made_here(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / CPU_SOURCES).iterdir()}
    assert sources <= names
    assert {"rasterizer/backends/cpu/src/kernels.cpp", "rasterizer/backends/cpu/src/abi.h"} <= names
    assert not [name for name in names if name.endswith((".so", ".dll", ".dylib"))]


def test_the_wheel_holds_the_bundled_viewer_with_the_licences_of_others_and_not_its_sources(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"app/viewer/static/{name}" for name in ("scene.js", "share.js", "viewer.css", "LICENCES.txt")} <= names
    assert not [name for name in names if name.startswith("app/viewer/web/") or "node_modules" in name]


def test_the_wheel_holds_licence_and_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (licence,) = [name for name in archive.namelist() if name.endswith("dist-info/licenses/LICENSE")]
    assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert b"scene3d = app.cli:main" in archive.read(entry_points)


def test_an_installed_wheel_is_imported_from_where_it_was_installed(installed: Path) -> None:
    code = "import app, blocks, rasterizer, scene3d; print(app.__file__, rasterizer.__file__, scene3d.__file__)"
    places = run_installed(installed, code).split()
    assert len(places) == 3
    assert all(Path(place).is_relative_to(installed) for place in places)


def test_an_installed_wheel_knows_how_to_get_its_cpu_library(installed: Path) -> None:
    code = "from rasterizer.backends.cpu.build import SOURCES, explain; print(SOURCES); print(explain())"
    sources, reason = run_installed(installed, code).splitlines()
    assert Path(sources) == installed / CPU_SOURCES
    assert "compile" in reason


def test_an_installed_wheel_reads_its_own_registry_of_data_sets(installed: Path) -> None:
    code = (
        "from scene3d.data.registry import find_registry, read_registry; print(find_registry());"
        "print(read_registry().find('rubble').num_images)"
    )
    place, num_images = run_installed(installed, code).splitlines()
    assert Path(place) == installed / REGISTRY
    assert Path(place).read_bytes() == (ROOT / "datasets" / "registry.toml").read_bytes()
    assert num_images == "1678"


def test_a_source_distribution_holds_the_registry_that_its_wheel_needs(tmp_path: Path) -> None:
    stage_sources(tmp_path / "stage")
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path / "made")]
    done = subprocess.run([*command, str(tmp_path / "stage")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (tmp_path / "made").glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"datasets/registry.toml", "setup.py", "MANIFEST.in"} <= names


ELF_X86_64 = b"\x7fELF" + bytes(14) + (62).to_bytes(2, "little")
LIBRARY = "rasterizer/backends/cpu/lib/libscene3d_cpu-linux-x86_64.so"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, None),
        ({"datasets/__init__.py": b""}, "foreign top-level entries"),
        ({LIBRARY: b"MZ" + bytes(40)}, "another system"),
        ({LIBRARY: ELF_X86_64.replace((62).to_bytes(2, "little"), (183).to_bytes(2, "little"))}, "ELF machine 183"),
        ({LIBRARY: ELF_X86_64 + b"GLIBC_2.35"}, "needs glibc"),
        ({LIBRARY: ELF_X86_64 + b"libstdc++.so.6"}, "library of the system"),
        ({LIBRARY: None}, "expected"),
        ({f"{LIBRARY}.json": None}, "no .*json"),
        ({REGISTRY: None}, "no scene3d/data/registry.toml"),
    ],
)
def test_a_platform_wheel_that_would_not_work_is_refused(
    tmp_path: Path, changes: dict[str, bytes | None], complaint: str | None
) -> None:
    content: dict[str, bytes | None] = {
        "rasterizer/__init__.py": b"",
        "rasterizer/backends/cpu/src/kernels.cpp": b"",
        LIBRARY: ELF_X86_64 + b"GLIBC_2.17",
        f"{LIBRARY}.json": b"{}",
        REGISTRY: b"",
    }
    with zipfile.ZipFile(tmp_path / "made.whl", "w") as archive:
        for name, data in (content | changes).items():
            if data is not None:
                archive.writestr(name, data)
    if complaint is None:
        check_contents(tmp_path / "made.whl", PLATFORMS[0])
        return
    with pytest.raises(SystemExit, match=complaint):
        check_contents(tmp_path / "made.whl", PLATFORMS[0])
