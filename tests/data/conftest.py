"""Every test of data has empty caches of `datasets` and of the Hub's client."""

import pytest


@pytest.fixture(autouse=True)
def hub_cache(tmp_path, monkeypatch):
    """The folder of the Hub's cache; both caches are empty and inside the test's folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path / "hub"
