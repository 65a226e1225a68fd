"""Connects to a Ray cluster or starts one, sends references in place of the model, and says how many workers fit and what each needs.

Knows Ray and what a model needs; knows neither the workers' tasks nor any job.
"""

import logging
import math
import os
import socket
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from resect.core.errors import InputError
from resect.models.language_model import LanguageModel

from .ray_worker import SHARED_PARTS, part_of, worker_part

#: Bytes of items and results that a cluster started here keeps in memory; Ray spills more to the disk.
OBJECT_STORE_BYTES = 512 * 2**20
#: Workers without a GPU at least, where no number is given: a single one would win nothing.
MIN_CPU_WORKERS = 2
#: No usage statistics, untouched accelerator variables, and no guess at how this process was started.
_RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def import_ray() -> Any:
    """Returns the package `ray`. Raises InputError where it is not installed."""
    for name, value in _RAY_ENVIRONMENT.items():  # read when Ray is imported
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError("--engine ray needs Ray, which is not installed: pip install 'resect[ray]', or use --engine local.") from error
    return ray


@contextmanager
def connected(ray: Any, address: str | None, cpus: int | None) -> Iterator[None]:
    """Connects this process to a cluster: keeps a connection that exists, else uses the address, else starts a cluster with so many CPUs.

    Raises InputError where no cluster answers.
    """
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    else:
        _check_address(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _no_answer(address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raises InputError at once where nothing listens; Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise InputError(
            f"{address} is an address for Ray's client, which cannot send references to a model. On a machine of the cluster, give the "
            "address that `ray start` prints (host:6379)."
        )
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise _no_answer(address, error) from error


def _no_answer(address: str, error: Exception) -> InputError:
    cause: BaseException | None = error
    while cause is not None:
        if "AuthToken" in str(cause):
            return InputError(
                f"The Ray cluster at {address!r} requires a token. Copy ~/.ray/auth_token from the machine that started the cluster and "
                "set RAY_AUTH_MODE=token in the environment; on that machine itself --ray-address auto is enough."
            )
        cause = cause.__cause__
    reason = textwrap.shorten(" ".join(str(error).split()) or type(error).__name__, 200, placeholder=" …")
    return InputError(
        f"No Ray cluster answers at {address!r} ({reason}). Start one with `ray start --head`, or leave --ray-address out: resect then "
        "starts one on this machine for the duration of the job."
    )


@contextmanager
def model_as_references(model: LanguageModel) -> Iterator[None]:
    """While the context lasts, this model and its shared parts are sent as names, for which each worker puts its own.

    Sending another model raises InputError.
    """
    from ray.util import deregister_serializer, register_serializer

    parts = {name: part_of(model, name) for name in SHARED_PARTS}

    def serializer(name: str) -> Callable[[Any], str]:
        def name_of(value: Any) -> str:
            if value is not parts[name]:
                raise InputError(f"Ray workers have one model, {model!r}, and the work holds another: {value!r:.80}.")
            return name

        return name_of

    for name, part in parts.items():
        register_serializer(type(part), serializer=serializer(name), deserializer=worker_part)
    try:
        yield
    finally:
        for part in parts.values():
            deregister_serializer(type(part))


def workers_on_this_machine(model: LanguageModel) -> int:
    """Returns how many workers fit on this machine."""
    gpus = _gpu_count(model)
    return max(1, torch.cuda.device_count() // gpus) if gpus else max(MIN_CPU_WORKERS, (os.cpu_count() or 1) // torch.get_num_threads())


def _gpu_count(model: LanguageModel) -> int:
    """Returns how many GPUs the model occupies."""
    return len({parameter.device for parameter in model.model.parameters() if parameter.device.type == "cuda"})


def worker_options(ray: Any, model: LanguageModel, workers: int | None) -> tuple[int, dict[str, Any]]:
    """Returns the number of workers, and the resources each requests. Raises InputError where the cluster has too few GPUs."""
    threads, gpus = torch.get_num_threads(), _gpu_count(model)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    total = {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    if gpus > total["GPU"]:
        raise InputError(f"The model is on {gpus} GPUs here, and the Ray cluster has {total['GPU']:g}: give --device cpu, or add nodes.")
    fitting = sum(int(node.get("GPU", 0) // gpus) if gpus else int(node.get("CPU", 0) // threads) for node in nodes)
    count = workers or max(1 if gpus else MIN_CPU_WORKERS, fitting)
    cpu_share = total["CPU"] / count
    options = {"num_cpus": min(threads, int(cpu_share) if cpu_share >= 1 else _rounded_down(cpu_share)), "scheduling_strategy": "SPREAD"}
    if gpus:
        # Several small models may share a GPU; a model on several GPUs has them to itself.
        options["num_gpus"] = gpus if count * gpus <= total["GPU"] or gpus > 1 else _rounded_down(total["GPU"] / count)
    return count, options


def _rounded_down(share: float) -> float:
    """Returns a share of one device, to the four decimals that Ray counts."""
    return math.floor(share * 10_000) / 10_000


def describe_resources(resources: Mapping[str, Any]) -> str:
    """Returns the CPUs and GPUs among some resources, in words."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "CPU": "CPU", "GPU": "GPU"}
    return ", ".join(f"{resources[key]:g} {name}" for key, name in names.items() if key in resources) or "nothing"
