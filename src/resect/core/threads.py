"""Threads that share a machine well: as many as this process may use, and waiting without spinning. Takes effect before torch is loaded.

While a thread of OpenMP waits for the others it spins by default, so that a second process on the same cores makes both many times slower.
"""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

#: Files that limit how much processor time a container gets: of cgroups in version 2, and in version 1.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
QUOTA, PERIOD = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))


def usable_cpus(cpu_max: Path = CPU_MAX, quota: Path = QUOTA, period: Path = PERIOD) -> int:
    """Returns how many processors this process may use, by its affinity and by the limits of its container; 1 at least."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = _words(cpu_max) or [*_words(quota), *_words(period)]
    if len(limits) == 2 and all(word.isdecimal() and int(word) > 0 for word in limits):  # else "max", or -1: no limit
        allowed = min(allowed, math.ceil(int(limits[0]) / int(limits[1])))
    return max(1, allowed)


def share_processors(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets what OpenMP reads when torch is loaded, where nothing else was said: passive waiting, and the number of threads.

    The number is set only where fewer processors may be used than the machine shows, since torch counts those it sees.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    usable = usable_cpus()
    if usable < (os.cpu_count() or 1):
        environment.setdefault("OMP_NUM_THREADS", str(usable))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
