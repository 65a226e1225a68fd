"""The card of an exported model: what was cut, what changed, how it was found, and what that does not show; as Markdown.

Reads plain values as plan.json and comparison.json hold them, and recipes; measures nothing, knows no model. No machine's path stands in
it, and texts that come from data or models are escaped.
"""

import dataclasses
import importlib.metadata
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .address import ROLES, STACKS, Site
from .markdown import escaped, fenced, table
from .recipe import Recipe

#: What of a base's front matter holds for its edited copy too.
KEPT = ("license", "license_name", "license_link", "language", "pipeline_tag")
ROWS_SHOWN = 120
LIMIT = """\
A better number here means that this model answers **these examples, asked in this way**, better than its base does. It does not mean that
the model is unbiased, safe or fair. Bias that the examples do not ask for, in other wordings, languages, groups or uses, was not looked at
and may be as strong as before, or stronger. What else the cut neurons were good for was looked at only as far as the side effects above
say. Measure again on your own data before you rely on it."""
_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def card(
    plan: Mapping[str, Any],
    *,
    base_model: str,
    base_front_matter: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    comparison: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> str:
    """README.md of an exported model.

    Parameters
    ----------
    plan : the object of plan.json
    base_model : a Hub id, or a name; of a path only the last part is told
    base_front_matter : of the base's own README.md (see `front_matter`), of which the licence, languages and task are kept
    recipe : how the plan was found; None: by hand
    comparison : the object of comparison.json; None: nothing was measured
    environment : the object of environment.json
    """
    base = _without_folders(base_model)
    kept = {name: (base_front_matter or {}).get(name) for name in KEPT}
    head = {"base_model": base, "library_name": "transformers", "tags": ["resect", "model-surgery"]}
    head |= {name: value for name, value in kept.items() if _is_text(value)}
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip()}\n---",
        f"# {escaped(base)}, edited by surgery",
        f"This is [{escaped(base)}](https://huggingface.co/{base})" if _is_hub_id(base) else f"This is {escaped(base)}",
    ]
    parts[-1] += ", with some of its weights changed by hand-sized cuts, without any training ([`plan.json`](plan.json) lists every one). "
    parts[-1] += "Architecture, names, shapes and number types are the base's: load it as you would load the base."
    parts += _section("What was cut", cuts(plan))
    parts += _section("What changed", ["Nothing was measured with this plan."] if comparison is None else measured(comparison))
    parts += _section("What this does not show", [LIMIT])
    parts += _section("How it was found", found(recipe, environment or {}))
    licence = (
        "as the base's, see above."
        if _is_text(kept["license"])
        else "this folder's base stated none here; the base model's licence applies."
    )
    parts += _section("Licence", [f"Licence: {licence} A cut changes nothing about it."])
    return "\n\n".join(parts) + "\n"


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
    neurons = f"{units:,} neuron{'s' if units != 1 else ''} at {sites:,} site{'s' if sites != 1 else ''}"
    match edit["kind"]:
        case "scale":
            return f"{neurons} removed (multiplied by 0)" if edit["factor"] == 0 else f"{neurons} multiplied by {edit['factor']:g}"
        case "clamp":
            return f"{neurons} set to constants"
        case "shift":
            return f"constants added to {neurons}"
        case "reduce_rank":
            which = "its largest" if edit.get("keep", "largest") == "largest" else "its smallest"
            return f"`{Site.parse(edit['site'])}` reduced to {which} singular components, {edit['rho']:.4g} of its rank"
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


# -- what changed ------------------------------------------------------------------------------------------------------


def measured(comparison: Mapping[str, Any]) -> list[str]:
    """The numbers, as tables and sentences."""
    metric, show = str(comparison["metric"]), _format(comparison["metric"])
    counts = ", ".join(f"{comparison[f'n_{what}']:,} {what}" for what in ("examples", "groups", "instructions"))
    told = [f"On examples of {escaped(comparison['task'])} that the search never saw ({counts}), by {escaped(metric)}:"]
    lines = {"base": "before", "edited": "**after**", "control": "random cuts of the same size (mean of three)"}
    estimates = {label: comparison.get(name) for name, label in lines.items()}
    names = {"cc": "before, with contextual calibration (CC)", "dc": "before, with domain-context calibration (DC)"}
    estimates |= {names.get(name, escaped(name)): held for name, held in (comparison.get("baselines") or {}).items()}
    rows = [[label, *_cells(held, show)] for label, held in estimates.items() if held is not None]
    told.append(table(["", escaped(metric), "95 % interval", "± over instructions"], rows))
    change = comparison.get("difference")
    if change is not None:
        told.append(_change(change, metric, show))
    told += _tags(comparison, show)
    return [*told, *_others(comparison, show), *_effects(comparison, show), *_bias(comparison)]


def _change(change: Mapping[str, Any], metric: str, show: "_Format") -> str:
    low, high = change["interval"]
    p = "p < 0.001" if change["p_value"] < 0.001 else f"p = {change['p_value']:.3f}"
    says = "improved" if low > 0 else "worsened" if high < 0 else "no clear change"
    if metric == "logloss" and says != "no clear change":
        says = "worsened" if says == "improved" else "improved"
    told = f"Change: **{show.change(change['mean'])}** (95 % interval {show.change(low)} to {show.change(high)}; {p}, {escaped(change['test'])}): "
    return f"{told}{says}. {change['fixed']:,} answers were fixed, {change['broken']:,} broken."


