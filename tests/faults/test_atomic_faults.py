"""A file that replaces another is the old one or the new one, whichever call fails or never happens."""

import errno
import os
from pathlib import Path

import pytest

from scene3d.errors import InputError, LimitExceeded
from scene3d.io.atomic import replace_file, sweep_leftovers, write_bytes
from tests.faults.checkpoint_faults import STOPPED, count_calls, stop_at_call

OLD, NEW = b"old" * 1000, b"new" * 2000


def test_stopped_before_any_call_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    write_bytes(path, OLD)
    num_calls = count_calls(lambda: write_bytes(path, OLD))
    seen = []
    for index in range(1, num_calls + 1):
        write_bytes(path, OLD)
        assert stop_at_call(index, lambda: write_bytes(path, NEW)) == STOPPED
        seen.append(path.read_bytes())
        sweep_leftovers(tmp_path)
        assert [each.name for each in tmp_path.iterdir()] == ["scene.ply"]
    assert set(seen) == {OLD, NEW}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, LimitExceeded),
        (errno.EDQUOT, LimitExceeded),
        (errno.EFBIG, LimitExceeded),
        (errno.EIO, InputError),
        (errno.EROFS, InputError),
        (errno.EACCES, InputError),
    ],
)
@pytest.mark.parametrize("failing", ["open", "fsync", "replace"])
def test_whichever_call_fails_the_error_is_ours_and_the_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, code: int, kind: type[Exception]
) -> None:
    path = tmp_path / "scene.ply"
    write_bytes(path, OLD)
    original = getattr(os, failing)
    for fails_at in (1, 2):
        calls = 0

        def fail(*args: object, fails_at: int = fails_at, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise OSError(code, os.strerror(code))
            return original(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, failing, fail)
            if failing == "replace" and fails_at == 2:
                write_bytes(path, OLD)
            else:
                with pytest.raises(kind, match="cannot be written"):
                    write_bytes(path, NEW)
        assert path.read_bytes() in (OLD, NEW)
        assert [each.name for each in tmp_path.iterdir()] == ["scene.ply"]


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    write_bytes(path, OLD)

    def fill_the_disk() -> None:
        with replace_file(path) as temporary:
            temporary.write_bytes(NEW[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LimitExceeded, match="free disk space"):
        fill_the_disk()
    assert path.read_bytes() == OLD
    assert [each.name for each in tmp_path.iterdir()] == ["scene.ply"]
