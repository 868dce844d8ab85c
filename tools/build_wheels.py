"""Builds one wheel per platform, each with its prebuilt CPU library, all from this machine; prints what it made.

zig's clang (the `ziglang` package) compiles for every platform. The first build for a platform takes minutes, because
zig makes its C++ library for it; later ones take seconds.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rasterizer.backends.cpu.build import write_prebuilt_record
from rasterizer.backends.cpu.cache import hash_sources
from rasterizer.backends.cpu.targets import Target, host_target
from rasterizer.backends.cpu.toolchain import Compiler, compile_library, find_zig

ROOT = Path(__file__).resolve().parents[1]
CPU_BACKEND = Path("rasterizer", "backends", "cpu")
PACKAGES = ("app", "blocks", "rasterizer", "scene3d")
STAGED_FILES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "setup.py",
    "MANIFEST.in",
    "datasets/registry.toml",
    "tools/build_viewer.py",
)
REGISTRY = "scene3d/data/registry.toml"
OLDEST_GLIBC = (2, 28)

# How a library of each platform begins, and where and how it names its processor.
MAGIC = {"linux": b"\x7fELF", "windows": b"MZ", "macos": b"\xcf\xfa\xed\xfe"}
ELF_MACHINE_AT, ELF_MACHINES = 18, {"x86_64": 62, "arm64": 183}


@dataclass(frozen=True, slots=True)
class Platform:
    """One wheel: what its library is compiled for, and the tag pip looks for."""

    target: Target
    tag: str


PLATFORMS = (
    Platform(Target("linux", "x86_64", "gnu.2.28"), "manylinux_2_28_x86_64"),
    Platform(Target("linux", "arm64", "gnu.2.28"), "manylinux_2_28_aarch64"),
    Platform(Target("windows", "x86_64"), "win_amd64"),
    Platform(Target("macos", "arm64"), "macosx_11_0_arm64"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the wheels")
    parser.add_argument("--only", choices=[platform.tag for platform in PLATFORMS], help="build one platform")
    arguments = parser.parse_args()
    compiler = find_zig()
    if compiler is None:
        print("the ziglang package is missing: pip install ziglang", file=sys.stderr)
        return 6
    arguments.output.mkdir(parents=True, exist_ok=True)
    for platform in PLATFORMS:
        if arguments.only in (None, platform.tag):
            wheel = build_wheel(platform, compiler, arguments.output.resolve())
            check_contents(wheel, platform)
            if is_host(platform.target):
                check_on_this_machine(wheel)
    return 0


def build_wheel(platform: Platform, compiler: Compiler, output: Path) -> Path:
    """Compile the library, stage the packages with it and build the wheel."""
    with tempfile.TemporaryDirectory(prefix="scene3d-wheel-") as folder:
        stage = Path(folder) / "stage"
        stage_sources(stage)
        start_s = time.perf_counter()
        library = stage / CPU_BACKEND / "lib" / platform.target.library_name
        library.parent.mkdir()
        compile_for_wheel(platform, compiler, library)
        compiled_s = time.perf_counter() - start_s
        made = Path(folder) / "made"
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(made)]
        command.append(f"-C--build-option=--plat-name={platform.tag}")
        done = subprocess.run([*command, str(stage)], capture_output=True, text=True, env=_build_environment())
        if done.returncode != 0:
            raise SystemExit(f"the wheel for {platform.tag} could not be built:\n{done.stdout}\n{done.stderr}")
        wheel = next(made.glob("*.whl"))
        kept = output / wheel.name
        shutil.move(wheel, kept)
        sizes = f"library {library.stat().st_size / 1e3:.0f} kB, wheel {kept.stat().st_size / 1e3:.0f} kB"
        print(f"{kept.name}: compiled in {compiled_s:.1f} s, {sizes}", flush=True)
        return kept


def stage_sources(stage: Path) -> None:
    """Copy what belongs into a wheel, without build leftovers and libraries made for this machine."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "lib")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, stage / package, ignore=ignored)
    for name in STAGED_FILES:
        if (ROOT / name).is_file():
            (stage / name).parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / name, stage / name)


def compile_for_wheel(platform: Platform, compiler: Compiler, library: Path) -> None:
    """Cross-compile the staged sources and record which sources they were."""
    sources = library.parents[1] / "src"
    with tempfile.TemporaryDirectory(prefix="scene3d-objects-") as objects:
        made = Path(objects) / library.name
        compile_library(sources, made, compiler, platform.target)
        shutil.copy2(made, library)
    write_prebuilt_record(library, hash_sources(sources), compiler.identity)


