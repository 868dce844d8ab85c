"""Which backend is taken, what is said of those that are not, and that looking never raises or imports CUDA code."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from rasterizer import BackendUnavailable, RasterizerError, Unsupported, find_backend, list_backends, selection
from rasterizer.backends import gsplat_loading
from rasterizer.backends.cpu import build
from rasterizer.selection import choose_backend
from tests.rasterizer.scenes import make_scene

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing remembered from other tests, nothing left behind, no choice by environment."""
    monkeypatch.delenv("SCENE3D_BACKEND", raising=False)
    monkeypatch.setattr(selection, "_ATTEMPTS", {})
    monkeypatch.setattr(selection, "load_library", lambda: None)  # none of these tests is about compiling
    selection._warn_slow.cache_clear()
    gsplat_loading.load.cache_clear()
    yield
    selection._warn_slow.cache_clear()
    gsplat_loading.load.cache_clear()


def break_cpu(monkeypatch: pytest.MonkeyPatch, message: str = "no compiler") -> list[int]:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise build.BuildError(message)

    monkeypatch.setattr(selection, "load_library", fail)
    return calls


def pretend_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a CUDA torch, a card and a toolkit, as far as looking goes."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gsplat_loading, "_has_nvcc", lambda: True)
    monkeypatch.setattr(gsplat_loading, "_touch_device", lambda: None)


def pretend_modules(monkeypatch: pytest.MonkeyPatch, extension: object, tmp_path: Any) -> ModuleType:
    """What importing gsplat would give there."""
    monkeypatch.setenv("SCENE3D_CACHE", str(tmp_path))
    package, backend = ModuleType("gsplat"), ModuleType("gsplat.cuda._backend")
    backend._C = extension
    modules = {"gsplat": package, "gsplat.cuda._backend": backend}
    monkeypatch.setattr(gsplat_loading.importlib, "import_module", lambda name: modules[name])
    return package


def test_the_fastest_is_taken_for_tensors_on_the_cpu() -> None:
    assert choose_backend(None, device=CPU, dtype=torch.float32).name == "cpu"
    assert choose_backend("auto", device=CPU, dtype=torch.float32).name == "cpu"


def test_an_argument_beats_the_environment_and_that_beats_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENE3D_BACKEND", "reference")
    assert choose_backend(None, device=CPU, dtype=torch.float32).name == "reference"
    assert choose_backend("auto", device=CPU, dtype=torch.float32).name == "reference"
    assert choose_backend("cpu", device=CPU, dtype=torch.float32).name == "cpu"
    assert make_scene(num=3).render(None)[2]["backend"] == "reference"
    monkeypatch.setenv("SCENE3D_BACKEND", "auto")
    assert choose_backend(None, device=CPU, dtype=torch.float32).name == "cpu"
    monkeypatch.setenv("SCENE3D_BACKEND", "")
    assert choose_backend(None, device=CPU, dtype=torch.float32).name == "cpu"


def test_names_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RasterizerError, match="backend is 'fast'; expected auto, gsplat, cpu, reference"):
        find_backend("fast")
    monkeypatch.setenv("SCENE3D_BACKEND", "fast")
    with pytest.raises(RasterizerError, match="SCENE3D_BACKEND is 'fast'"):
        find_backend()


def test_falling_back_warns_once_of_what_it_costs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = break_cpu(monkeypatch, "tried:\n  - g++\nremedy: install it")
    with caplog.at_level(logging.WARNING), pytest.warns(RuntimeWarning, match="hundred times slower"):
        assert choose_backend(None, device=CPU, dtype=torch.float32).name == "reference"
    assert choose_backend(None, device=CPU, dtype=torch.float32).name == "reference", "warnings are errors here"
    (record,) = caplog.records
    assert "'cpu'" in record.getMessage()
    assert "tried: - g++ remedy: install it" in record.getMessage(), "the reason fits one line"
    assert len(calls) == 1, "a build that failed is not tried again at every image"


