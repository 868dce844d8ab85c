"""Owns `scene3d view`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from app.errors import ExitCode
from app.settings_flags import OptionalPath
from scene3d.errors import InputError, SettingsError
from scene3d.events import Reporter

if TYPE_CHECKING:
    from app.viewer.workspace import Workspace

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_ROOT = "scenes"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Open a page in the browser for looking at scenes, and for making, growing, measuring and exporting them.

    The page shows what lies below one folder, and nothing it needs comes from another machine. On a machine far away
    leave the host as it is and forward the port: ssh -L 7860:127.0.0.1:7860 MACHINE.
    """

    run: Annotated[Path | None, Positional, arg(metavar="RUN")] = None
    """The run folder or Gaussian .ply to begin with."""

    port: int = 7860
    """Port to answer on; 0 takes any that is free."""

    host: str = "127.0.0.1"
    """Address to answer on. Any but this machine's own needs --auth-file."""

    auth_file: OptionalPath = None
    """Who may come in: lines like name:password in a file that only its owner may read."""

    root: OptionalPath = None
    """Folder whose runs and captures are shown, and where new ones go; without it the folder of RUN, else ./scenes."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise SettingsError(f"--port is {self.port}; it lies between 0 and 65535")
        if self.host not in LOOPBACK and self.auth_file is None:
            remedy = "add --auth-file FILE, or forward the port with ssh -L instead"
            raise SettingsError(f"--host {self.host} can be reached from other machines", remedy=remedy)


def run(command: View, reporter: Reporter) -> int:
    """Serve until interrupted."""
    from app.viewer.guard import DoorSettings, read_passwords
    from app.viewer.server import Services, listen, make_app, make_server
    from app.viewer.workspace import Workspace

    passwords = {} if command.auth_file is None else read_passwords(command.auth_file)
    workspace = Workspace(choose_root(command), command.run)
    chosen = None if command.run is None else find_chosen(workspace, command.run)
    services = Services.of(workspace)
    try:
        door = DoorSettings(passwords=passwords, only_loopback=command.host in LOOPBACK)
        app = make_app(services, door, chosen=chosen)
        with listen(command.host, command.port) as listening:
            print(describe(command, listening.getsockname()[1]), flush=True)
            make_server(app).run(sockets=[listening])
    finally:
        services.close()
    return ExitCode.DONE


def choose_root(command: View) -> Path:
    """The folder to work in.

    Raises:
        InputError: RUN is not there.
    """
    if command.run is not None and not command.run.exists():
        raise InputError("there is no such run", where=command.run)
    if command.root is not None:
        return command.root
    return Path(DEFAULT_ROOT) if command.run is None else command.run.resolve().parent


def find_chosen(workspace: "Workspace", path: Path) -> str:
    """The id of the run to begin with.

    Raises:
        InputError: It is no run.
    """
    resolved = path.resolve()
    found = next((run.id for run in workspace.runs().values() if run.root == resolved), None)
    if found is None:
        remedy = "give the --output folder of `scene3d reconstruct`, or a .ply"
        raise InputError("there is no reconstruction here", where=path, remedy=remedy)
    return found


def describe(command: View, port: int) -> str:
    """What a person does next."""
    host = f"[{command.host}]" if ":" in command.host else command.host
    return f"open http://{host}:{port} in a browser; end with Ctrl-C"