def check_contents(wheel: Path, platform: Platform) -> None:
    """Stop when the wheel lacks a part, carries a foreign one, or its library is of the wrong kind."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        library_name = (CPU_BACKEND / "lib" / platform.target.library_name).as_posix()
        foreign = {name.split("/")[0] for name in names if ".dist-info/" not in name} - set(PACKAGES)
        libraries = [name for name in names if name.endswith((".so", ".dll", ".dylib"))]
        problems = [f"foreign top-level entries {sorted(foreign)}"] if foreign else []
        if libraries != [library_name]:
            problems.append(f"libraries {libraries}, expected {library_name}")
        else:
            problems += _library_problems(archive.read(library_name), platform.target)
        needed = [(CPU_BACKEND / "src" / "kernels.cpp").as_posix(), f"{library_name}.json", REGISTRY]
        problems += [f"no {name}" for name in needed if name not in names]
    if problems:
        raise SystemExit(f"{wheel.name}: {'; '.join(problems)}")
    print(f"{wheel.name}: contents checked, {len(names)} files", flush=True)


def check_on_this_machine(wheel: Path) -> None:
    """Install the wheel into an empty folder and use its library there, with compiling forbidden."""
    with tempfile.TemporaryDirectory(prefix="scene3d-install-") as folder:
        target = Path(folder) / "site"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
        subprocess.run([*pip, str(wheel)], check=True)
        environment = {**os.environ, "PYTHONPATH": str(target), "SCENE3D_CPU_BUILD": "never"}
        environment |= {"SCENE3D_CACHE": str(Path(folder) / "cache"), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", _RENDER], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        if done.returncode != 0 or str(target) not in done.stdout:
            raise SystemExit(f"{wheel.name} does not work here:\n{done.stdout}\n{done.stderr}")
    isas = ", ".join(line.removeprefix("rendered on ") for line in done.stdout.splitlines()[:-1])
    print(f"{wheel.name}: installed, loaded without a compiler and rendered on {isas}", flush=True)


# One Gaussian right on a pixel's centre must show there with its own opacity, whatever the instruction set.
_RENDER = """
import torch
from rasterizer import rasterization
from rasterizer.backends.cpu.build import find_library
from rasterizer.backends.cpu.library import load_library
K = torch.tensor([[[20.0, 0, 16.5], [0, 20, 12.5], [0, 0, 1]]])
for isa in filter(load_library().has_isa, ("baseline", "v3", "v4")):
    load_library().set_isa(isa)
    _, alpha, _ = rasterization(
        torch.tensor([[0.0, 0, 2]]), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.2), torch.tensor([0.9]),
        torch.ones(1, 3), torch.eye(4)[None], K, 32, 24, backend="cpu",
    )
    center, corner = float(alpha[0, 12, 16, 0]), float(alpha[0, 0, 0, 0])
    assert abs(center - 0.9) < 1e-5 and corner == 0, (isa, center, corner)
    print("rendered on", isa)
print(find_library())
"""


def is_host(target: Target) -> bool:
    host = host_target()
    return (host.system, host.machine) == (target.system, target.machine) and host.libc != "musl"


def _library_problems(content: bytes, target: Target) -> list[str]:
    problems = [] if content.startswith(MAGIC[target.system]) else ["the library is of another system"]
    if target.system == "linux":
        machine = int.from_bytes(content[ELF_MACHINE_AT : ELF_MACHINE_AT + 2], "little")
        if machine != ELF_MACHINES[target.machine]:
            problems.append(f"the library is for ELF machine {machine}")
        versions = {(int(a), int(b)) for a, b in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)}
        if max(versions, default=(0, 0)) > OLDEST_GLIBC:
            problems.append(f"the library needs glibc {max(versions)}, later than {OLDEST_GLIBC}")
        if b"libstdc++" in content or b"libc++.so" in content:
            problems.append("the library needs a C++ library of the system")
    return problems


def _build_environment() -> dict[str, str]:
    """The time of the last commit goes into the archive, so that the same sources give the same wheel."""
    git = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    try:
        stamp = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return dict(os.environ)
    return {"SOURCE_DATE_EPOCH": stamp, **os.environ} if stamp else dict(os.environ)


if __name__ == "__main__":
    sys.exit(main())
