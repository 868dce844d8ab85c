"""Owns fetching one file of known hash over HTTP: with progress, going on where it stopped, whole or not at all."""

import errno
import hashlib
import http.client
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from scene3d.errors import InputError, LimitExceeded, MissingPart, SettingsError
from scene3d.events import Quiet, Reporter
from scene3d.io.atomic import make_folder, replace_file

TIMEOUT_S = 60.0
"""Without a byte for this long the connection is given up; what came is kept."""

CHUNK_BYTES = 1 << 20
STAGE = "fetch (MB)"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_GO_ON = "run the same again: it goes on where it stopped"


def fetch_file(
    url: str, path: Path, *, sha256: str, size_bytes: int | None = None, reporter: Reporter | None = None
) -> Path:
    """Download a file, unless it is there already; call it only when the person asks.

    What has come so far lies beside it as `<name>.part` and is gone on with. Only when everything has come and has
    the known hash does it become `path`.

    Args:
        url: An http or https address.
        path: The file to make; its folder is made where missing.
        sha256: Hash of the whole file, 64 hexadecimal digits.
        size_bytes: Its size, if it is known; the server must agree.

    Returns:
        `path`.

    Raises:
        SettingsError: The address or the hash is none.
        MissingPart: The server cannot be reached, or the connection broke; what came is kept.
        InputError: What came is not the file it should be.
        LimitExceeded: There is too little disk space.
    """
    reporter = reporter or Quiet()
    _check_request(url, sha256)
    if path.is_file():
        if hash_file(path) != sha256:
            raise InputError("is another file than the one asked for", where=path, remedy="move it away")
        reporter.note(f"{path} is there already, with the right hash")
        return path
    make_folder(path.parent)
    part = path.with_name(f"{path.name}.part")
    with _spoken(url):
        _download(url, part, size_bytes, reporter)
    if hash_file(part) != sha256:
        part.unlink()
        what = "what came is not the file it should be (its SHA-256 differs); it was deleted"
        raise InputError(what, where=url, remedy="try again; if it stays so, the file was changed at its source")
    with replace_file(path) as temporary:
        os.replace(part, temporary)
    return path


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_request(url: str, sha256: str) -> None:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise SettingsError(f"'{url}' is no http or https address", remedy="give the address of a file")
    if not _SHA256.fullmatch(sha256):
        raise SettingsError(f"'{sha256}' is no SHA-256", remedy="give 64 hexadecimal digits in lower case")


def _download(url: str, part: Path, size_bytes: int | None, reporter: Reporter) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if size_bytes is not None and have > size_bytes:
        part.unlink()
        have = 0
    if have and have == size_bytes:
        return
    headers = {"User-Agent": "scene3d", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        reporter.note(f"going on at {have / 1e6:,.0f} MB")
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as response:
            start, total = _find_span(response, have, size_bytes, url)
            _check_space(part, total - start)
            _copy(response, part, start, total, reporter)
    except HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        # The part is as long as the file, or longer: then it was of another file.
        match = _CONTENT_RANGE.fullmatch(error.headers.get("Content-Range", ""))
        if match is None or int(match[2]) != have:
            part.unlink()
            _download(url, part, size_bytes, reporter)


def _find_span(response: http.client.HTTPResponse, have: int, size_bytes: int | None, url: str) -> tuple[int, int]:
    """Where the bytes that come begin, and the size of the whole file."""
    start, total = 0, size_bytes
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or match[1] is None or int(match[1]) != have:
            raise InputError("the server sent another part than the one asked for", where=url, remedy=_GO_ON)
        start, stated = have, int(match[2])
    else:
        length = response.headers.get("Content-Length", "")
        stated = int(length) if length.isdigit() else -1
    if stated >= 0:
        if size_bytes is not None and stated != size_bytes:
            what = f"the server offers {stated:,} bytes, not the {size_bytes:,} that are known"
            raise InputError(what, where=url, remedy="the file was changed at its source; see the home page")
        total = stated
    if total is None:
        raise InputError("the server does not say how large the file is", where=url, remedy="give its size in bytes")
    return start, total


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        what = f"{needed / 1e9:.1f} GB are needed but {free / 1e9:.1f} GB are free"
        raise LimitExceeded(what, where=part.parent, remedy="free disk space or choose another folder")


def _copy(source: http.client.HTTPResponse, part: Path, start: int, total: int, reporter: Reporter) -> None:
    reporter.start(STAGE, _megabytes(total), step=_megabytes(start))
    have = start
    with part.open("r+b" if start else "wb") as target:
        target.seek(start)
        while chunk := source.read(CHUNK_BYTES):
            have += len(chunk)
            if have > total:
                raise InputError(f"more than the {total:,} bytes announced came", where=str(part), remedy=_GO_ON)
            target.write(chunk)
            reporter.advance(STAGE, _megabytes(have))
    if have < total:
        raise MissingPart(f"the connection ended after {have:,} of {total:,} bytes", where=str(part), remedy=_GO_ON)
    reporter.finish(STAGE)


def _megabytes(size_bytes: int) -> int:
    return -(-size_bytes // 1_000_000)


@contextmanager
def _spoken(url: str) -> Iterator[None]:
    """Turns what the network library raises into one line."""
    try:
        yield
    except HTTPError as error:
        remedy = "look at the home page for its present address"
        raise MissingPart(f"the server answered {error.code} {error.reason}", where=url, remedy=remedy) from error
    except http.client.HTTPException as error:
        raise MissingPart(f"the connection broke ({type(error).__name__})", where=url, remedy=_GO_ON) from error
    except OSError as error:  # refused, unreachable, timed out; or the disk is full after all
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LimitExceeded("the disk is full", where=error.filename, remedy=f"free space; {_GO_ON}") from error
        reason = getattr(error, "reason", None) or error.strerror or error
        raise MissingPart(f"cannot be fetched ({reason})", where=url, remedy=_GO_ON) from error
