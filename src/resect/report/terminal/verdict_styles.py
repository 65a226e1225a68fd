"""How a terminal shows the verdicts."""

from collections.abc import Mapping

from resect.runs.schemas.verdict import VerdictWord

STYLES: Mapping[VerdictWord, str] = {
    "helps": "bold green",
    "helps, at a price": "bold yellow",
    "no reliable change": "bold yellow",
    "damages": "bold red",
    "replaces one constant answer by another": "bold red",
}
