import random
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.invalid", 443), ("2001:db8::1", 80, 0, 0)])
@pytest.mark.parametrize("way", ["connect", "connect_ex"])
def test_no_test_can_reach_the_network(address, way):
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    with socket.socket(family) as door, pytest.raises(PermissionError, match="may not reach the network"):
        getattr(door, way)(address)


def test_this_machine_itself_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()[:2]) as door:
        door.sendall(b"x")


def test_a_test_runs_on_one_thread():
    assert torch.get_num_threads() == 1


def test_warnings_are_errors():
    with pytest.raises(UserWarning):
        warnings.warn("look here", stacklevel=1)


def test_hypothesis_repeats_its_examples():
    assert settings().derandomize
    assert settings().deadline is None


def test_the_suite_is_shuffled():
    assert "pytest_randomly" in sys.modules
    assert isinstance(random.getstate(), tuple)


def test_importing_the_packages_needs_neither_optional_parts_nor_the_network():
    code = (
        "import sys, socket\n"
        "socket.socket.connect = None\n"
        "for name in ('gradio', 'pycolmap', 'gsplat', 'triton', 'ray', 'imageio_ffmpeg', 'open3d'):\n"
        "    sys.modules[name] = None\n"
        "import rasterizer, scene3d, blocks, app\n"
        "import scene3d.training.run, scene3d.data.reading, scene3d.render\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
