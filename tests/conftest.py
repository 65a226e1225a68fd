"""Set up for every test: shapes and types checked while it runs, no network, one thread, and fixtures that several packages use."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from jaxtyping import install_import_hook

install_import_hook("resect", "runtime_types.checked")

import pytest
import torch

torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real models and data, next to the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"there is no folder {SHARED.name}/ with real models and data next to the repository")
    return SHARED


@pytest.fixture(scope="session")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a planted model, a task file and a text (see `planted_bias.write`); tests must not change it."""
    import planted_bias

    folder = tmp_path_factory.mktemp("planted")
    planted_bias.write(folder)
    return folder
