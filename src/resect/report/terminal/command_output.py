"""What the smaller commands print: an anatomy, answers side by side, comparisons. Plain data in, renderables out."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resect.report.readers.open_answers import Said
from resect.report.readers.steering import apart, steered_of
from resect.report.text.printable import plain

from .lape_summary import steerings
from .summary import asked, beside, by_tag, difference, outcome


def body(found: Mapping[str, Any]) -> RenderableType:
    """An anatomy: one line a fact, then neurons by role."""
    layers = ", ".join(f"{number} {stack}" for stack, number in found["layers"].items())
    facts = {
        "family": f"{found['family']} ({found['kind']})",
        "layers": layers,
        "width": f"d_model {found['d_model']:,}, d_ff {found['d_ff']:,}{', gated' if found['gated'] else ''}",
        "parameters": "unknown" if found["parameters"] is None else f"{found['parameters']:,}",
        "sites": f"{len(found['sites']):,} matrices, {len(found['moments']):,} moments",
        "neurons": f"{found['neurons']['total']:,}",
    }
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, fact in facts.items():
        table.add_row(name, fact)
    for role, number in found["neurons"]["by_role"].items():
        table.add_row(f"  {role}", f"{number:,}")
    notes = [Text(f"Not covered: {sentence}", style="yellow") for sentence in found["cannot"]]
    return Group(Text(plain(found["model"]), style="bold"), table, *notes)


def listing(found: Mapping[str, str]) -> RenderableType:
    """Names, each with its sentence."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, sentence in found.items():
        table.add_row(name, plain(sentence))
    return table


def side_by_side(answers: Iterable[Mapping[str, str]]) -> RenderableType:
    """Answers before and after a plan, one block a prompt."""
    parts: list[RenderableType] = []
    for answer in answers:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
        table.add_column(no_wrap=True, style="dim")
        table.add_column()
        table.add_row("before", plain(answer["before"]))
        same = answer["before"] == answer["after"]
        table.add_row("after", Text(plain(answer["after"]), style="" if same else "bold"))
        parts += [Text(plain(answer["prompt"])), Padding(table, (0, 0, 1, 2), expand=False)]
    return Group(*parts)


def steered(found: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> RenderableType:
    """What `resect steer` found, one result or several: language accuracy and quality, then the answers before and after, side by side.

    Raises InputError where it is no such result.
    """
    given = [found] if isinstance(found, Mapping) else list(found)
    read = {str(each.get("name") or number): steered_of(each) for number, each in enumerate(given, start=1)}
    results = apart(read)
    parts: list[RenderableType] = []
    for each in results:
        parts.append(Text(f"steered {plain(each.name)}", style="bold"))
        for pair in each.pairs:
            table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
            table.add_column(no_wrap=True, style="dim")
            table.add_column()
            for name, said in (("before", pair.before), ("steered", pair.after)):
                style = "" if pair.before.text == pair.after.text or name == "before" else "bold"
                table.add_row(f"{name}{_said_in(said)}", Text(plain(said.text).strip() or "(nothing)", style=style))
            parts += [Text(plain(pair.prompt)), Padding(table, (0, 0, 1, 2), expand=False)]
        if not each.accuracy:
            parts.append(Text("Which language the answers are in was not identified.", style="yellow"))
    return Group(*parts, *steerings(results))


def _said_in(said: Said) -> str:
    """The language and the quality of an answer, in brackets; nothing where neither is known."""
    quality = [] if said.quality is None else [f"{said.quality:g} of 5"]
    known = [*([plain(said.identified)] if said.identified else []), *quality]
    return f" ({', '.join(known)})" if known else ""


def comparisons(found: Mapping[str, Mapping[str, Any]], model: str, plan: str | None) -> RenderableType:
    """Comparisons by task: of a model as it is, or with a plan."""
    parts: list[RenderableType] = []
    for task, comparison in found.items():
        title = f"{plain(model)} · {plain(task)}" + ("" if plan is None else f" · {plain(plan)}")
        parts += [Text(title, style="bold"), Text(asked(comparison)), Text(""), outcome(comparison)]
        details = (
            difference(comparison) if comparison.get("difference") else None,
            by_tag(comparison),
            beside(comparison),
        )
        parts += [Padding(each, (0, 0, 1, 2), expand=False) for each in details if each is not None]
    return Group(*parts)


def agreement(found: Mapping[str, Any]) -> RenderableType:
    """A run and its repetition: which files came out the same, and what was not the same around them."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", "then", "now", ""):
        table.add_column(heading, no_wrap=True)
    for name, pair in {**found["files"], **found["inputs"]}.items():
        if pair["then"] is None and pair["now"] is None:
            continue
        digests = [pair[when][:12] if pair[when] else "–" for when in ("then", "now")]
        table.add_row(plain(name), *digests, Text("agrees", style="green") if pair["agrees"] else Text("DIFFERS", style="bold red"))
    around = [
        Text(f"{plain(name)}: then {plain(pair['then'])}, now {plain(pair['now'])}", style="yellow")
        for name, pair in found["circumstances"].items()
    ]
    says = "The plan came out with the same bytes." if found["agrees"] else "The plan came out differently."
    where = Text(f"The second run is in {found['repeated']}", style="dim", no_wrap=True, overflow="ignore")
    return Group(table, Text(""), *around, Text(says, style="bold green" if found["agrees"] else "bold red"), where)


def lines(sentences: Iterable[str]) -> RenderableType:
    """Sentences, one a line; a path or a command in them is not broken."""
    return Group(*(Text(plain(sentence), no_wrap=True, overflow="ignore") for sentence in sentences))
