"""The model card of an export: what was edited, what changed, how the plan was found, and what that does not show; as Markdown.

Knows the schemas of plan.json, comparison.json and matrix.json, and recipes; no method, and no model. No path of this machine is in a card,
and texts that come from data or models are escaped.
"""

import importlib.metadata
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from resect.core.address import STACKS, Site, role_order
from resect.core.number_format import plural
from resect.runs.chat_settings import reading_sentences
from resect.runs.recipe import Recipe
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.languages import MatrixFile
from resect.runs.schemas.plan import ClampRecord, EditRecord, PlanFile, PruneWeightsRecord, ReduceRankRecord, ScaleRecord, ShiftRecord

from .card_results import MAX_ROWS, comparison_section, language_section
from .markdown import escaped, fenced, table, without_folders

#: Fields of a base's front matter that hold for its edited copy too.
_KEPT_FIELDS = ("library_name", "license", "license_name", "license_link", "language", "pipeline_tag")
#: Packages whose versions are listed.
_PACKAGES = ("resect", "torch", "transformers", "python")
_ABOUT = """\
with some of its weights changed, without any training; [plan.json](plan.json) says which. Architecture, names, shapes and number types
are the base's, so that it is loaded as the base is."""
_ABOUT_FACTORED = """\
with some of its weights changed, without any training; [plan.json](plan.json) says which. Some of its matrices are stored as two factors
each, so that **plain transformers cannot load it**: see below."""
_LOADING = """\
`model.model` is the Hugging Face model, with two thin layers in the place of each of these matrices, and `model.tokenizer` its tokenizer;
`model.model.save_pretrained(folder)` writes it with the matrices multiplied out, as a checkpoint that plain transformers loads. Here,
`AutoModel….from_pretrained` stops with the error that there is no file named model.safetensors: the weights have other file names on
purpose, because in place of the factors it would use random numbers."""
_LIMIT = """\
A better number here means that this model answers **these examples, in these wordings**, better than its base does. It does not mean that
the model is unbiased, safe or fair. Other wordings, facts, languages, groups and uses were not measured, and may be answered worse; a bias
that the examples do not test may be as strong as before, or stronger."""
_LIMIT_NEURONS = """\
Other functions of the edited neurons were measured only as far as the side effects above show."""
_LIMIT_MATRICES = """\
Other functions of the components that were removed were measured only as far as the side effects above show. The edited matrices were
chosen among many candidates by their score; the numbers above are of examples that had no part in that choice."""
_LIMIT_LANGUAGES = """\
These numbers say how well this model predicts **held-out text like the one above**, token by token. They do not say what it writes: whether
it still answers in that language, or how well, and which other functions the deactivated units had (names, numbers, code in that language's
text). Other languages were not measured."""
_LIMIT_END = "Measure on your own data before you rely on it."
#: The folders in front of a file's name, in a sentence.
_FOLDERS = re.compile(r"(?<![^\s'\"(=])(?:[A-Za-z]:)?(?:[\\/][^\s\\/]+)*[\\/](?=[^\s\\/])")
_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Results:
    """What a run measured with the plan: a comparison; or a matrix, of which the row of `language` is this plan's; or nothing."""

    comparison: ComparisonFile | None = None
    matrix: MatrixFile | None = None
    language: str | None = None


def card(
    plan: PlanFile,
    *,
    base_model: str,
    base_front_matter: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    environment: Mapping[str, Any] | None = None,
    results: Results | None = None,
    factored: Mapping[str, Any] | None = None,
) -> str:
    """Returns README.md of an exported model.

    Parameters
    ----------
    base_model : a Hub id, or a name; of a path only its last part is written
    base_front_matter : of the base's own README.md (see `front_matter`), of which the licence, languages and task are kept
    recipe : how the plan was found; None: unknown
    environment : the object of environment.json
    results : what was measured with the plan
    factored : which matrices are stored as factors, and what that saved (`FactoringSummary.to_json`); None: none are
    """
    base = without_folders(" ".join(base_model.split()))
    kept = {name: value for name, value in (base_front_matter or {}).items() if name in _KEPT_FIELDS and _is_text(value)}
    head = {"base_model": base, "library_name": "transformers", "tags": ["resect", "model-surgery"], **kept}
    if factored is not None:
        head["library_name"] = "resect"
    results = results or Results()
    sections = {
        f"# {escaped(base)} after surgery": [f"This is {escaped(base)} {_ABOUT if factored is None else _ABOUT_FACTORED}"],
        **({} if factored is None else {"## How to load it": _loading_section(factored)}),
        "## What was edited": _edits_section(plan),
        "## What changed": _results_section(results),
        "## What this does not show": _limits_section(plan, results),
        "## How it was found": _origin_section(recipe, environment or {}),
        "## Licence": [_licence(kept)],
    }
    front = f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---"
    return "\n\n".join([front, *(part for title, parts in sections.items() for part in (title, *parts))]) + "\n"


