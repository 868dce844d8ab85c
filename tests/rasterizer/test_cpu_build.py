"""Finding, compiling and keeping the CPU library; small stand-in sources keep it quick."""

import ctypes
import logging
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from rasterizer.backends.cpu import build, toolchain
from rasterizer.backends.cpu.build import BuildError, explain, find_library
from rasterizer.backends.cpu.cache import hash_sources
from rasterizer.backends.cpu.targets import Target, host_target

REAL_SOURCES = build.SOURCES

KERNELS = """
inline __attribute__((noinline)) int level_of_the_copy() {
#if defined(__AVX512F__)
    return 4;
#elif defined(__AVX2__)
    return 3;
#else
    return 1;
#endif
}
namespace SCENE3D_ISA_NS { int level() { return level_of_the_copy(); } }
"""
INTERFACE = """
#include "cpu_level.h"
#include <vector>
#if defined(_WIN32)
#define API extern "C" __declspec(dllexport)
#else
#define API extern "C" __attribute__((visibility("default")))
#endif
namespace isa_baseline { int level(); }
API int s3d_answer() { return 42; }
API int s3d_sum(int n) { std::vector<int> ones(n, 1); int s = 0; for (int one : ones) s += one; return s; }
#if defined(__x86_64__)
namespace isa_v4 { int level(); }
API int s3d_highest_copy() { return isa_v4::level(); }
API int s3d_level() { return scene3d::x86_level(); }
#endif
"""


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small sources, an empty cache, no prebuilt library and no wishes in the environment."""
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "kernels.cpp").write_text(KERNELS)
    (folder / "interface.cpp").write_text(INTERFACE)
    shutil.copy(REAL_SOURCES / "cpu_level.h", folder)
    monkeypatch.setattr(build, "SOURCES", folder)
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "lib")
    monkeypatch.setenv("SCENE3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCENE3D_CPU_BUILD", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    return folder


@pytest.fixture
def system_compiler(sources: Path) -> toolchain.Compiler:
    compilers = [compiler for compiler in toolchain.find_compilers()[0] if not compiler.is_zig]
    if not compilers:
        pytest.skip("no system compiler here")
    return compilers[0]


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing may be compiled here")

    monkeypatch.setattr(build, "compile_library", refuse)


def hide_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(toolchain, "find_zig", lambda: None)


def place_prebuilt(library: Path, source_hash: str) -> Path:
    placed = build.PREBUILT / host_target().library_name
    placed.parent.mkdir()
    shutil.copy(library, placed)
    build.write_prebuilt_record(placed, source_hash, "a compiler")
    return placed


@pytest.mark.usefixtures("system_compiler")
def test_the_library_is_compiled_once_and_then_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert explain().startswith("not compiled yet")
    first = find_library()
    assert ctypes.CDLL(str(first)).s3d_answer() == 42
    assert "compiling the CPU rasterizer (once, about" in caplog.text
    forbid_compiling(monkeypatch)
    assert find_library() == first
    assert explain() == f"library compiled on this machine: {first}"


@pytest.mark.usefixtures("system_compiler")
def test_edited_sources_are_compiled_again(sources: Path) -> None:
    first = find_library()
    (sources / "interface.cpp").write_text(INTERFACE.replace("42", "43"))
    second = find_library()
    assert first != second
    assert ctypes.CDLL(str(second)).s3d_answer() == 43


@pytest.mark.usefixtures("system_compiler")
def test_a_prebuilt_library_comes_first_unless_the_sources_moved_on(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = find_library()
    placed = place_prebuilt(compiled, hash_sources(sources))
    assert find_library() == placed
    assert explain() == f"prebuilt library: {placed}"
    monkeypatch.setenv("SCENE3D_CPU_BUILD", "never")
    assert find_library() == placed
    monkeypatch.delenv("SCENE3D_CPU_BUILD")
    (sources / "interface.cpp").write_text(INTERFACE.replace("42", "44"))
    assert ctypes.CDLL(str(find_library())).s3d_answer() == 44


@pytest.mark.usefixtures("system_compiler")
def test_a_prebuilt_library_that_does_not_load_is_passed_over(sources: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a library")
    placed = place_prebuilt(broken, hash_sources(sources))
    assert find_library() != placed


def test_never_forbids_compiling(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENE3D_CPU_BUILD", "never")
    forbid_compiling(monkeypatch)
    with pytest.raises(BuildError, match="SCENE3D_CPU_BUILD=never"):
        find_library()
    assert "forbidden by SCENE3D_CPU_BUILD=never" in explain()


@pytest.mark.usefixtures("system_compiler")
def test_force_ignores_every_older_library(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = find_library()
    place_prebuilt(compiled, hash_sources(sources))
    compiled.write_bytes(b"an old, broken library")
    monkeypatch.setenv("SCENE3D_CPU_BUILD", "force")
    assert "SCENE3D_CPU_BUILD=force" in explain()
    assert ctypes.CDLL(str(find_library())).s3d_answer() == 42


@pytest.mark.usefixtures("sources")
def test_an_unknown_wish_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENE3D_CPU_BUILD", "sometimes")
    with pytest.raises(BuildError, match=r"'sometimes'.*never"):
        find_library()
    assert "sometimes" in explain()


@pytest.mark.usefixtures("sources")
def test_without_a_compiler_the_error_says_what_was_tried_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_compilers(monkeypatch)
    with pytest.raises(BuildError) as caught:
        find_library()
    for word in ("c++: not found", "clang++: not found", "ziglang", "prebuilt library", "pip install ziglang"):
        assert word in str(caught.value)
    assert "not found" in explain()
    assert "\n" not in explain()


@pytest.mark.usefixtures("system_compiler")
def test_a_compiled_library_outlives_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = find_library()
    hide_compilers(monkeypatch)
    assert find_library() == compiled


@pytest.mark.usefixtures("system_compiler")
def test_a_compiler_that_fails_gives_way_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "broken 1.0" && exit 0\necho "error: no" >&2\nexit 1\n')
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    assert "1.0" in explain()
    assert ctypes.CDLL(str(find_library())).s3d_answer() == 42


def test_sources_that_do_not_compile_leave_nothing_behind(
    sources: Path, system_compiler: toolchain.Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "find_compilers", lambda: ([system_compiler], []))
    (sources / "interface.cpp").write_text("int broken( {")
    with pytest.raises(BuildError, match=r"interface\.cpp:1.*error"):
        find_library()
    left = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == ["build.lock"]


def test_incomplete_sources_are_named(sources: Path, system_compiler: toolchain.Compiler, tmp_path: Path) -> None:
    (sources / "kernels.cpp").unlink()
    with pytest.raises(toolchain.CompileError, match=r"kernels\.cpp"):
        toolchain.compile_library(sources, tmp_path / "made.so", system_compiler, host_target())


@pytest.mark.usefixtures("system_compiler")
def test_two_builders_at_once_compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Path] = []
    compile_library = build.compile_library

    def counted(sources: Path, output: Path, compiler: toolchain.Compiler, target: Target) -> None:
        compiled.append(output)
        compile_library(sources, output, compiler, target)

    monkeypatch.setattr(build, "compile_library", counted)
    found: list[Path] = []
    builders = [threading.Thread(target=lambda: found.append(find_library())) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert len(compiled) == 1


@pytest.mark.usefixtures("system_compiler")
@pytest.mark.skipif(host_target().machine != "x86_64", reason="other processors have one instruction set")
def test_code_shared_between_instruction_sets_is_the_lowest_ones() -> None:
    assert ctypes.CDLL(str(find_library())).s3d_highest_copy() == 1


@pytest.mark.usefixtures("system_compiler")
@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file() or platform.machine() != "x86_64", reason="needs /proc/cpuinfo")
def test_the_instruction_set_level_agrees_with_the_kernels_list() -> None:
    line = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    flags = set(line.partition(":")[2].split())
    has_v3 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"} <= flags
    has_v4 = has_v3 and {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags
    assert ctypes.CDLL(str(find_library())).s3d_level() == (4 if has_v4 else 3 if has_v3 else 1)


@pytest.mark.usefixtures("system_compiler")
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("nm") is None, reason="needs nm")
def test_only_the_c_interface_is_exported() -> None:
    table = subprocess.run(["nm", "-D", "--defined-only", find_library()], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in table.stdout.splitlines()}
    assert "s3d_sum" in names
    assert all(name.startswith("s3d_") for name in names)


def test_the_hash_ignores_line_ends_but_not_names(sources: Path) -> None:
    before = hash_sources(sources)
    kernel = sources / "kernels.cpp"
    kernel.write_bytes(kernel.read_bytes().replace(b"\n", b"\r\n"))
    assert hash_sources(sources) == before
    kernel.rename(sources / "other.cpp")
    assert hash_sources(sources) != before


def test_loading_the_real_library_keeps_denormal_numbers() -> None:
    ctypes.CDLL(str(find_library()))
    small = np.float32(1e-38)
    assert small * np.float32(0.1) > 0


@pytest.mark.parametrize(
    ("target", "name", "variants"),
    [
        (Target("linux", "x86_64", "gnu"), "libscene3d_cpu-linux-x86_64.so", 3),
        (Target("linux", "arm64", "gnu"), "libscene3d_cpu-linux-arm64.so", 1),
        (Target("windows", "x86_64"), "scene3d_cpu-windows-x86_64.dll", 3),
        (Target("macos", "arm64"), "libscene3d_cpu-macos-arm64.dylib", 1),
    ],
)
def test_each_platform_has_its_library(target: Target, name: str, variants: int) -> None:
    assert target.library_name == name
    assert len(target.variants) == variants
    assert target.variants[0].namespace == "isa_baseline"
