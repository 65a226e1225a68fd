"""The first tiny model of a configuration that runs: sizes are divided by less where relations between them would break.

Knows configurations and the classes that build models from them; knows no module.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from resect.core.errors import UnknownFamily

from .block_lists import unknown
from .families import Kind
from .tiny_config import tiny_config
from .tiny_model import TinyModel

#: The ways to make sizes small, tried in this order: with longer heads, with the same factors in all parts, and not at all.
_WAYS: tuple[dict[str, Any], ...] = ({}, {"shortest": 16}, {"together": True}, {"shortest": 32}, {"shortest": 0})
#: How much random weights amplify; without norms, values grow from block to block.
_GAINS = (1.5, 0.75, 0.3)
_MOST_PARAMETERS = 300_000_000


@dataclass(frozen=True)
class OwnClass:
    """A class of models that no auto class of transformers maps this configuration to: that of the text in a larger model, or of code that
    comes with the model.
    """

    model_class: Any

    def from_config(self, config: Any, **_settings: Any) -> Any:
        """Returns a model of this configuration."""
        return self.model_class._from_config(config)

    def from_pretrained(self, path: str, **settings: Any) -> Any:
        """Returns the model that is stored there."""
        return self.model_class.from_pretrained(path, **settings)


def trusted_class(config: Any) -> tuple[Kind, OwnClass] | None:
    """Returns the kind and the class of a model whose code comes with it; None where it brings none.

    The configuration's own class was loaded by such code, so that the user has allowed it to run (trust_remote_code).
    """
    if not type(config).__module__.startswith("transformers_modules."):
        return None
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    names: tuple[tuple[Kind, str], ...] = (
        ("causal", "AutoModelForCausalLM"),
        ("encoder-decoder", "AutoModelForSeq2SeqLM"),
        ("masked", "AutoModelForMaskedLM"),
    )
    stated = getattr(config, "auto_map", None) or {}
    for kind, name in names:
        if name in stated:
            repository, _, reference = str(stated[name]).rpartition("--")
            return kind, OwnClass(get_class_from_dynamic_module(reference, repository or config._name_or_path))
    return None


def own_class(config: Any) -> OwnClass | None:
    """Returns the class for causal language models, in the package of this configuration, that is built from it; None where none is."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    package = type(config).__module__.rpartition(".")[0]
    if not package.startswith("transformers.models."):
        return None
    module = importlib.import_module(package)
    names = {name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() if isinstance(name, str)}
    classes = [getattr(module, name) for name in sorted(names & set(dir(module)))]
    return next((OwnClass(found) for found in classes if found.config_class is type(config)), None)


def build_tiny(kind: Kind, model_class: Any, config: Any, *, larger: bool = False) -> TinyModel:
    """Returns the first tiny model of a configuration that computes finite logits. Raises UnknownFamily where none does.

    model_class : has a `from_config`
    larger : whether its sizes are larger than they could be, for a second look
    """
    problem = too_large = ""
    for small in _small_configs(config, larger):
        if small.to_dict() != config.to_dict() and _parameters(model_class, small) > _MOST_PARAMETERS:
            too_large = f"Its tiny models have more than {_MOST_PARAMETERS:,} parameters."
            continue
        try:
            for gain in _GAINS:
                tiny = TinyModel.build(model_class, small, kind, gain=gain)
                if bool(torch.isfinite(tiny.logits()).all()):
                    return tiny
            problem = problem or "A tiny model of it computes NaN."
        except Exception as error:  # noqa: BLE001 - code of any model type may fail in any way
            problem = problem or f"No tiny model of it runs: {short(error)}."
    raise UnknownFamily(f"{unknown(config)} {problem or too_large}")


def _small_configs(config: Any, larger: bool) -> Iterator[Any]:
    for way in _WAYS:
        try:
            yield tiny_config(config, larger=larger, **way)
        except Exception:
            if way == _WAYS[-1]:
                raise


def _parameters(model_class: Any, config: Any) -> int:
    with torch.device("meta"):
        try:
            return sum(parameter.numel() for parameter in model_class.from_config(config).parameters())
        except Exception:  # noqa: BLE001 - said where the model is built with its weights
            return 0


def short(error: Exception) -> str:
    """Returns an error of another package as one short line."""
    return f"{type(error).__name__}: {str(error)[:160]}".replace("\n", " ").rstrip(".")
