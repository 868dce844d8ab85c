"""Fetching from a server on this machine: resumed, checked, whole or not at all."""

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scene3d.errors import InputError, LimitExceeded, MissingPart, SettingsError
from scene3d.io import fetching
from scene3d.io.fetching import STAGE, fetch_file, hash_file

CONTENT = bytes(range(256)) * 12_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server serves, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    cut_after: int | None = None
    length: bool = True
    asked: list[str | None] = field(default_factory=list)


class Recorder:
    """A reporter that remembers."""

    def __init__(self):
        self.steps, self.notes = [], []

    def start(self, stage, total, **figures):
        self.steps.append(("start", stage, total, figures.get("step")))

    def advance(self, stage, step, **figures):
        self.steps.append(("advance", stage, step, None))

    def finish(self, stage, **figures):
        self.steps.append(("finish", stage, None, None))

    def note(self, message, *, level="info"):
        self.notes.append(message)


@pytest.fixture
def server(monkeypatch):
    """A server on the loopback that answers ranges as it is told to."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if not self.path.startswith("/file"):
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if start >= len(state.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            if state.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after])

        def log_message(self, *words):
            pass

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}/file.zip"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()


def test_a_file_is_fetched_whole_with_progress(server, tmp_path):
    reporter = Recorder()
    path = fetch_file(
        server.url, tmp_path / "new" / "file.zip", sha256=SHA256, size_bytes=len(CONTENT), reporter=reporter
    )
    assert path.read_bytes() == CONTENT
    assert [one.name for one in path.parent.iterdir()] == ["file.zip"]
    assert reporter.steps[0] == ("start", STAGE, 4, 0)
    assert reporter.steps[-2:] == [("advance", STAGE, 4, None), ("finish", STAGE, None, None)]


def test_what_broke_off_is_kept_and_gone_on_with(server, tmp_path):
    path, reporter = tmp_path / "file.zip", Recorder()
    server.cut_after = 2_000_000
    with pytest.raises(MissingPart, match="goes on where it stopped"):
        fetch_file(server.url, path, sha256=SHA256)
    assert not path.exists()
    kept = (tmp_path / "file.zip.part").stat().st_size
    assert 0 < kept <= 2_000_000
    server.cut_after = None
    fetch_file(server.url, path, sha256=SHA256, reporter=reporter)
    assert server.asked == [None, f"bytes={kept}-"]
    assert path.read_bytes() == CONTENT
    assert reporter.steps[0][3] == -(-kept // 1_000_000)
    assert not (tmp_path / "file.zip.part").exists()


def test_a_server_that_knows_no_ranges_starts_over(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("size_bytes", [None, len(CONTENT)])
def test_a_part_that_is_whole_is_only_checked(server, tmp_path, size_bytes):
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    assert fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256, size_bytes=size_bytes).read_bytes() == CONTENT
    assert server.asked == ([] if size_bytes else [f"bytes={len(CONTENT)}-"])


@pytest.mark.parametrize("size_bytes", [None, len(CONTENT)])
def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path, size_bytes):
    (tmp_path / "file.zip.part").write_bytes(CONTENT + b"more")
    assert fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256, size_bytes=size_bytes).read_bytes() == CONTENT


def test_another_file_than_the_known_one_is_refused_and_deleted(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(InputError, match="not the file it should be"):
        fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_file_does_not_poison_the_next_try(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(b"x" * 1000)
    with pytest.raises(InputError, match="not the file it should be"):
        fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256)
    assert fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256).read_bytes() == CONTENT


def test_another_size_than_the_known_one_is_refused_before_anything_comes(server, tmp_path):
    with pytest.raises(InputError, match="offers 3,072,000 bytes, not the 5"):
        fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256, size_bytes=5)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    path = tmp_path / "file.zip"
    path.write_bytes(CONTENT)
    assert fetch_file(server.url, path, sha256=SHA256) == path
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="move it away"):
        fetch_file(server.url, path, sha256=SHA256)
    assert path.read_bytes() == b"mine"
    assert server.asked == []


def test_a_size_must_be_known_from_somewhere(server, tmp_path):
    server.length = False
    with pytest.raises(InputError, match="does not say how large"):
        fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256)
    path = fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256, size_bytes=len(CONTENT))
    assert hash_file(path) == SHA256


def test_no_more_is_taken_than_was_announced(server, tmp_path):
    server.length = False
    with pytest.raises(InputError, match="more than the 1,000,000 bytes announced"):
        fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256, size_bytes=1_000_000)
    assert not (tmp_path / "file.zip").exists()


def test_a_full_disk_is_noticed_before_the_first_byte(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(LimitExceeded, match="free disk space"):
        fetch_file(server.url, tmp_path / "file.zip", sha256=SHA256)


def test_a_server_that_is_not_there_or_has_no_such_file_is_named(server, tmp_path):
    with pytest.raises(MissingPart, match=r"/nothing: the server answered 404"):
        fetch_file(server.url.replace("/file.zip", "/nothing"), tmp_path / "a", sha256=SHA256)
    with pytest.raises(MissingPart, match="cannot be fetched"):
        fetch_file("http://127.0.0.1:1/file.zip", tmp_path / "a", sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "sha256"), [("file:///etc/hostname", SHA256), ("https:///x", SHA256), ("http://127.0.0.1/x", "abc")]
)
def test_only_web_addresses_and_whole_hashes_are_accepted(tmp_path, url, sha256):
    with pytest.raises(SettingsError):
        fetch_file(url, tmp_path / "a", sha256=sha256)