def front_matter(path: Path) -> dict[str, Any]:
    """Returns the YAML at the head of a README.md; empty where there is none, or where it cannot be read."""
    try:
        match = _FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        value = None if match is None else yaml.safe_load(match.group(1))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError):
        return {}
    return dict(value) if isinstance(value, Mapping) else {}


# -- what was edited, what changed -----------------------------------------------------------------------------------------


def _edits_section(plan: PlanFile) -> list[str]:
    """Each edit in a sentence, then the number of units by layer and role."""
    edits = [edit for edit in plan.edits if isinstance(edit, ReduceRankRecord | PruneWeightsRecord) or edit.neurons]
    if not edits:
        return ["Nothing: the plan is empty, and the weights are the base's. On the select split, no edit was better than none."]
    parts = ["\n".join(f"- {_edit_sentence(edit)}" for edit in edits[:MAX_ROWS])]
    if len(edits) > MAX_ROWS:
        parts.append(f"… and {len(edits) - MAX_ROWS:,} edits more; plan.json has all.")
    return [*parts, *_units_by_layer(edits)]


def _edit_sentence(edit: EditRecord) -> str:
    if isinstance(edit, ReduceRankRecord):
        approximation = ", by the approximation of the authors' code" if edit.variant == "official" else ""
        return f"`{edit.site}` reduced to its {edit.keep} singular components, {edit.rho:.4g} of its rank{approximation}"
    if isinstance(edit, PruneWeightsRecord):
        which = "smallest" if edit.select == "smallest" else "randomly drawn"
        return f"the {which} {100 * edit.fraction:.4g} % of the weights of `{edit.site}` set to 0"
    neurons = f"{plural(sum(map(len, edit.neurons.values())), 'neurons')} at {plural(len(edit.neurons), 'sites')}"
    if isinstance(edit, ScaleRecord):
        return f"{neurons} removed (multiplied by 0)" if edit.factor == 0 else f"{neurons} multiplied by {edit.factor:g}"
    return f"{neurons} set to constants" if isinstance(edit, ClampRecord) else f"constants added to {neurons}"


def _units_by_layer(edits: list[EditRecord]) -> list[str]:
    counts: Counter[Site] = Counter()
    for edit in edits:
        if isinstance(edit, ScaleRecord | ClampRecord | ShiftRecord):
            counts.update({Site.parse(address): len(units) for address, units in edit.neurons.items()})
    if not counts:
        return []
    roles = sorted({site.role for site in counts}, key=role_order)
    by_layer: dict[tuple[int, int], Counter[str]] = {}
    for site, number in counts.items():
        by_layer.setdefault((STACKS.index(site.stack), site.layer), Counter())[site.role] += number
    rows = [
        [f"{STACKS[stack]} {layer}", *(f"{by_role[role] or '·'}" for role in roles)] for (stack, layer), by_role in sorted(by_layer.items())
    ]
    more = [] if len(rows) <= MAX_ROWS else [f"… and {len(rows) - MAX_ROWS:,} layers more; plan.json has all."]
    return ["Neurons by layer and role:", table(["layer", *(f"`{role}`" for role in roles)], rows[:MAX_ROWS]), *more]


def _results_section(results: Results) -> list[str]:
    if results.matrix is not None and results.language is not None:
        return language_section(results.matrix, results.language)
    return ["Nothing was measured with this plan."] if results.comparison is None else comparison_section(results.comparison)


