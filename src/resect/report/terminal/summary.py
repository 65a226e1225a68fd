"""A run folder as a summary on a terminal: what changed, how sure that is, where the cut is, and what to type next.

Reads what the run folder holds, and measures nothing. Text that comes from data is printed as it is: never as markup,
and without control characters.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resect.core.address import ROLES, STACKS, Site
from resect.core.number_format import DASH, BROKEN_PERPLEXITY, PLAIN, MetricFormat, before_after, few_groups_note, plural, sample_sizes
from resect.report.readers.denoising import Denoised
from resect.report.readers.laser_search import Sought
from resect.report.readers.plan_summary import OF_LANGUAGES, Surgery
from resect.report.readers.tolerant import is_right, object_of, trial_of
from resect.report.text.advice import has_price, has_spread, helped, next_commands, turned, verdict
from resect.report.text.changed_answers import examples_shown
from resect.report.text.printable import Trimmed, plain, shortened
from resect.runs.run_folder import Run

from .lape_summary import summary as of_languages
from .reductions import reduced, search

#: The two ways of answering: the choice of highest probability, and what is generated.
METRIC_WORDS = {"accuracy": "scored", "generation": "generated"}
TAGS_SHOWN, LAYERS_SHOWN = 8, 24


def console(**settings: Any) -> Console:
    """Where results are printed: standard output; colour only on a terminal, and not where NO_COLOR is set."""
    return Console(**{"markup": False, "highlight": False, "emoji": False, **settings})


def show(found: RenderableType, on: Console | None = None) -> None:
    """Print it. A line that may not be broken, a command to copy, runs over the edge instead of being cut."""
    (on or console()).print(Trimmed(found), crop=False)


def summary(run: Run) -> RenderableType:
    """The summary of a finished run. Raises InputError where it is not finished."""
    if run.recipe.method in OF_LANGUAGES:
        return of_languages(run)
    comparison, plan, recipe = run.comparison(), run.plan_json(), run.recipe
    examples = run.examples()
    title = Text(f"{recipe.method} · {Path(recipe.model).name} · {plain(comparison['task'])}", style="bold")
    surgery = Surgery.of(plan, recipe.method, run.trials())
    notes = [Text(plain(note), style="yellow") for note in run.environment().get("notes") or ()]
    parts: list[RenderableType] = [title, Text(asked(comparison)), *notes, *_searched(run, comparison, surgery), Text("")]
    parts.append(outcome(comparison))
    if surgery.total and comparison.get("difference"):
        parts.append(difference(comparison))
    parts += _optional("By tag", by_tag(comparison))
    parts += _optional("Beside that", beside(comparison))
    parts += _optional("Where the cut is", where(plan)) if surgery.neurons else _optional("What was reduced", reduced(surgery))
    parts += _optional("Answers that changed", changed(examples))
    good = helped(comparison) and not has_price(comparison)
    says = Text(verdict(comparison, surgery), style="bold green" if good else "bold yellow")
    parts += [Text(""), says, Text(""), Text("Next:", style="bold")]
    shown = examples_shown(examples)
    prompt = plain(shown[0]["prompt"]) if shown else "…"
    for reason, command in next_commands(recipe, run.folder, comparison, surgery, prompt, short=bool(notes)):
        parts += [Text(f"  {reason}"), Text(f"    {command}", style="cyan", no_wrap=True, overflow="ignore")]
    return Group(*parts, Text(""), Text(f"Everything is in {run.folder}", style="dim", no_wrap=True, overflow="ignore"))


def outcome(comparison: Mapping[str, Any]) -> Table:
    """Before, after, control and baselines: the mean with its interval, beside it by the other way of answering, and over instructions."""
    figures = MetricFormat(comparison["metric"])
    other_name, other = other_metric(comparison)
    table, spreads = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False), has_spread(comparison)
    table.add_column("")
    for heading in (
        METRIC_WORDS.get(comparison["metric"], comparison["metric"]),
        "95 % interval",
        *([other_name] if other else []),
        *(["± instructions"] if spreads else []),
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, key, estimate in measured(comparison):
        cells = [figures.value(estimate["mean"]), figures.interval(estimate["interval"])]
        if other:
            cells.append(figures.value((other.get(key) or {}).get("mean")))
        cells += [figures.value(estimate["std_over_instructions"])] if spreads else []
        table.add_row(label, *cells, style="bold" if label == "after" else "")
    for name, estimate in object_of((other or {}).get("baselines")).items():  # of the accuracy, whatever else is compared
        if estimate is not None:
            table.add_row(name.upper(), DASH, DASH, figures.value(estimate["mean"]), *([DASH] if spreads else []))
    return table


def measured(comparison: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """What was measured of before, after, control, CC and DC: what people call it, its key, and the estimate."""
    found = [("before", "base"), ("after", "edited"), ("control", "control")]
    rows = [(label, key, comparison.get(key)) for label, key in found]
    rows += [(name.upper(), name, estimate) for name, estimate in (comparison.get("baselines") or {}).items()]
    return [(label, key, estimate) for label, key, estimate in rows if estimate is not None]


def other_metric(comparison: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """The other way of answering, as a heading, and what it gave; None where it was not measured."""
    for name in ("generation", "accuracy"):
        found = (comparison.get("other_metrics") or {}).get(name)
        if found and name != comparison["metric"] and comparison["metric"] != "logloss":
            return METRIC_WORDS[name], found
    return "", None


def difference(comparison: Mapping[str, Any]) -> Text:
    """The change with its interval and p-value, and how many answers were fixed and broken."""
    figures, change = MetricFormat(comparison["metric"]), comparison["difference"]
    sure = f"95 % interval {figures.change_interval(change['interval'])}; {PLAIN.p_value(change['p_value'])}, {plain(change['test'])}"
    told = f"change {figures.change(change['mean'], unit=True)} ({sure})\n"
    return Text(told.rstrip() if Denoised.of(comparison) else f"{told}{turned(comparison, figures)}")


def by_tag(comparison: Mapping[str, Any]) -> Table | None:
    """Before, after, control, CC and DC for each tag of the examples; what was not measured has no column."""
    estimates = {label: estimate for label, _, estimate in measured(comparison)}
    columns = {label: estimate.get("by_tag") or {} for label, estimate in estimates.items()}
    tags = list(columns["before"])
    whole = [tag for tag in tags if all(means.get(tag) == estimates[heading]["mean"] for heading, means in columns.items())]
    if len(whole) == 1:  # a tag that all examples carry says nothing that the total does not
        tags.remove(whole[0])
    if not tags:
        return None
    figures, table = MetricFormat(comparison["metric"]), Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", *columns):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for tag in tags[:TAGS_SHOWN]:
        table.add_row(plain(tag), *(figures.value(means.get(tag)) for means in columns.values()))
    if len(tags) > TAGS_SHOWN:
        table.add_row(f"… and {len(tags) - TAGS_SHOWN} more")
    return table


def beside(comparison: Mapping[str, Any]) -> Text | None:
    """What else is known: each trial's result, perplexity, other tasks, BBQ's bias scores."""
    figures, lines = MetricFormat(comparison["metric"]), []
    trials = (comparison.get("other_metrics") or {}).get("trials")
    if trials:
        lines.append(f"trials: {', '.join(map(figures.value, trials['edited']))} (spread {figures.value(trials['std'])})")
    unmatched = ((comparison.get("other_metrics") or {}).get("generation") or {}).get("unmatched")
    if unmatched and (unmatched["base"] or unmatched["edited"]):
        lines.append(f"generated texts that are no choice: {before_after(PLAIN.percent, unmatched['base'], unmatched.get('edited'))}")
    lines += _other_metrics(comparison)
    for name, pair in (comparison.get("side_effects") or {}).items():
        if pair and name == "perplexity":
            lost = "  (this text is beyond the model: it says nothing)" if pair["base"] > BROKEN_PERPLEXITY else ""
            told = before_after(PLAIN.number, pair["base"], pair.get("edited"))
            lines.append(f"{pair.get('kind', 'perplexity')} on plain text: {told}{lost}")
        elif pair:
            change, written = pair.get("difference"), MetricFormat(pair.get("metric") or "accuracy")
            sure = f" (95 % interval of the change {written.change_interval(change['interval'])})" if change else ""
            lines.append(f"{plain(name)}: {written.pair(pair['base'], pair.get('edited'))}{sure}")
    scores = comparison.get("bias_scores") or {}
    before, after = scores.get("base") or {}, scores.get("edited") or {}
    for name in ("ambig", "disambig"):
        if before.get(name) is not None:
            told = before_after(PLAIN.signed, before[name], after.get(name))
            lines.append(f"bias score, {name} (0 none; +1 all answers with the stereotype, -1 all against it): {told}")
    return Text("\n".join(lines)) if lines else None


def _other_metrics(comparison: Mapping[str, Any]) -> list[str]:
    """A line for each metric that has no column beside the main one, and for facts that are right in all their wordings."""
    lines, shown = [], {"accuracy", "generation"} if other_metric(comparison)[1] else set[str]()
    for name, found in (comparison.get("other_metrics") or {}).items():
        held = object_of(found)
        base, edited = object_of(held.get("base")).get("mean"), object_of(held.get("edited")).get("mean")
        if name not in shown and base is not None:
            better = " (less is better)" if MetricFormat(name).gain(1.0) < 0 else ""
            lines.append(f"{plain(name)}{better}: {MetricFormat(name).pair(base, edited)}")
    facts = object_of((comparison.get("other_metrics") or {}).get("paraphrases"))
    if facts.get("base") is not None:
        lines.append(f"facts that are right in every paraphrase: {MetricFormat().pair(facts['base'], facts.get('edited'))}")
    return lines


def cut_count(plan: Mapping[str, Any]) -> int:
    """How many neurons and matrices a plan touches."""
    return Surgery.of(plan).total


def where(plan: Mapping[str, Any]) -> RenderableType | None:
    """How many neurons are cut in each layer (rows) and role (columns)."""
    counts: Counter[Site] = Counter()
    for edit in plan["edits"]:
        for address, units in (edit.get("neurons") or {}).items():
            counts[Site.parse(address)] += len(units)
    if not counts:
        return None
    roles = [role for role in ROLES if any(site.role == role for site in counts)]
    layers = sorted({(STACKS.index(site.stack), site.layer) for site in counts})
    most = max(counts.values())
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", *roles):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for stack, layer in layers[:LAYERS_SHOWN]:
        row = [Text(f"{STACKS[stack]}.{layer}")]
        for role in roles:
            here = [number for site, number in counts.items() if _at(site) == (STACKS[stack], layer, role)]
            row.append(_cell(sum(here), most))
        table.add_row(*row)
    if len(layers) <= LAYERS_SHOWN:
        return table
    return Group(table, Text(f"… and {len(layers) - LAYERS_SHOWN} layers more"))


def changed(rows: Sequence[Mapping[str, Any]]) -> RenderableType | None:
    """Three answers that changed, each of another example: fixed ones, and a broken one where there is one."""
    parts: list[RenderableType] = []
    for row in examples_shown(rows):
        before, after = is_right(row, "base"), is_right(row, "edited")
        mark = "changed" if before == after else "fixed" if after else "broken"
        parts.append(Text(shortened(row["prompt"], row["instruction"]), style="dim"))
        answers = f"{mark}: {plain(row['base'])} → {plain(row['edited'])}   (right: {plain(row['gold'])})"
        parts.append(Padding(Text(answers), (0, 0, 1, 2), expand=False))
    return Group(*parts) if parts else None


def asked(comparison: Mapping[str, Any]) -> str:
    """How much was asked."""
    few = few_groups_note(comparison["n_groups"])
    if Denoised.of(comparison):
        return f"on text that the search never saw: {plural(comparison['n_examples'], 'passages')}" + (f"\n{few}" if few else "")
    return f"on held-out data: {sample_sizes(comparison)}" + (f"\n{few}" if few else "")


def _searched(run: Run, comparison: Mapping[str, Any], surgery: Surgery) -> list[RenderableType]:
    """What was searched among matrices; nothing for a method that cuts neurons."""
    if not surgery.is_of_matrices:
        return []
    trials = [trial_of(row) for row in run.trials()]
    denoised = Denoised.of(comparison, trials)
    found = [Text(denoised.extent())] if denoised else search(run.recipe, Sought.of(trials, comparison), surgery)
    return [Text(""), *found] if found else []


def _optional(heading: str, part: RenderableType | None) -> list[RenderableType]:
    return [] if part is None else [Text(""), Text(heading, style="bold"), Padding(part, (0, 0, 0, 2), expand=False)]


def _cell(number: int, most: int) -> Text:
    if not number:
        return Text("·", style="dim")
    return Text(str(number), style="bold red" if 2 * number > most else "red")


def _at(site: Site) -> tuple[str, int, str]:
    return site.stack, site.layer, site.role
