"""`scene3d view` before a browser comes: flags, folders, and the words it says."""

from pathlib import Path

import pytest

from app.cli import parse
from app.commands.view import View, choose_root, describe, find_chosen
from app.viewer.server import listen
from app.viewer.workspace import Workspace
from scene3d.errors import InputError, SettingsError


def test_another_address_needs_a_password_file() -> None:
    with pytest.raises(SettingsError, match="--auth-file"):
        parse("view", ["--host", "0.0.0.0"])
    assert parse("view", ["--host", "0.0.0.0", "--auth-file", "who.txt"]).auth_file == Path("who.txt")


def test_there_is_no_way_to_share_through_another_server() -> None:
    with pytest.raises(SettingsError, match="share"):
        parse("view", ["--share"])


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_cannot_be_is_refused(port: str) -> None:
    with pytest.raises(SettingsError, match="--port"):
        parse("view", ["--port", port])


def test_the_folder_of_the_run_is_shown_unless_another_is_named(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "town"
    run.mkdir(parents=True)
    assert choose_root(View(run=run)) == tmp_path / "runs"
    assert choose_root(View(run=run, root=tmp_path)) == tmp_path
    assert choose_root(View()) == Path("scenes")
    with pytest.raises(InputError, match="no such run"):
        choose_root(View(run=tmp_path / "nothing"))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "town"
    run.mkdir()
    with pytest.raises(InputError, match="no reconstruction here"):
        find_chosen(Workspace(tmp_path), run)
    (run / "config.yaml").touch()
    assert find_chosen(Workspace(tmp_path), run) == "town"


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(InputError, match="cannot be used"):
            listen("127.0.0.1", first.getsockname()[1])


def test_the_address_can_be_copied_into_a_browser() -> None:
    assert describe(View(), 7860).startswith("open http://127.0.0.1:7860 ")
    assert describe(View(host="::1"), 7860).startswith("open http://[::1]:7860 ")
