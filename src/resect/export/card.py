"""The card of an exported model: what was cut, what changed, how it was found, and what that does not show; as Markdown.

Reads plain values as plan.json and comparison.json hold them, and recipes; measures nothing, knows no model. No machine's path stands in
it, and texts that come from data or models are escaped.
"""

import importlib.metadata
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from resect.core.address import ROLES, STACKS, Site
from resect.core.number_format import plural
from resect.runs.recipe import Recipe

from . import card_languages
from .card_tables import ROWS_SHOWN, numbers
from .markdown import escaped, fenced, table, without_folders

#: What of a base's front matter holds for its edited copy too.
KEPT = ("library_name", "license", "license_name", "license_link", "language", "pipeline_tag")
#: Whose versions are told.
PACKAGES = ("resect", "torch", "transformers", "python")
ABOUT = """\
with some of its weights changed, and without any training; [plan.json](plan.json) says which. Architecture, names, shapes and number types
are the base's, so that it is loaded as the base is."""
ABOUT_FACTORS = """\
with some of its weights changed, and without any training; [plan.json](plan.json) says which. Some of its matrices are kept as two factors
each, so that **plain transformers cannot load it**: see below."""
LOADING = """\
`model.model` is the Hugging Face model, with two thin layers in the place of each of these matrices, and `model.tokenizer` its tokenizer;
`model.model.save_pretrained(folder)` writes it with the matrices multiplied out, as a checkpoint that plain transformers loads. Here,
`AutoModel….from_pretrained` stops with an error that says that there is no file named model.safetensors: the weights have other names
on purpose, since in place of the factors it would fill in random numbers."""
LIMIT_OF_RANK = """\
A better number here means that this model answers **these examples, asked in this way**, better than its base does. What else the
components that were taken away were good for was looked at only as far as the side effects above say: other facts, other wordings,
languages and uses may be answered worse. The matrices were chosen among many by how well they did; what stands above is of examples that
had no say in that choice. Measure again on your own data before you rely on it."""
LIMIT = """\
A better number here means that this model answers **these examples, asked in this way**, better than its base does. It does not mean that
the model is unbiased, safe or fair. Bias that the examples do not ask for, in other wordings, languages, groups or uses, was not looked at
and may be as strong as before, or stronger. What else the cut neurons were good for was looked at only as far as the side effects above
say. Measure again on your own data before you rely on it."""
_LIMITS = {"laser": LIMIT_OF_RANK, "lape": card_languages.LIMIT}
_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def card(
    plan: Mapping[str, Any],
    *,
    base_model: str,
    base_front_matter: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    comparison: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    factored: Mapping[str, Any] | None = None,
    matrix: Mapping[str, Any] | None = None,
    language: str | None = None,
) -> str:
    """README.md of an exported model.

    Parameters
    ----------
    plan : the object of plan.json
    base_model : a Hub id, or a name; of a path only its last part is told
    base_front_matter : of the base's own README.md (see `front_matter`), of which the licence, languages and task are kept
    recipe : how the plan was found; None: that is not known
    comparison : the object of comparison.json; None: nothing was measured
    environment : the object of environment.json
    factored : which matrices are kept as factors, and what that saved (`Saving.to_json`); None: none are
    matrix, language : the object of matrix.json, and whose units the plan switches off
    """
    base = without_folders(" ".join(base_model.split()))
    kept = {name: value for name, value in (base_front_matter or {}).items() if name in KEPT and _is_text(value)}
    head = {"base_model": base, "library_name": "transformers", "tags": ["resect", "model-surgery"], **kept}
    if factored is not None:
        head["library_name"] = "resect"
    sections = {
        f"# {escaped(base)} after surgery": [f"This is {escaped(base)} {ABOUT if factored is None else ABOUT_FACTORS}"],
        **({} if factored is None else {"## How to load it": loading(factored)}),
        "## What was cut": cuts(plan),
        "## What changed": _changed(comparison, matrix, language),
        "## What this does not show": [_LIMITS.get("" if recipe is None else recipe.method, LIMIT)],
        "## How it was found": origin(recipe, environment or {}),
        "## Licence": [licence(kept)],
    }
    front = f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---"
    return "\n\n".join([front, *(part for title, parts in sections.items() for part in (title, *parts))]) + "\n"


def _changed(comparison: Mapping[str, Any] | None, matrix: Mapping[str, Any] | None, language: str | None) -> list[str]:
    if matrix is not None and language is not None:
        return card_languages.row(matrix, language)
    return ["Nothing was measured with this plan."] if comparison is None else numbers(comparison)


def front_matter(path: Path) -> dict[str, Any]:
    """The YAML at the head of a README.md; empty where there is none, or none that can be read: a base's card is not ours to judge."""
    try:
        match = _FRONT.match(path.read_text(encoding="utf-8"))
        held = None if match is None else yaml.safe_load(match.group(1))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError):
        return {}
    return dict(held) if isinstance(held, Mapping) else {}


# -- what was cut ------------------------------------------------------------------------------------------------------


def cuts(plan: Mapping[str, Any]) -> list[str]:
    """Each edit in a sentence, then how many units of each layer and role it names."""
    edits = [edit for edit in plan["edits"] if edit.get("neurons") or "site" in edit]
    if not edits:
        return ["Nothing: the plan is empty, and the weights are the base's. On its select split, no cut was better than none."]
    counts: Counter[Site] = Counter()
    for edit in edits:
        counts.update({Site.parse(address): len(units) for address, units in edit.get("neurons", {}).items()})
    told = ["\n".join(f"- {_sentence(edit)}" for edit in edits[:ROWS_SHOWN])]
    if len(edits) > ROWS_SHOWN:
        told.append(f"… and {len(edits) - ROWS_SHOWN:,} edits more; plan.json has all.")
    return [*told, *_by_layer(counts)]


