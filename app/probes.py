"""Owns the questions `scene3d doctor` asks this machine; a question that fails is an answer, never an error."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.errors import one_line

GIB = 2**30
LOW_DISK_BYTES = 5 * GIB
LOW_MEMORY_BYTES = 4 * GIB

State = Literal["yes", "no", "optional"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One answer."""

    name: str
    state: State
    """`yes` it works, `no` something needed is missing, `optional` something one can do without is missing or short."""

    detail: str


Answer = tuple[State, str]
Question = tuple[str, Callable[[], Answer]]


def probe_machine() -> tuple[Probe, ...]:
    """Every answer, in the order a person wants to read them."""
    return tuple(ask(QUESTIONS)) + tuple(probe_rasterizers())


def ask(questions: Sequence[Question]) -> Iterator[Probe]:
    """The answers to some questions; whatever a question raises becomes its answer."""
    for name, question in questions:
        try:
            state, detail = question()
        except Exception as error:
            state, detail = "no", f"asking failed: {type(error).__name__}: {error}"
        yield Probe(name, state, one_line(detail))


def probe_rasterizers() -> Iterator[Probe]:
    """One answer per rasterizer backend, with the reason where it cannot run."""
    try:
        from rasterizer import list_backends

        statuses = list_backends()
    except Exception as error:
        yield Probe("rasterizers", "no", one_line(f"asking failed: {type(error).__name__}: {error}"))
        return
    nothing_fast = not any(status.available for status in statuses if status.name != "reference")
    for status in statuses:
        missing: State = "no" if status.name == "cpu" and nothing_fast else "optional"
        version = f"{status.version}, " if status.version else ""
        state: State = "yes" if status.available else missing
        yield Probe(f"rasterizer {status.name}", state, one_line(version + status.reason))


def _python() -> Answer:
    return "yes", f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _scene3d() -> Answer:
    return "yes", importlib.metadata.version("scene3d")


def _torch() -> Answer:
    import torch

    gpu = f"CUDA {torch.version.cuda}" if torch.cuda.is_available() else "no CUDA device"
    return "yes", f"{torch.__version__}, {torch.get_num_threads()} threads, {gpu}"


def _processor() -> Answer:
    flags = _cpu_flags()
    known = [name for name in ("avx512f", "avx2", "fma", "sve", "asimd", "neon") if name in flags]
    return "yes", f"{os.cpu_count()} cores, {', '.join(known) or 'no vector extensions known'}"


def _cpu_flags() -> set[str]:
    listing = Path("/proc/cpuinfo")
    if not listing.is_file():
        return {"neon"} if platform.machine().lower() in ("arm64", "aarch64") else set()
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.lower().startswith(("flags", "features")):
            return set(line.partition(":")[2].split())
    return set()


def _memory() -> Answer:
    free = find_free_memory_bytes()
    if free is None:
        return "yes", "free memory is not known on this system"
    if free < LOW_MEMORY_BYTES:
        return "optional", f"only {free / GIB:.1f} GiB free; use a small --image-scale"
    return "yes", f"{free / GIB:.1f} GiB free"


def find_free_memory_bytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not say."""
    listing = Path("/proc/meminfo")
    if listing.is_file():
        for line in listing.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _disk() -> Answer:
    free = shutil.disk_usage(Path.cwd()).free
    place = f"{free / GIB:.1f} GiB free in {Path.cwd()}"
    return ("optional", f"only {place}") if free < LOW_DISK_BYTES else ("yes", place)


def _cache() -> Answer:
    from rasterizer.backends.cpu.cache import cache_folder

    folder = cache_folder()
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    with tempfile.TemporaryFile(dir=existing):
        return "yes", str(folder)


def _compilers() -> Answer:
    from rasterizer.backends.cpu.toolchain import find_compilers

    found, missed = find_compilers()
    if not found:
        return "optional", "; ".join(missed)
    return "yes", "; ".join(f"{' '.join(each.command)} ({each.identity})" for each in found)


def _package(package: str, distribution: str, purpose: str) -> Callable[[], Answer]:
    def question() -> Answer:
        if importlib.util.find_spec(package) is None:
            return "optional", f"not installed, so no {purpose}; `pip install {distribution}`"
        return "yes", f"{importlib.metadata.version(distribution)} ({purpose})"

    return question


def _lpips(net: Literal["alex", "vgg"]) -> Callable[[], Answer]:
    def question() -> Answer:
        from scene3d.lpips import Lpips

        loaded, reason = Lpips.load(net)
        return ("yes", "weights found") if loaded else ("optional", f"{reason}; evaluation says 'not available'")

    return question


QUESTIONS: tuple[Question, ...] = (
    ("scene3d", _scene3d),
    ("python", _python),
    ("torch", _torch),
    ("processor", _processor),
    ("memory", _memory),
    ("disk", _disk),
    ("cache folder", _cache),
    ("compilers", _compilers),
    ("pycolmap", _package("pycolmap", "pycolmap", "camera poses from plain photographs")),
    ("video encoder", _package("imageio_ffmpeg", "imageio-ffmpeg", "mp4 films; GIF and WebP always work")),
    ("LPIPS alex", _lpips("alex")),
    ("LPIPS vgg", _lpips("vgg")),
)