def _tags(comparison: Mapping[str, Any], show: "_Format") -> list[str]:
    columns = {"before": comparison["base"], "after": comparison.get("edited"), "random cuts": comparison.get("control")}
    means = {heading: held.get("by_tag") or {} for heading, held in columns.items() if held is not None}
    tags = list(means["before"])
    if not tags:
        return []
    rows = [[escaped(tag), *(show.value(held.get(tag)) for held in means.values())] for tag in tags[:ROWS_SHOWN]]
    return ["By kind of example:", table(["", *means], rows)]


def _others(comparison: Mapping[str, Any], show: "_Format") -> list[str]:
    told = []
    for name, held in (comparison.get("other_metrics") or {}).items():
        if name == "trials":
            means = ", ".join(show.value(mean) for mean in held["edited"])
            told.append(f"- {len(held['edited'])} trials with other samples gave {means} (standard deviation {show.spread(held['std'])})")
        elif held and held.get("base"):
            other = _format(name)
            after = "" if held.get("edited") is None else f" → {other.value(held['edited']['mean'])}"
            told.append(f"- {escaped(name)}: {other.value(held['base']['mean'])}{after}")
    return ["Measured in another way:", "\n".join(told)] if told else []


def _effects(comparison: Mapping[str, Any], show: "_Format") -> list[str]:
    told = []
    for name, held in (comparison.get("side_effects") or {}).items():
        if not held or held.get("base") is None:
            continue
        if name == "perplexity":
            after = "" if held.get("edited") is None else f" → {held['edited']:.4g}"
            on = (
                f" on {held['tokens']:,} tokens of {escaped(_without_folders(held['text']))}"
                if held.get("tokens") and held.get("text")
                else ""
            )
            told.append(f"- {escaped(held.get('kind') or name)}{on}: {held['base']:.4g}{after} (lower is better)")
        else:
            after = "" if held.get("edited") is None else f" → {show.value(held['edited'])}"
            told.append(f"- {escaped(name)}: {show.value(held['base'])}{after}")
    return ["Side effects:", "\n".join(told)] if told else ["Side effects were not measured."]


def _bias(comparison: Mapping[str, Any]) -> list[str]:
    scores = comparison.get("bias_scores") or {}
    before, after = scores.get("base") or {}, scores.get("edited") or {}
    told = []
    for name in ("ambig", "disambig"):
        if before.get(name) is not None:
            told.append(f"- {name}: {before[name]:+.3f}" + ("" if after.get(name) is None else f" → {after[name]:+.3f}"))
    return (
        ["BBQ's bias scores (0: none; +1: every answer with the stereotype; −1: every answer against it):", "\n".join(told)] if told else []
    )


@dataclasses.dataclass(frozen=True)
class _Format:
    """How a metric's values are written: shares in per cent, losses as they are."""

    share: bool

    def value(self, value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f} %" if self.share else f"{value:.4g}"

    def change(self, value: float) -> str:
        return f"{100 * value:+.1f} points" if self.share else f"{value:+.3f}"

    def spread(self, value: float) -> str:
        return f"{100 * value:.1f}" if self.share else f"{value:.3g}"


def _format(metric: str) -> _Format:
    return _Format(metric != "logloss")


def _cells(held: Mapping[str, Any], show: _Format) -> list[str]:
    low, high = held.get("interval") or (None, None)
    return [show.value(held["mean"]), f"{show.value(low)} to {show.value(high)}", show.spread(held["std_over_instructions"])]


# -- how it was found --------------------------------------------------------------------------------------------------


def found(recipe: Recipe | None, environment: Mapping[str, Any]) -> list[str]:
    """The command that finds the plan again, and what it ran on."""
    version = importlib.metadata.version("resect")
    if recipe is None:
        return [f"The plan was made by hand, or is not told here where it comes from. Exported with resect {version}."]
    versions = environment.get("versions") or {}
    on = [f"{name} {versions[name]}" for name in ("resect", "torch", "transformers", "python") if versions.get(name)]
    how = [
        f"in {environment['dtype']}" if environment.get("dtype") else "",
        f"on {environment['device']}" if environment.get("device") else "",
    ]
    ran = " ".join(part for part in how if part)
    told = f"By `{recipe.method}` of [resect](https://pypi.org/project/resect/){f', {escaped(ran)}' if ran else ''}. Files stand here by name only:"
    return [
        told,
        fenced(command(recipe)),
        f"With {escaped(', '.join(on))}; exported with resect {version}." if on else f"Exported with resect {version}.",
    ]


def command(recipe: Recipe) -> str:
    """The command line of a recipe, with paths by their last part alone."""
    words = ["resect", recipe.method, _without_folders(recipe.model), _without_folders(recipe.task)]
    for field in dataclasses.fields(Recipe):
        value = getattr(recipe, field.name)
        if field.name in ("method", "model", "task", "output") or value == field.default:
            continue
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [flag, *(_without_folders(str(each)) if field.metadata["path"] else str(each) for each in values)]
    return shlex.join(words)


# -- small parts --------------------------------------------------------------------------------------------------------


def _without_folders(name: str) -> str:
    """A Hub id or a built-in task's name as it is; of a path only its last part; of TASK=PATH both."""
    head, equals, path = name.rpartition("=")
    if equals:
        return f"{_without_folders(head)}={_without_folders(path)}"
    path = name.replace("\\", "/").rstrip("/")
    is_path = path.startswith(("/", ".", "~")) or ":/" in path or path.count("/") > 1 or path.endswith((".toml", ".txt", ".jsonl"))
    return path.rpartition("/")[2] if is_path else path


def _is_hub_id(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value))
