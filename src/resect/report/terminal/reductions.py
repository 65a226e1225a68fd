"""What a terminal shows of reduced matrices: what was searched, what was reduced, the steps of a composition. Knows no run folder."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resect.core.address import ROLES
from resect.core.number_format import DASH, PLAIN
from resect.report.readers.laser_search import Sought, searched, step_name
from resect.report.readers.plan_summary import Reduction, Surgery
from resect.runs.recipe import Recipe

LAYERS_SHOWN, STEPS_SHOWN = 24, 40


def search(recipe: Recipe, sought: Sought | None, surgery: Surgery) -> list[RenderableType]:
    """How much was searched, and what came of it; nothing where no matrix was sought."""
    if sought is None:
        return []
    caution = sought.caution()
    told = [Text(line, style="yellow" if line == caution else "") for line in searched(recipe, sought)]
    told += [Text(line, style="bold") for line in sought.outcome(surgery, PLAIN)]
    steps = composition(sought)
    return [*told, *([] if steps is None else [Padding(steps, (1, 0, 0, 2), expand=False)])]


def composition(sought: Sought) -> RenderableType | None:
    """The steps that were kept, with the metric on select and on test after each."""
    if len(sought.steps) < 2:
        return None
    figures, table = sought.figures(PLAIN), Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", "kept", "select", "test"):
        table.add_column(heading, justify="left" if heading == "kept" else "right")
    for number, step in enumerate(sought.steps[:STEPS_SHOWN]):
        table.add_row(str(number or ""), step_name(step), figures.value(step.select), figures.value(step.test))
    if len(sought.steps) <= STEPS_SHOWN:
        return table
    return Group(table, Text(f"… and {len(sought.steps) - STEPS_SHOWN:,} steps more"))


def reduced(surgery: Surgery) -> RenderableType | None:
    """The matrices that are changed: layers as rows, roles as columns, in each cell how far."""
    if not surgery.reductions:
        return None
    roles = [role for role in ROLES if any(each.site.role == role for each in surgery.reductions)]
    layers = dict.fromkeys(_layer(each) for each in sorted(surgery.reductions, key=_place))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", *roles):
        table.add_column(heading, no_wrap=True)
    for layer in list(layers)[:LAYERS_SHOWN]:
        here = [each for each in surgery.reductions if _layer(each) == layer]
        table.add_row(layer, *(_cell([each for each in here if each.site.role == role]) for role in roles))
    zeroed = [str(each.site) for each in surgery.reductions if each.is_zeroed]
    parts: list[RenderableType] = [table]
    if len(layers) > LAYERS_SHOWN:
        parts.append(Text(f"… and {len(layers) - LAYERS_SHOWN:,} layers more"))
    if zeroed:
        parts.append(Text(f"Rank 0: nothing is left of {', '.join(zeroed)}.", style="yellow"))
    return Group(*parts)


def _cell(found: list[Reduction]) -> Text:
    """What became of a matrix, in few letters; of one that was reduced twice, both."""
    if not found:
        return Text("·", style="dim")
    ranks = [DASH if each.rank is None else f"{each.rank:,}" + ("" if each.full is None else f"/{each.full:,}") for each in found]
    told = (
        each.setting if each.kind == "prune_weights" else f"{each.setting} (rank {rank})" for each, rank in zip(found, ranks, strict=True)
    )
    return Text(", then ".join(told), style="red")


def _layer(found: Reduction) -> str:
    expert = "" if found.site.expert is None else f".expert{found.site.expert}"
    return f"{found.site.stack}.{found.site.layer}{expert}"


def _place(found: Reduction) -> tuple[bool, int, int]:
    return found.site.stack != "encoder", found.site.layer, -1 if found.site.expert is None else found.site.expert
