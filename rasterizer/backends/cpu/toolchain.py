"""Finds C++ compilers and turns the kernel sources into one shared library."""

import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rasterizer.backends.cpu.targets import Target, Variant
from rasterizer.errors import RasterizerError

KERNEL_SOURCE = "kernels.cpp"
"""The one file compiled once per instruction set; every other .cpp is compiled once."""

# Never -ffast-math, at compile or at link: a library linked with it by gcc 12 switches the whole process to
# flush-to-zero when it is loaded, and it lets the compiler ignore NaN, which poisoned inputs rely on.
COMPILE_FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fvisibility=hidden")

SYSTEM_COMPILERS = ("c++", "g++", "clang++")
# Not MinGW's g++: on 64-bit Windows it puts AVX registers on a stack that is only aligned for SSE, and crashes.
WINDOWS_COMPILERS = ("clang++",)

# Everything else stays inside: the C++ library is linked into prebuilt libraries, and its operator new or its
# exception classes must not be exchanged for those of another library in the process.
_EXPORTS = "{ global: s3d_*; local: *; };\n"
COMPILE_TIMEOUT_S = 600
_IDENTITY_TIMEOUT_S = 30
_ERROR_LINES = 12


class CompileError(RasterizerError):
    """The sources are incomplete or a compiler failed on them; the text holds its first errors."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C++ compiler that answered when asked for its version."""

    command: tuple[str, ...]
    identity: str
    """First line of its version text: part of the cache key and of messages."""

    is_zig: bool = False

    @property
    def typical_compile_s(self) -> int:
        """What to tell people; zig builds its C++ runtime the first time."""
        return 90 if self.is_zig else 20


def find_compilers() -> tuple[list[Compiler], list[str]]:
    """Look for compilers in the order they should be tried.

    Returns:
        The compilers that run, and one line for each place that was searched in vain.
    """
    found: list[Compiler] = []
    missed: list[str] = []
    for label, command in _system_commands():
        path = shutil.which(command[0]) if command else None
        if path is None:
            missed.append(f"{label}: not found")
            continue
        try:
            identity = _ask_version((path, *command[1:]))
        except (OSError, subprocess.SubprocessError) as error:
            missed.append(f"{label}: {path} does not run ({error})")
            continue
        if all(identity != other.identity for other in found):
            found.append(Compiler((path, *command[1:]), identity))
    zig = find_zig()
    if zig is None:
        missed.append("ziglang (Python package): not installed")
    else:
        found.append(zig)
    return found, missed


def find_zig() -> Compiler | None:
    """Return the clang inside the ziglang package, or None when it is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    version = importlib.metadata.version("ziglang")
    return Compiler((sys.executable, "-m", "ziglang", "c++"), f"zig c++ {version}", is_zig=True)


def compile_library(sources: Path, output: Path, compiler: Compiler, target: Target) -> None:
    """Compile every source and link the library.

    Args:
        sources: Folder with kernels.cpp and the files compiled once.
        output: The library to write; objects are written beside it.
        compiler: Which compiler to run.
        target: For which machine.

    Raises:
        CompileError: A source is missing, or the compiler failed.
    """
    kernel = sources / KERNEL_SOURCE
    plain = sorted(path for path in sources.glob("*.cpp") if path.name != KERNEL_SOURCE)
    if not kernel.is_file() or not plain:
        raise CompileError(f"the C++ sources are incomplete: {KERNEL_SOURCE} and others belong in {sources}")
    base = target.variants[0]
    jobs: list[tuple[Path, Variant, tuple[str, ...]]] = [(path, base, ()) for path in plain]
    jobs += [(kernel, variant, (f"-DSCENE3D_ISA_NS={variant.namespace}",)) for variant in target.variants]
    # Lowest instruction set first: when several objects carry the same inline function of the C++ library, the
    # linker keeps the first copy, and a baseline machine must never run the AVX-512 one.
    objects = [output.parent / f"{path.stem}-{variant.namespace}.o" for path, variant, _ in jobs]
    commands = [
        [*compiler.command, *_flags(compiler, target, variant), *defines, "-c", str(path), "-o", str(made)]
        for (path, variant, defines), made in zip(jobs, objects, strict=True)
    ]
    with ThreadPoolExecutor(max_workers=min(len(commands), os.cpu_count() or 1)) as pool:
        list(pool.map(_run, commands))
    link = [*compiler.command, *_flags(compiler, target, base), "-shared", *_link_flags(compiler)]
    if target.system == "macos":
        link.append(f"-Wl,-install_name,@rpath/{output.name}")  # not the folder it happened to be linked in
    if target.system == "linux":
        exports = output.with_suffix(".exports")
        exports.write_text(_EXPORTS, encoding="ascii")
        link.append(f"-Wl,--version-script={exports}")
    _run([*link, *map(str, objects), "-o", str(output)])


def flags_text(compiler: Compiler, target: Target) -> str:
    """Return all flags as one string, for the cache key."""
    parts = [" ".join(_flags(compiler, target, variant)) for variant in target.variants]
    return " | ".join([*parts, " ".join(_link_flags(compiler))])


def _flags(compiler: Compiler, target: Target, variant: Variant) -> list[str]:
    flags = [*COMPILE_FLAGS]
    if target.system != "windows":
        flags += ["-fPIC", "-pthread"]
    if compiler.is_zig:
        # Without a target zig compiles for the processor it runs on, and a cache may be shared by several machines.
        flags += ["-target", target.zig_triple, "-fno-sanitize=undefined"]
    if variant.march is not None:
        flags.append(f"-march={variant.march.replace('-', '_') if compiler.is_zig else variant.march}")
    return flags


def _link_flags(compiler: Compiler) -> list[str]:
    return ["-s"] if compiler.is_zig else []  # without its symbol table the library is a third of the size


def _system_commands() -> list[tuple[str, list[str]]]:
    named = os.environ.get("CXX", "").strip()
    names = WINDOWS_COMPILERS if sys.platform == "win32" else SYSTEM_COMPILERS
    chosen = [(f"CXX={named}", shlex.split(named))] if named else []
    return [*chosen, *((name, [name]) for name in names)]


def _ask_version(command: tuple[str, ...]) -> str:
    answer = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, check=True, timeout=_IDENTITY_TIMEOUT_S
    )
    # c++ and g++ are often one compiler under two names: the name before the version must not tell them apart.
    first_line = (answer.stdout.splitlines() or [""])[0]
    return first_line.partition(" ")[2] or first_line


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=COMPILE_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise CompileError(f"{command[0]} could not be run: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).splitlines()
        telling = [line for line in lines if "error" in line] or lines
        headline = f"the compiler failed with status {done.returncode}: {shlex.join(command)}"
        raise CompileError("\n".join([headline, *telling[:_ERROR_LINES]]))
