"""Owns which backend renders: by argument, by environment, or the fastest that can."""

import logging
import os
import warnings
from dataclasses import dataclass, replace
from functools import cache

import torch

from rasterizer.backends import gsplat_loading
from rasterizer.backends.cpu import build
from rasterizer.backends.cpu.library import load_library
from rasterizer.backends.cpu.ops import CpuOps
from rasterizer.backends.gsplat import GsplatBackend
from rasterizer.backends.reference import ReferenceOps
from rasterizer.errors import BackendUnavailable, RasterizerError, Unsupported
from rasterizer.pipeline import OpsBackend
from rasterizer.types import Backend, BackendStatus

ENVIRONMENT_VARIABLE = "SCENE3D_BACKEND"
NAMES = ("gsplat", "cpu", "reference")
"""All backends, fastest first."""

logger = logging.getLogger(__name__)


def list_backends() -> list[BackendStatus]:
    """Every backend, fastest first, with the reason why it cannot run or what it runs on.

    Nothing is compiled and nothing raised: what is said of a backend that was not used yet is the best guess.
    """
    return [_known_failure(status) for status in (_gsplat_status(), _cpu_status(), _reference_status())]


def find_backend(name: str | None = None, *, device: str | torch.device = "cpu") -> Backend | None:
    """The backend of that name, loaded and ready, or None where it cannot run.

    Args:
        name: "gsplat", "cpu" or "reference". None and "auto" take what SCENE3D_BACKEND names or, where that is not
            set either, the fastest for the device.
        device: Where the tensors will be.

    Raises:
        RasterizerError: There is no backend of that name.
    """
    try:
        return choose_backend(name, device=torch.device(device), dtype=torch.float32)
    except BackendUnavailable:
        return None


def choose_backend(name: str | None, *, device: torch.device, dtype: torch.dtype) -> Backend:
    """The backend for tensors of this kind.

    Raises:
        RasterizerError: There is no backend of that name, or it takes no tensors on that device.
        Unsupported: It takes no tensors of that dtype.
        BackendUnavailable: The backend asked for, by argument or environment, cannot run here.
    """
    wanted = _wanted(name)
    if wanted != "auto":
        _check_fit(wanted, device, dtype)
        return _load(wanted)
    fastest = "gsplat" if device.type == "cuda" else "cpu"
    if dtype == torch.float64:
        _warn_slow(fastest, "it works in single precision only")
        return _load("reference")
    try:
        return _load(fastest)
    except BackendUnavailable as error:
        _warn_slow(fastest, error.reason)
        return _load("reference")


def _wanted(name: str | None) -> str:
    source = "backend"
    if name in (None, "auto"):
        name, source = os.environ.get(ENVIRONMENT_VARIABLE) or "auto", ENVIRONMENT_VARIABLE
    if name != "auto" and name not in NAMES:
        raise RasterizerError(f"{source} is {name!r}; expected auto, {', '.join(NAMES)}")
    return str(name)


def _check_fit(name: str, device: torch.device, dtype: torch.dtype) -> None:
    if name == "reference":
        return
    needed = "cuda" if name == "gsplat" else "cpu"
    # Whether CUDA can be had at all is the better answer where it cannot, so that is left to loading.
    if device.type != needed and (name == "cpu" or _attempt(name).backend is not None):
        raise RasterizerError(f"backend '{name}' needs tensors on device '{needed}'; they are on '{device}'")
    if dtype == torch.float64:
        raise Unsupported("torch.float64", backend=name, remedy="only 'reference' works in double precision")


@cache
def _warn_slow(missing: str, reason: str) -> None:
    """Says once per process and reason what falling back costs."""
    message = (
        f"rendering by the plain torch reference, since backend '{missing}' cannot be used: {reason}. "
        "It is about a hundred times slower; naming it (backend='reference') silences this"
    )
    logger.warning(message)
    warnings.warn(message, RuntimeWarning, stacklevel=4)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The outcome of loading a backend, kept: compiling must not be tried again at every image."""

    backend: Backend | None
    reason: str


_ATTEMPTS: dict[str, _Attempt] = {}


def _load(name: str) -> Backend:
    attempt = _attempt(name)
    if attempt.backend is None:
        raise BackendUnavailable(name, attempt.reason)
    return attempt.backend


def _attempt(name: str) -> _Attempt:
    if name not in _ATTEMPTS:
        _ATTEMPTS[name] = {"gsplat": _attempt_gsplat, "cpu": _attempt_cpu, "reference": _attempt_reference}[name]()
    return _ATTEMPTS[name]


def _attempt_reference() -> _Attempt:
    return _Attempt(OpsBackend(ReferenceOps()), "")


def _attempt_cpu() -> _Attempt:
    try:
        load_library()
        return _Attempt(OpsBackend(CpuOps()), "")
    except Exception as error:
        return _Attempt(None, " ".join(str(error).split()) or type(error).__name__)


def _attempt_gsplat() -> _Attempt:
    loaded = gsplat_loading.load()
    return _Attempt(None if loaded.module is None else GsplatBackend(loaded.module), loaded.reason)


def _known_failure(status: BackendStatus) -> BackendStatus:
    """The guess, unless loading was tried already and failed."""
    attempt = _ATTEMPTS.get(status.name)
    if attempt is None or attempt.backend is not None:
        return status
    return replace(status, available=False, reason=attempt.reason)


def _reference_status() -> BackendStatus:
    return BackendStatus(name="reference", available=True, reason="plain torch, on any device; slow", version=None)


def _cpu_status() -> BackendStatus:
    try:
        reason = build.explain()
    except Exception as error:
        return BackendStatus(name="cpu", available=False, reason=f"looking for it failed: {error}")
    # `explain` ends with a remedy exactly where there is neither a library nor a way to make one.
    return BackendStatus(name="cpu", available="remedy:" not in reason, reason=reason)


def _gsplat_status() -> BackendStatus:
    version = gsplat_loading.find_version()
    reason = gsplat_loading.why_not()
    if reason is not None:
        return BackendStatus(name="gsplat", available=False, reason=reason, version=version)
    return BackendStatus(name="gsplat", available=True, reason=f"CUDA {torch.version.cuda}", version=version)
