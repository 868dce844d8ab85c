"""What holds for every test: no network, one thread, the same examples each time, a trace when the process dies."""

import faulthandler
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it; child processes inherit it

import pytest
from hypothesis import HealthCheck, settings

faulthandler.enable()

# Deadlines measure the machine, not the program; pytest-timeout guards against hanging.
settings.register_profile("project", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


def is_loopback(address: object) -> bool:
    """Whether a socket address stays on this machine: a local path, or a loopback host."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    if host in ("localhost", ""):
        return True
    try:
        return ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def _guard(name: str) -> None:
    original = getattr(socket.socket, name)

    def connect(self: socket.socket, address: object) -> object:
        if not is_loopback(address):
            raise PermissionError(f"tests may not reach the network, but {address!r} was asked for")
        return original(self, address)

    setattr(socket.socket, name, connect)


_guard("connect")
_guard("connect_ex")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the CPU kernels before the first test: no test's time limit allows for a compiler."""
    if hasattr(session.config, "workerinput"):
        return  # the process that started the workers has done it
    from rasterizer.backends.cpu.build import BuildError, find_library

    with suppress(BuildError):  # tests of the kernels say it better
        find_library()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run side by side, one core each; a test that asks for more threads gets them until it ends."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