def test_naming_a_broken_backend_raises_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    break_cpu(monkeypatch, "no compiler")
    with pytest.raises(BackendUnavailable, match="backend 'cpu' cannot run here: no compiler"):
        choose_backend("cpu", device=CPU, dtype=torch.float32)
    assert find_backend("cpu") is None
    monkeypatch.setenv("SCENE3D_BACKEND", "cpu")
    with pytest.raises(BackendUnavailable):
        choose_backend(None, device=CPU, dtype=torch.float32)


def test_the_reference_is_always_found_without_a_warning() -> None:
    assert find_backend("reference").name == "reference"
    assert choose_backend("reference", device=CUDA, dtype=torch.float64).name == "reference"


def test_double_precision_goes_to_the_reference_and_says_so() -> None:
    with pytest.warns(RuntimeWarning, match="single precision only"):
        assert choose_backend(None, device=CPU, dtype=torch.float64).name == "reference"
    with pytest.raises(Unsupported, match=r"backend 'cpu' does not support torch.float64"):
        choose_backend("cpu", device=CPU, dtype=torch.float64)


def test_tensors_on_the_wrong_device_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with pytest.raises(RasterizerError, match="backend 'cpu' needs tensors on device 'cpu'; they are on 'cuda'"):
        choose_backend("cpu", device=CUDA, dtype=torch.float32)
    pretend_cuda(monkeypatch)
    pretend_modules(monkeypatch, object(), tmp_path)
    with pytest.raises(RasterizerError, match="backend 'gsplat' needs tensors on device 'cuda'; they are on 'cpu'"):
        choose_backend("gsplat", device=CPU, dtype=torch.float32)


def test_gsplat_is_taken_for_tensors_on_the_gpu_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pretend_cuda(monkeypatch)
    pretend_modules(monkeypatch, object(), tmp_path)
    assert choose_backend(None, device=CUDA, dtype=torch.float32).name == "gsplat"
    assert choose_backend(None, device=CPU, dtype=torch.float32).name == "cpu"


def test_listing_names_all_fastest_first() -> None:
    statuses = list_backends()
    assert [status.name for status in statuses] == ["gsplat", "cpu", "reference"]
    assert all(status.reason and "\n" not in status.reason for status in statuses)
    assert not statuses[0].available
    assert statuses[0].version is not None, "the version is known though it cannot run"
    assert statuses[2].available


def test_listing_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = break_cpu(monkeypatch)
    monkeypatch.setattr(build, "compile_library", lambda *_: pytest.fail("compiled"))
    pretend_cuda(monkeypatch)
    monkeypatch.setattr(gsplat_loading.importlib, "import_module", lambda _: pytest.fail("imported"))
    assert list_backends()[0].available
    assert not calls


def test_listing_knows_whether_the_library_can_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("SCENE3D_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "none")
    monkeypatch.setattr(build, "find_compilers", lambda: ([], ["g++: not found"]))
    status = list_backends()[1]
    assert not status.available
    assert "g++: not found" in status.reason


def test_listing_survives_a_wrong_setting_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENE3D_CPU_BUILD", "maybe")
    status = list_backends()[1]
    assert not status.available
    assert "SCENE3D_CPU_BUILD is 'maybe'" in status.reason


def test_listing_and_loading_agree_on_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert list_backends()[1].available == (find_backend("cpu") is not None)


def test_listing_survives_a_broken_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(build, "explain", explode)
    monkeypatch.setattr(gsplat_loading, "_why_no_cuda", explode)
    gsplat, cpu, reference = list_backends()
    assert "disk on fire" in gsplat.reason
    assert "disk on fire" in cpu.reason
    assert [gsplat.available, cpu.available, reference.available] == [False, False, True]


def test_listing_remembers_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    break_cpu(monkeypatch, "the library is for another machine")
    assert find_backend("cpu") is None
    assert list_backends()[1].reason == "the library is for another machine"
    assert not list_backends()[1].available


def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsplat_loading, "find_version", lambda: None)


