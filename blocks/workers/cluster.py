"""Owns the Ray cluster of a run: one that is there already, or one of this machine's own while it is needed."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

from scene3d.errors import InputError, MissingPart

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 80 << 20
"""Results that pass through Ray are a few lines of text; scenes travel as files."""

MAX_STARTS = 4
"""Times that starting a cluster is tried."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Relative paths of a person mean the same folder in every worker.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A worker imports torch before it answers: on a busy machine that takes minutes.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1800",
    "RAY_worker_register_timeout_seconds": "1800",
    "RAY_gcs_server_request_timeout_seconds": "600",
    "RAY_health_check_initial_delay_ms": "60000",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_failure_threshold": "10",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # Ray warns of what later versions will change.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""For the processes that Ray starts; what a person has set already stays."""

LOOPBACK = {
    # Despite its name this decides on every system whether a node has an address that others can reach.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
}
"""For a cluster of this machine alone."""


def require_ray() -> None:
    """Says so before anything was begun, where Ray is not there.

    Raises:
        MissingPart: It is not installed.
    """
    if find_spec("ray") is None:
        remedy = "run `pip install 'scene3d[cluster]'`, or use one worker (--workers 1)"
        raise MissingPart("more than one worker needs the package ray, which is not installed", remedy=remedy)


@contextmanager
def open_cluster(address: str | None, num_workers: int) -> Iterator[Any]:
    """The `ray` module, connected; a cluster that was started here ends with the body.

    Args:
        address: Of a running cluster; None starts one that only this machine reaches.
        num_workers: Processes that work at the same time.

    Raises:
        MissingPart: Ray is not installed.
        InputError: There is no cluster at this address.
    """
    require_ray()
    wanted = ENVIRONMENT | ({} if address else LOOPBACK)
    before = {name: os.environ.get(name) for name in [*wanted, "PYTHONPATH"]}
    os.environ.update({name: value for name, value in wanted.items() if name not in os.environ})
    # Workers import what this process imports, from the same place.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path and os.path.isdir(path))
    try:
        import ray

        if ray.is_initialized():
            yield ray
            return
        with _connected(ray, address, num_workers):
            yield ray
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _connected(ray: Any, address: str | None, num_workers: int) -> Iterator[None]:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        try:
            ray.init(address=address, **quiet)
        except ConnectionError as error:
            remedy = "start one with `ray start --head`, or leave --ray out"
            raise InputError(f"there is no Ray cluster ({error})", where=address, remedy=remedy) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    # Sockets live below it, whose paths may not be long: the person's own folder for temporary files may be too deep.
    short = "/tmp" if os.name == "posix" else None
    with TemporaryDirectory(prefix="scene3d-ray-", dir=short, ignore_cleanup_errors=True) as scratch:
        _start(ray, num_cpus=max(num_workers, _own_cpus()), _temp_dir=scratch, **quiet)
        try:
            yield
        finally:
            ray.shutdown()


def _start(ray: Any, **options: Any) -> None:
    """Starts a cluster, again where the machine was too busy for Ray's patience of half a minute."""
    for attempt in range(MAX_STARTS):
        try:
            ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **options)
            return
        except Exception as error:  # Ray raises nothing narrower here
            ray.shutdown()
            if attempt + 1 == MAX_STARTS or "timed out during startup" not in str(error):
                raise
            logger.warning("Ray did not start in time; once more")


def find_resources(ray: Any, num_workers: int, *, use_gpu: bool) -> dict[str, float]:
    """What each worker reserves: its part of the CPUs, as many as it has threads, and a GPU where one is used.

    Args:
        ray: Connected.
        num_workers: That work at the same time.
        use_gpu: Whether each trains on a GPU of its own.

    Raises:
        InputError: The cluster is too small for so many.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    num_gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if use_gpu and num_gpus < num_workers:
        raise InputError(
            f"{num_workers} workers need a GPU each; the cluster has {num_gpus}", remedy="use fewer (--workers)"
        )
    cpus = share_cpus([int(node.get("CPU", 0)) for node in nodes], num_workers)
    return {"CPU": float(cpus), **({"GPU": 1.0} if use_gpu else {})}


def share_cpus(node_cpus: Sequence[int], num_workers: int) -> int:
    """Most CPUs that each of so many workers can have, none of them spread over two machines.

    Raises:
        InputError: There are fewer CPUs than workers; Ray would wait for more for ever.
    """
    for cpus in range(max(node_cpus, default=0), 0, -1):
        if sum(node // cpus for node in node_cpus) >= num_workers:
            return cpus
    what = f"{num_workers} workers need a CPU each; the cluster has {sum(node_cpus)}"
    raise InputError(what, remedy="use fewer (--workers)")


def _own_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
