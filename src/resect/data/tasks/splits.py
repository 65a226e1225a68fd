"""The three splits: which group is in which, by a hash that never changes, and how a smaller task keeps their shares.

Knows groups by name; knows no example and no task.
"""

import hashlib
from typing import Literal

SplitName = Literal["locate", "select", "test"]
#: The splits and their shares of the groups.
SHARES: dict[SplitName, float] = {"locate": 0.1, "select": 0.2, "test": 0.7}
#: Constant for ever: with another salt, what one run located on another would test on.
_SALT = "resect:splits:1"


def split_of_group(group: str) -> SplitName:
    """The split that a group's hash says."""
    position = place_of(group) / 2**64
    if position < SHARES["locate"]:
        return "locate"
    return "select" if position < SHARES["locate"] + SHARES["select"] else "test"


def place_of(group: str) -> int:
    """Where a group stands in an order that is the same in every run, from 0 to 2^64 - 1."""
    return int.from_bytes(hashlib.sha256(f"{_SALT}:{group}".encode("utf-8", "surrogatepass")).digest()[:8], "big")


def quotas(n: int, available: dict[str, int]) -> dict[str, int]:
    """How many of `n` examples each split gives: its share, at least one, never more than it has; `n` in all."""
    quota: dict[str, int] = {name: min(available[name], max(1, round(share * n))) for name, share in SHARES.items()}
    for name in ("test", "select", "locate"):
        quota[name] = max(0, quota[name] - max(0, sum(quota.values()) - n))
    for name in ("test", "select", "locate"):
        quota[name] += min(available[name] - quota[name], n - sum(quota.values()))
    return quota
