"""Threads by what a process may use."""

import os

import pytest

from resect.core.threads import share_processors, usable_cpus


@pytest.mark.parametrize(
    ("content", "most"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 10**6), ("", 10**6), ("x y", 10**6)]
)
def test_a_limit_of_the_container_is_kept(tmp_path, content, most):
    (tmp_path / "cpu.max").write_text(content)
    none = tmp_path / "none"
    allowed = usable_cpus(none, none, none)
    assert usable_cpus(tmp_path / "cpu.max", none, none) == min(allowed, most)


def test_the_older_files_are_read_too(tmp_path):
    (tmp_path / "quota").write_text("100000\n")
    (tmp_path / "period").write_text("100000\n")
    assert usable_cpus(tmp_path / "none", tmp_path / "quota", tmp_path / "period") == 1
    (tmp_path / "quota").write_text("-1\n")
    assert usable_cpus(tmp_path / "none", tmp_path / "quota", tmp_path / "period") == usable_cpus(*[tmp_path / "none"] * 3)


def test_what_the_user_says_stands():
    environment = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}
    share_processors(environment)
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}
    fresh: dict[str, str] = {}
    share_processors(fresh)
    assert fresh["OMP_WAIT_POLICY"] == "PASSIVE"
    assert ("OMP_NUM_THREADS" in fresh) == (usable_cpus() < (os.cpu_count() or 1))