def old_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsplat_loading, "find_version", lambda: "1.4.0")


def torch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)


def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def broken_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise RuntimeError("CUDA driver initialization failed\nand more")

    monkeypatch.setattr(torch.cuda, "is_available", fail)


def no_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsplat_loading, "_has_nvcc", lambda: False)
    monkeypatch.setattr(gsplat_loading, "_has_compiled_extension", lambda: False)


def broken_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise ImportError("gsplat_cuda.so: cannot open shared object file\nhint")

    monkeypatch.setattr(gsplat_loading.importlib, "import_module", fail)


def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(gsplat_loading, "_touch_device", fail)


@pytest.mark.parametrize(
    ("breakage", "reason", "seen_by_looking"),
    [
        (no_package, "gsplat is not installed", True),
        (old_package, "gsplat 1.4.0 is older than 1.5.3", True),
        (torch_without_cuda, "this torch was built without CUDA", True),
        (no_driver, "torch sees no CUDA device or driver", True),
        (broken_driver, "RuntimeError: CUDA driver initialization failed", True),
        (no_nvcc, "no nvcc was found", True),
        (broken_import, "ImportError: gsplat_cuda.so: cannot open shared object file", False),
        (no_memory, "OutOfMemoryError: CUDA out of memory", False),
    ],
)
def test_each_way_of_being_broken_has_a_reason_of_one_line(
    breakage: Any, reason: str, seen_by_looking: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    pretend_cuda(monkeypatch)
    pretend_modules(monkeypatch, object(), tmp_path)
    breakage(monkeypatch)
    assert list_backends()[0].available != seen_by_looking
    with pytest.raises(BackendUnavailable) as caught:
        choose_backend("gsplat", device=CUDA, dtype=torch.float32)
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason
    assert not list_backends()[0].available, "after the attempt the list knows as well"
    with pytest.warns(RuntimeWarning, match="backend 'gsplat' cannot be used"):
        assert choose_backend(None, device=CUDA, dtype=torch.float32).name == "reference"


def test_an_extension_that_gsplat_gave_up_on_has_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pretend_cuda(monkeypatch)
    pretend_modules(monkeypatch, None, tmp_path)
    with pytest.raises(BackendUnavailable, match="found no CUDA toolkit"):
        choose_backend("gsplat", device=CUDA, dtype=torch.float32)


def test_loading_holds_a_lock_against_other_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pretend_cuda(monkeypatch)
    package = pretend_modules(monkeypatch, object(), tmp_path)
    held = []
    imported = gsplat_loading.importlib.import_module

    def spy(name: str) -> ModuleType:
        script = f"import fcntl; fcntl.flock(open({str(tmp_path / 'gsplat.lock')!r}), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        if name.endswith("_backend") and sys.platform != "win32":
            held.append(subprocess.run([sys.executable, "-c", script], capture_output=True).returncode != 0)
        return imported(name)

    monkeypatch.setattr(gsplat_loading.importlib, "import_module", spy)
    with caplog.at_level(logging.WARNING):
        assert gsplat_loading.load().module is package
    assert held in ([True], [])
    assert "several minutes" in caplog.text


def test_importing_and_rendering_on_the_cpu_never_touch_gsplats_cuda_code() -> None:
    script = (
        "import sys, torch, rasterizer\n"
        "rasterizer.list_backends(); rasterizer.find_backend('gsplat')\n"
        "eye = torch.eye(4)[None]\n"
        "rasterizer.rasterization(torch.ones(1, 3), torch.ones(1, 4), torch.ones(1, 3), torch.ones(1),\n"
        "    torch.ones(1, 3), eye, eye[:, :3, :3], 4, 4, backend='reference')\n"
        "sys.exit(any(name == 'gsplat' or name.startswith('gsplat.') for name in sys.modules))\n"
    )
    environment = os.environ | {"SCENE3D_CPU_BUILD": "never"}  # looking for compilers takes its time
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
