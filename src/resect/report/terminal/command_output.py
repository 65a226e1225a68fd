"""What the smaller commands print: an anatomy, answers side by side, comparisons. Plain data in, renderables out."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resect.core.errors import InputError
from resect.report.readers.open_answers import WrittenAnswer
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.steering import SteeringResult, with_distinct_names
from resect.report.text.printable import plain
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.languages import SteeringFile

from .blocks import indented
from .comparison_view import details, evaluated, outcome
from .language_summary import steering_results
from .verdict_styles import STYLES

#: By what was kept of a verification: what a reader should know, and do.
_LAWS = {
    "hold": "It was verified: all laws hold there (--verify shows them).",
    "fail": "It was verified, and laws do not hold there: --verify shows at which sites.",
    "not verified": "It was not verified yet: --verify does so, as does the first job with this model.",
}


def anatomy(described: Mapping[str, Any]) -> RenderableType:
    """An anatomy: one line a fact, then neurons by role."""
    layers = ", ".join(f"{number} {stack}" for stack, number in described["layers"].items())
    experts = described["experts"]
    facts = {
        "family": f"{described['family']} ({described['kind']})",
        "layers": layers,
        **({"experts": ", ".join(f"{number} in a layer of the {stack}" for stack, number in experts.items())} if experts else {}),
        "width": f"d_model {described['d_model']:,}, d_ff {described['d_ff']:,}{', gated' if described['gated'] else ''}",
        "parameters": "unknown" if described["parameters"] is None else f"{described['parameters']:,}",
        "sites": f"{len(described['sites']):,} matrices, {len(described['moments']):,} moments",
        "neurons": f"{described['neurons']['total']:,}",
    }
    table = _lines({**facts, **{f"  {role}": f"{number:,}" for role, number in described["neurons"]["by_role"].items()}})
    notes: list[RenderableType] = [Text(f"Not covered: {sentence}", style="yellow") for sentence in described["cannot"]]
    if described.get("discovered"):
        notes.insert(0, Text("The family has no line in the table: what its matrices are was found, and proved, on a tiny model."))
        notes += [Text(_LAWS[described["laws"]])] if "laws" in described else []
    verified = described.get("verification")
    if verified:
        notes += [Text(), *_verification(verified)]
    return Group(Text(plain(described["model"]), style="bold"), table, *notes)


def _verification(verified: Mapping[str, Any]) -> list[RenderableType]:
    """What was proved on a tiny model: roles, laws, and what was not."""
    rows = {"covered": f"{100 * verified['covered']:.1f} % of the parameters of the blocks' matrices"}
    for stack, roles in verified["roles"].items():
        rows[f"proved, {stack}"] = " ".join(roles) or "no role"
    for stack, paths in verified["paths"].items():
        rows |= {f"without a role, {stack}": " ".join(map(plain, paths))} if paths else {}
    for name, law in verified["laws"].items():
        failed = law["failed"]
        holds = f"holds at {law['checked']:,} sites" if law["checked"] else "not checked, for lack of such sites"
        where = f"fails at {len(failed)} of {law['checked']:,} sites, among them {failed[0]}" if failed else holds
        rows[name] = f"{where}: {law['states']}"
    return [Text("Verified on a tiny model with random weights", style="bold"), _lines(rows)]


def listing(sentences: Mapping[str, str], more: str = "") -> RenderableType:
    """Names, each with its sentence, and a sentence on what is not among them."""
    return Group(_lines(sentences), Text(more)) if more else _lines(sentences)


def side_by_side(answers: Iterable[Mapping[str, str]]) -> RenderableType:
    """Answers before and after a plan, one block a prompt."""
    parts: list[RenderableType] = []
    for answer in answers:
        after = Text(plain(answer["after"]), style="" if answer["before"] == answer["after"] else "bold")
        table = _lines({"before": answer["before"], "after": after}, style="dim")
        parts += [Text(plain(answer["prompt"])), indented(table), Text("")]
    return Group(*parts)


def steered(given_results: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> RenderableType:
    """What `resect steer` measured, one result or several: the answers before and after, side by side, then language accuracy and quality.

    Raises InputError where it is no such result.
    """
    given = [given_results] if isinstance(given_results, Mapping) else list(given_results)
    try:
        files = {str(value.get("name") or number): SteeringFile.model_validate(value) for number, value in enumerate(given, start=1)}
    except ValidationError as error:
        raise InputError(f"The result of a steering is damaged: {error.errors()[0]['msg']}.") from error
    results = with_distinct_names({name: SteeringResult.of(file) for name, file in files.items()})
    parts: list[RenderableType] = []
    for result in results:
        parts.append(Text(f"steered {plain(result.name)}", style="bold"))
        for pair in result.pairs:
            style = "" if pair.before.text == pair.after.text else "bold"
            texts = {}
            for name, answer, mark in (("before", pair.before, ""), ("steered", pair.after, style)):
                texts[f"{name}{_measured(answer)}"] = Text(plain(answer.text).strip() or "(nothing)", mark)
            parts += [Text(plain(pair.prompt)), indented(_lines(texts, style="dim")), Text("")]
        if not result.accuracy:
            parts.append(Text("Which language the answers are in was not identified.", style="yellow"))
    return Group(*parts, *steering_results(results))


def comparisons(by_task: Mapping[str, Mapping[str, Any]], model: str, plan: str | None) -> RenderableType:
    """Comparisons by task: of a model without an edit, or with a plan."""
    parts: list[RenderableType] = []
    for task, value in by_task.items():
        comparison = ComparisonFile.model_validate(value)
        title = f"{plain(model)} · {plain(task)}" + ("" if plan is None else f" · {plain(plan)}")
        parts += [Text(title, style="bold"), Text(evaluated(comparison)), Text(""), *outcome(comparison, PlanSummary())]
        parts += [*details(comparison), Text("")]
        if comparison.verdict is not None:
            reasons = "; ".join(comparison.verdict.reasons)
            parts += [Text(plain(f"Verdict: {comparison.verdict.word}. {reasons}."), style=STYLES[comparison.verdict.word]), Text("")]
    return Group(*parts)


def agreement(repetition: Mapping[str, Any]) -> RenderableType:
    """A run and its repetition: which files came out the same, and what was not the same around them."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", "then", "now", ""):
        table.add_column(heading, no_wrap=True)
    for name, pair in {**repetition["files"], **repetition["inputs"]}.items():
        if pair["then"] is None and pair["now"] is None:
            continue
        digests = [pair[when][:12] if pair[when] else "–" for when in ("then", "now")]
        table.add_row(plain(name), *digests, Text("agrees", style="green") if pair["agrees"] else Text("DIFFERS", style="bold red"))
    around = [
        Text(f"{plain(name)}: then {plain(pair['then'])}, now {plain(pair['now'])}", style="yellow")
        for name, pair in repetition["circumstances"].items()
    ]
    says = "The plan came out with the same bytes." if repetition["agrees"] else "The plan came out differently."
    where = Text(f"The second run is in {repetition['repeated']}", style="dim", no_wrap=True, overflow="ignore")
    return Group(table, Text(""), *around, Text(says, style="bold green" if repetition["agrees"] else "bold red"), where)


def lines(sentences: Iterable[str]) -> RenderableType:
    """Sentences, one a line; a path or a command in them is not broken."""
    return Group(*(Text(plain(sentence), no_wrap=True, overflow="ignore") for sentence in sentences))


def _lines(rows: Mapping[str, str | Text], style: str = "") -> Table:
    """Names, each with its text."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True, style=style)
    table.add_column()
    for name, text in rows.items():
        table.add_row(plain(name), text if isinstance(text, Text) else Text(plain(text)))
    return table


def _measured(answer: WrittenAnswer) -> str:
    """The language and the quality of an answer, in brackets; empty where neither is known."""
    quality = [] if answer.quality is None else [f"{answer.quality:g} of 5"]
    known = [*([plain(answer.identified)] if answer.identified else []), *quality]
    return f" ({', '.join(known)})" if known else ""
