import errno
import sys

import pytest
import torch

from app.errors import ExitCode, explain, one_line, report
from rasterizer.errors import BackendUnavailable, RasterizerError, Unsupported
from scene3d.errors import Diverged, InputError, LimitExceeded, MissingPart, Scene3dError, SettingsError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Scene3dError("x"), 1),
        (SettingsError("x"), 2),
        (InputError("x"), 4),
        (LimitExceeded("x"), 5),
        (Diverged("x"), 5),
        (MissingPart("x"), 6),
        (BackendUnavailable("gsplat", "no CUDA"), 6),
        (Unsupported("absgrad", backend="gsplat"), 6),
        (RasterizerError("means has shape [3]"), 4),
        (MemoryError(), 5),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 5),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), 5),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 5),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 5),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), 4),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 4),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), 4),
        (ModuleNotFoundError("no", name="imageio_ffmpeg"), 6),
        (ModuleNotFoundError("no", name="scene3d.ghost"), 1),
        (KeyboardInterrupt(), 130),
        (RuntimeError("shapes differ"), 1),
        (OSError(errno.EIO, "Input/output error"), 1),
        (AssertionError(), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert explain(error).code == code


def test_the_line_says_what_where_and_what_to_do():
    error = InputError("holds no images", where="/data/x", remedy="give the folder above")
    assert explain(error).line == "/data/x: holds no images; give the folder above"


def test_a_bug_names_itself_and_asks_for_the_trace():
    line = explain(ZeroDivisionError("division by zero")).line
    assert line.startswith("ZeroDivisionError: division by zero")
    assert "--debug" in line


def test_a_missing_file_is_named():
    assert explain(FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/b")).line.startswith(
        "/a/b: No such"
    )


def test_a_full_disk_says_what_to_do():
    assert "free some room" in explain(OSError(errno.ENOSPC, "No space left on device", "/a")).line


def test_a_line_stays_one_line_and_cannot_steer_the_terminal():
    assert one_line("a\n  b\x1b[31m\tc\r\n") == "a b\N{REPLACEMENT CHARACTER}[31m c"


@pytest.mark.parametrize("debug", [False, True])
def test_the_trace_is_shown_only_on_request(capsys, debug):
    with pytest.raises(InputError) as caught:
        raise InputError("broken")

    code = report(caught.value, debug=debug)

    printed = capsys.readouterr()
    assert code == ExitCode.INPUT
    assert printed.out == ""
    assert printed.err.endswith("scene3d: broken\n")
    assert ("Traceback" in printed.err) == debug


def test_explaining_works_before_the_rasterizer_was_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "rasterizer.errors")
    assert explain(InputError("x")).code == ExitCode.INPUT
    assert explain(RuntimeError("x")).code == ExitCode.BUG
    assert "rasterizer.errors" not in sys.modules