def _limits_section(plan: PlanFile, results: Results) -> list[str]:
    if results.matrix is not None:
        return [f"{_LIMIT_LANGUAGES} {_LIMIT_END}"]
    kinds = {"matrices" if isinstance(edit, ReduceRankRecord | PruneWeightsRecord) else "neurons" for edit in plan.edits}
    limits = [text for kind, text in (("neurons", _LIMIT_NEURONS), ("matrices", _LIMIT_MATRICES)) if kind in kinds]
    return [" ".join([_LIMIT, *limits, _LIMIT_END])]


# -- how it is loaded, how it was found ------------------------------------------------------------------------------------


def _loading_section(factored: Mapping[str, Any]) -> list[str]:
    """The call that loads an export with factors, what these saved, and which matrices have them."""
    call = 'import resect\n\nmodel = resect.load_model("this folder, or its Hub id")'
    matrices, weights = factored["bytes"]["matrices"], factored["bytes"]["weights"]
    saved = (
        f"As factors, these matrices take {_bytes(matrices['after'])} instead of {_bytes(matrices['before'])}, and all weights "
        f"{_bytes(weights['after'])} instead of {_bytes(weights['before'])}. Of each, `left` is U·diag(S) [out, rank] and `right` is "
        "Vᵀ [rank, in]; their product is the matrix to within two roundings of its number type, where the matrix would be rounded once:"
    )
    rows = [
        [f"`{Site.parse(matrix['site'])}`", f"{matrix['shape'][0]:,} × {matrix['shape'][1]:,}", f"{matrix['rank']:,}"]
        for matrix in factored["matrices"]
    ]
    more = [] if len(rows) <= MAX_ROWS else [f"… and {len(rows) - MAX_ROWS:,} matrices more; factored.json has all."]
    dense = ["\n".join(f"- {sentence}" for sentence in factored["dense"][:MAX_ROWS])] if factored["dense"] else []
    how = ["With `pip install resect`:", f"```python\n{call}\n```", _LOADING]
    return [*how, saved, table(["matrix", "out × in", "rank"], rows[:MAX_ROWS]), *more, *dense]


def _bytes(size: int) -> str:
    """Returns a size with three significant digits.

    >>> _bytes(999), _bytes(4_721_040), _bytes(15_000_000_000)
    ('999 bytes', '4.72 MB', '15 GB')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:,} bytes"


def _origin_section(recipe: Recipe | None, environment: Mapping[str, Any]) -> list[str]:
    """The command that finds the plan again, and the versions and device of the run."""
    exported = f"Exported with resect {importlib.metadata.version('resect')}."
    if recipe is None:
        return [f"How the plan was found is not recorded here: it was made by hand, or taken out of its run. {exported}"]
    versions = environment.get("versions") or {}
    used = [f"{name} {versions[name]}" for name in _PACKAGES if versions.get(name)]
    used += [f"{name} {environment[name]}" for name in ("dtype", "device") if environment.get(name)]
    ran = f"It ran with {escaped(', '.join(used))}. " if used else ""
    notes = [f"- {escaped(_FOLDERS.sub('', str(note)))}" for note in environment.get("notes") or ()]
    told = ["Notes of the run:", "\n".join(notes)] if notes else []
    introduction = f"By the method {escaped(recipe.method)} of resect (files are named without their folders):"
    reading = [escaped(sentence) for sentence in reading_sentences(recipe.values)]
    prompts = [f"How prompts and texts were read: {' '.join(reading)}"] if reading else []
    return [introduction, fenced(command(recipe)), *prompts, *told, ran + exported]


def command(recipe: Recipe) -> str:
    """Returns the command line of a recipe, with paths by their last part alone."""
    return shlex.join(["resect", *recipe.with_settings(output=None).to_words(without_folders)])


def _licence(kept: Mapping[str, Any]) -> str:
    """A sentence on what the base's front matter says of its licence."""
    stated = kept.get("license_name") or kept.get("license")
    if not stated:
        return "The base model's licence applies to this one too. It is not stated in the base's card: look where the base comes from."
    name = stated if isinstance(stated, str) else ", ".join(stated)
    return f"The base model's licence applies to this one too: {escaped(name)}."


def _is_text(value: object) -> bool:
    """Whether it is one line of text, or several such."""
    parts = value if isinstance(value, list) else [value]
    return bool(parts) and all(isinstance(part, str) and part.isprintable() for part in parts)
