"""Dataflow: what is saved by looking at all units together changes nothing that is found."""

import pytest

import pico
from resect.models.dataflow import BlockRun
from resect.models.discovery import discover


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_units_that_change_nothing_together_change_nothing_alone(name, monkeypatch):
    quick = discover(pico.PICO[name]())
    monkeypatch.setattr(BlockRun, "_changes_anything", lambda *_: True)
    assert discover(pico.PICO[name]()) == quick
