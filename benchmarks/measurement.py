"""Clocks and memory of processes, for the benchmarks.

Knows no model and imports nothing heavy: memory is counted above what the imports take.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MIB = 2**20


def best_of_each(
    rounds: int, workloads: Mapping[str, Callable[[], object]], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Returns the seconds of each workload, the best of several rounds.

    The workloads take turns, so that a slow phase of the machine hits all.
    """
    seconds = dict.fromkeys(workloads, float("inf"))
    for _ in range(rounds + 1):  # one more, since first calls warm up
        for name, workload in workloads.items():
            start = clock()
            workload()
            seconds[name] = min(seconds[name], clock() - start)
    return seconds


def peak_memory() -> int:
    """Returns the most memory that this process ever held, in bytes (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def current_memory() -> int:
    """Returns the memory that this process holds now, in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def in_own_process(script: str | Path, *arguments: str) -> dict[str, Any]:
    """Runs a script in a process of its own and returns the JSON object that it prints last."""
    out = subprocess.run([sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result
