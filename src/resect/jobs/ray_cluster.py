"""A Ray cluster: found or started, with references in the place of a model, and with room for workers or without.

Knows Ray, and what a model needs; knows no work.
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

from .ray_worker import PARTS, part_of, part_of_own

#: Bytes that a cluster of ours may hold of items and results under way; more goes to the disk.
STORE = 512 * 2**20
#: Workers on this machine's CPU at least, where nothing is said: with one alone nothing would be won.
LEAST = 2
#: A cluster of ours tells nobody that it is used, leaves the accelerators alone, and does not guess at how this process was started.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def installed() -> Any:
    """Raises InputError where Ray is not installed."""
    for name, value in _QUIET.items():  # read when Ray is imported
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            "Work is spread by Ray, which is not installed here: pip install 'resect[ray]'. Without it: --engine local."
        ) from error
    return ray


@contextmanager
def cluster(ray: Any, address: str | None, workers: int | None) -> Iterator[None]:
    """A connection to a cluster: one that is there already, the one at the address, or one of our own with room for so many workers.

    Raises InputError where none answers.
    """
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(address="local", num_cpus=workers, include_dashboard=False, object_store_memory=STORE, **quiet)
    else:
        _check(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _silent(address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Raises InputError at once where nobody listens; Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise InputError(
            f"{address} is for Ray's client, through which models cannot be referred to: give the address that `ray start` says "
            "(host:6379), on a machine of the cluster."
        )
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise _silent(address, error) from error


def _silent(address: str, error: Exception) -> InputError:
    cause: BaseException | None = error
    while cause is not None:
        if "AuthToken" in str(cause):
            return InputError(
                f"The Ray cluster at {address!r} wants a token that was not given. With ~/.ray/auth_token of the machine where it was "
                "started, say RAY_AUTH_MODE=token in the environment; on that machine itself --ray-address auto is enough."
            )
        cause = cause.__cause__
    reason = textwrap.shorten(" ".join(str(error).split()) or type(error).__name__, 200, placeholder=" …")
    return InputError(
        f"No Ray cluster answers at {address!r} ({reason}). Start one with `ray start --head`, or leave the address out: then one is "
        "started on this machine, for as long as the work lasts."
    )


@contextmanager
def references(model: LanguageModel) -> Iterator[None]:
    """Whatever is sent meanwhile holds a reference where this model, or a part of it, stood."""
    from ray.util import deregister_serializer, register_serializer

    parts = {name: part_of(model, name) for name in PARTS}

    def referring(name: str) -> Callable[[Any], str]:
        def refer(found: Any) -> str:
            if found is not parts[name]:
                raise InputError(f"Ray workers have one model, {model!r}, and the work holds another: {found!r:.80}.")
            return name

        return refer

    for name, part in parts.items():
        register_serializer(type(part), serializer=referring(name), deserializer=part_of_own)
    try:
        yield
    finally:
        for part in parts.values():
            deregister_serializer(type(part))


def room_here(model: LanguageModel) -> int:
    """How many workers this machine has room for."""
    gpus = _gpus(model)
    return max(1, torch.cuda.device_count() // gpus) if gpus else max(LEAST, (os.cpu_count() or 1) // torch.get_num_threads())


def _gpus(model: LanguageModel) -> int:
    """How many GPUs a model is on."""
    return len({parameter.device for parameter in model.model.parameters() if parameter.device.type == "cuda"})


def options_of(ray: Any, model: LanguageModel, wanted: int | None) -> tuple[int, dict[str, Any]]:
    """How many workers, and what each of them asks the cluster for. Raises InputError."""
    threads, gpus = torch.get_num_threads(), _gpus(model)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    free = {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    if gpus > free["GPU"]:
        raise InputError(f"The model is on {gpus} GPUs here, and the Ray cluster has {free['GPU']:g}: give --device cpu, or add nodes.")
    room = sum(int(node.get("GPU", 0) // gpus) if gpus else int(node.get("CPU", 0) // threads) for node in nodes)
    count = wanted or max(1 if gpus else LEAST, room)
    share = free["CPU"] / count
    asked = {"num_cpus": min(threads, int(share) if share >= 1 else _part(share)), "scheduling_strategy": "SPREAD"}
    if gpus:
        # Several small models may share a GPU; one that is on several GPUs has them for itself.
        asked["num_gpus"] = gpus if count * gpus <= free["GPU"] or gpus > 1 else _part(free["GPU"] / count)
    return count, asked


def _part(share: float) -> float:
    """A share of one device, rounded down as Ray counts it."""
    return math.floor(share * 10_000) / 10_000


def said(resources: Mapping[str, Any]) -> str:
    """How many CPUs and GPUs these are, in words."""
    named = {"num_cpus": "CPU", "num_gpus": "GPU", "CPU": "CPU", "GPU": "GPU"}
    return ", ".join(f"{resources[key]:g} {name}" for key, name in named.items() if key in resources) or "nothing"
