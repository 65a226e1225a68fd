"""The three splits: assigns groups to them by a hash that never changes, and keeps their shares in a smaller task.

Knows groups by name; knows no example and no task.
"""

import hashlib
from typing import Literal

SplitName = Literal["locate", "select", "test"]
#: The splits and their shares of the groups.
SHARES: dict[SplitName, float] = {"locate": 0.1, "select": 0.2, "test": 0.7}
#: Never change it: with another salt, one run would test on what another has located on.
_SALT = "resect:splits:1"


def split_of_group(group: str) -> SplitName:
    """Returns the split of a group, by its hash."""
    position = hash_of(group) / 2**64
    if position < SHARES["locate"]:
        return "locate"
    return "select" if position < SHARES["locate"] + SHARES["select"] else "test"


def hash_of(group: str) -> int:
    """Returns a group's hash, from 0 to 2^64 - 1: the same in every run."""
    return int.from_bytes(hashlib.sha256(f"{_SALT}:{group}".encode("utf-8", "surrogatepass")).digest()[:8], "big")


def quotas(n: int, available: dict[str, int]) -> dict[str, int]:
    """Returns how many of `n` examples come from each split: its share, at least one, never more than it has; `n` in all."""
    quota: dict[str, int] = {name: min(available[name], max(1, round(share * n))) for name, share in SHARES.items()}
    for name in ("test", "select", "locate"):
        quota[name] = max(0, quota[name] - max(0, sum(quota.values()) - n))
    for name in ("test", "select", "locate"):
        quota[name] += min(available[name] - quota[name], n - sum(quota.values()))
    return quota