def _sentence(edit: Mapping[str, Any]) -> str:
    units, sites = sum(map(len, edit.get("neurons", {}).values())), len(edit.get("neurons", {}))
    neurons = f"{plural(units, 'neurons')} at {plural(sites, 'sites')}"
    match edit["kind"]:
        case "scale":
            return f"{neurons} removed (multiplied by 0)" if edit["factor"] == 0 else f"{neurons} multiplied by {edit['factor']:g}"
        case "clamp":
            return f"{neurons} set to constants"
        case "shift":
            return f"constants added to {neurons}"
        case "reduce_rank":
            which = "its largest" if edit.get("keep", "largest") == "largest" else "its smallest"
            how = ", by the approximation of the authors' code" if edit.get("variant", "exact") == "official" else ""
            return f"`{Site.parse(edit['site'])}` reduced to {which} singular components, {edit['rho']:.4g} of its rank{how}"
        case "prune_weights":
            which = "smallest" if edit.get("select", "smallest") == "smallest" else "randomly drawn"
            return f"the {which} {100 * edit['fraction']:.4g} % of the weights of `{Site.parse(edit['site'])}` set to 0"
        case kind:
            return f"{escaped(kind)}: see plan.json"


def _by_layer(counts: Counter[Site]) -> list[str]:
    if not counts:
        return []
    roles = [role for role in ROLES if any(site.role == role for site in counts)]
    layers = sorted({(STACKS.index(site.stack), site.layer) for site in counts})
    held: dict[tuple[int, int], Counter[str]] = {layer: Counter() for layer in layers}
    for site, number in counts.items():
        held[STACKS.index(site.stack), site.layer][site.role] += number
    rows = [[f"{STACKS[stack]} {layer}", *(f"{held[stack, layer][role] or '·'}" for role in roles)] for stack, layer in layers]
    more = [] if len(rows) <= ROWS_SHOWN else [f"… and {len(rows) - ROWS_SHOWN:,} layers more; plan.json has all."]
    return ["Neurons by layer and role:", table(["layer", *(f"`{role}`" for role in roles)], rows[:ROWS_SHOWN]), *more]


# -- how it is loaded --------------------------------------------------------------------------------------------------


def loading(factored: Mapping[str, Any]) -> list[str]:
    """The one call that loads an export with factors, what these saved, and which matrices have them."""
    call = 'import resect\n\nmodel = resect.load_model("this folder, or its Hub id")'
    matrices, weights = factored["bytes"]["matrices"], factored["bytes"]["weights"]
    saved = (
        f"As factors, these matrices take {_bytes(matrices['after'])} instead of {_bytes(matrices['before'])}, and all weights "
        f"{_bytes(weights['after'])} instead of {_bytes(weights['before'])}. Of each, `left` is U·diag(S) [out, rank] and `right` is "
        "Vᵀ [rank, in]; their product is the matrix to within two roundings of its number type, where the matrix would be rounded once:"
    )
    rows = [
        [f"`{Site.parse(each['site'])}`", f"{each['shape'][0]:,} × {each['shape'][1]:,}", f"{each['rank']:,}"]
        for each in factored["matrices"]
    ]
    more = [] if len(rows) <= ROWS_SHOWN else [f"… and {len(rows) - ROWS_SHOWN:,} matrices more; factored.json has all."]
    dense = ["\n".join(f"- {sentence}" for sentence in factored["dense"][:ROWS_SHOWN])] if factored["dense"] else []
    how = ["With `pip install resect`:", f"```python\n{call}\n```", LOADING]
    return [*how, saved, table(["matrix", "out × in", "rank"], rows[:ROWS_SHOWN]), *more, *dense]


def _bytes(size: int) -> str:
    """A size as people read it.

    >>> _bytes(999), _bytes(4_721_040), _bytes(15_000_000_000)
    ('999 bytes', '4.72 MB', '15 GB')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:,} bytes"


# -- how it was found --------------------------------------------------------------------------------------------------


def origin(recipe: Recipe | None, environment: Mapping[str, Any]) -> list[str]:
    """The command that finds the plan again, and what it ran on."""
    by = f"Exported with resect {importlib.metadata.version('resect')}."
    if recipe is None:
        return [f"How the plan was found is not recorded here: it was made by hand, or taken out of its run. {by}"]
    versions = environment.get("versions") or {}
    on = [f"{name} {versions[name]}" for name in PACKAGES if versions.get(name)]
    on += [f"{name} {environment[name]}" for name in ("dtype", "device") if environment.get(name)]
    ran = f"It ran with {escaped(', '.join(on))}. " if on else ""
    return [f"By the method {escaped(recipe.method)} of resect (files are named without their folders):", fenced(command(recipe)), ran + by]


def licence(kept: Mapping[str, Any]) -> str:
    """A sentence on what the base's front matter says of its licence."""
    stated = kept.get("license_name") or kept.get("license")
    if not stated:
        return "The base model's licence applies to this one too. It is not stated beside the base's weights: look where they come from."
    name = stated if isinstance(stated, str) else ", ".join(stated)
    return f"The base model's licence applies to this one too: {escaped(name)}."


def command(recipe: Recipe) -> str:
    """The command line of a recipe, with paths by their last part alone."""
    return shlex.join(["resect", *recipe.with_settings(output=None).to_words(without_folders)])


def _is_text(value: object) -> bool:
    """Whether it is one line of text, or several such."""
    parts = value if isinstance(value, list) else [value]
    return bool(parts) and all(isinstance(each, str) and each.isprintable() for each in parts)
