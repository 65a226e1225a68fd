"""Verifies an anatomy once: the result is kept in the user's cache, next to the layout that discovery found.

Knows verification and where the cache is; does not know how an anatomy was found, nor who asks. A kept result that cannot be read is
computed again; a cache that cannot be written costs time, and nothing else.
"""

import contextlib
import json
import warnings
from pathlib import Path
from typing import Any

from resect.core.errors import StorageFailure
from resect.core.files import write_json
from resect.models.anatomy import Anatomy
from resect.models.discovery_cache import configuration_hash, default_folder

from .verify_anatomy import Verification, verify_anatomy

#: Changed whenever the laws, or what is checked of them, change.
LAWS = 2


def verified(config: Any) -> Verification:
    """Returns the verification of a configuration: the kept one, else a new one, which is kept. Raises UnknownFamily, NotYet."""
    return kept_verification(config) or verify_again(config)


def verify_again(config: Any) -> Verification:
    """Verifies a configuration and keeps the result. Raises UnknownFamily, NotYet."""
    verification = verify_anatomy(config)
    with contextlib.suppress(OSError, StorageFailure):
        path = _path(config)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, verification.to_json())
    return verification


def kept_verification(config: Any) -> Verification | None:
    """Returns what was found when this configuration was verified; None where it was not, or cannot be read."""
    try:
        return Verification.from_json(json.loads(_path(config).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def warn_where_laws_fail(model: Any) -> None:
    """Verifies the anatomy of a Hugging Face model once, where it was discovered, and warns of the sites at which a law does not hold."""
    if Anatomy.of(model).is_listed:
        return
    verification = verified(model.config)
    for law in verification.laws:
        if law.failed:
            warnings.warn(
                f"The anatomy of this {model.config.model_type} model was found on a tiny model, and one of its laws does not hold there: "
                f"{law.states}. It fails at {', '.join(law.failed[:5])}{' and others' if len(law.failed) > 5 else ''}; do not trust edits "
                "at such sites (resect anatomy MODEL --verify shows all).",
                stacklevel=3,
            )


def _path(config: Any) -> Path:
    return default_folder() / f"{config.model_type}-{configuration_hash(config)[:32]}-laws{LAWS}.json"
