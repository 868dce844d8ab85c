"""Owns what a person sees when a command fails: one line that says what, where and what to do, and an exit code."""

import errno
import sys
import traceback
from dataclasses import dataclass
from enum import IntEnum

from scene3d.errors import Scene3dError

_OUT_OF_RESOURCES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_UNUSABLE_INPUT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_OPTIONAL_PACKAGES = {
    "gsplat": "gsplat",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "pycolmap": "pycolmap",
    "triton": "triton",
}


class ExitCode(IntEnum):
    """What the shell learns."""

    DONE = 0
    BUG = 1
    USAGE = 2
    PARTIAL = 3
    INPUT = 4
    LIMIT = 5
    MISSING = 6
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed command."""

    code: int
    line: str


def explain(error: BaseException) -> Failure:
    """The exit code and the one line for any error that ended a command."""
    if isinstance(error, Scene3dError):
        return Failure(error.exit_code, one_line(str(error)))
    if isinstance(error, KeyboardInterrupt):
        return Failure(ExitCode.INTERRUPTED, "interrupted; what was finished is kept, `reconstruct --resume` goes on")
    if (known := _explain_rasterizer(error)) is not None:
        return known
    if _is_out_of_memory(error):
        return Failure(ExitCode.LIMIT, "out of memory; use a smaller --image-scale or --density.max-gaussians")
    if isinstance(error, OSError):
        return _explain_system(error)
    if isinstance(error, ModuleNotFoundError) and error.name in _OPTIONAL_PACKAGES:
        package = _OPTIONAL_PACKAGES[error.name]
        return Failure(ExitCode.MISSING, f"the package {package} is not installed; run `pip install {package}`")
    return _explain_bug(error)


def one_line(text: str) -> str:
    """The text without line breaks and without anything that could steer a terminal."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in " ".join(text.split()))


def report(error: BaseException, *, debug: bool) -> int:
    """Print the line (and with `debug` the trace) on stderr and return the exit code."""
    failure = explain(error)
    if debug:
        traceback.print_exception(error)
    print(f"scene3d: {failure.line}", file=sys.stderr)
    return failure.code


def _explain_rasterizer(error: BaseException) -> Failure | None:
    # Looked up, not imported: an error of the rasterizer can only come when it has been loaded, and loading it is slow.
    errors = sys.modules.get("rasterizer.errors")
    if errors is None or not isinstance(error, errors.RasterizerError):
        return None
    missing = isinstance(error, errors.BackendUnavailable | errors.Unsupported)
    line = one_line(str(error))
    return (
        Failure(ExitCode.MISSING, f"{line}; `scene3d doctor` lists the rasterizers")
        if missing
        else Failure(ExitCode.INPUT, line)
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # torch has its own type on a GPU, and a plain RuntimeError with this text on a CPU.
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _explain_system(error: OSError) -> Failure:
    reason = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _OUT_OF_RESOURCES:
        return Failure(ExitCode.LIMIT, one_line(f"{where}{reason}; free some room and run it again"))
    if isinstance(error, _UNUSABLE_INPUT):
        return Failure(ExitCode.INPUT, one_line(f"{where}{reason}; check the path and who may read and write it"))
    return _explain_bug(error)


def _explain_bug(error: BaseException) -> Failure:
    detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "this is a fault of scene3d: run it again with --debug and report the trace"
    return Failure(ExitCode.BUG, one_line(f"{detail}; {hint}"))
