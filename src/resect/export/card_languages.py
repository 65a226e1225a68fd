"""What switching one language's units off does to the text of each language, as Markdown: a row of matrix.json.

Reads plain values, and measures nothing.
"""

from collections.abc import Mapping
from typing import Any

from resect.core.number_format import PLAIN, plural

from .markdown import escaped, table

LIMIT = """\
These numbers say how well this model reads **held-out text like the one above**, token by token. They do not say what it writes: whether it
still answers in that language, or how well, and what the units that were cut were good for beside it (names, numbers, code in that
language's text). Other languages than these were not looked at. Measure on your own text before you rely on it."""


def row(matrix: Mapping[str, Any], language: str) -> list[str]:
    """The row of a language: before, after, the change with its interval, and what as many random units do.

    Raises KeyError, ValueError, TypeError or IndexError where the matrix is damaged.
    """
    languages = list(matrix["languages"])
    place = languages.index(language)
    losses, risen, control = matrix["neg_logprob"], matrix["perplexity"], matrix["control"]
    rows = []
    for text, name in enumerate(languages):
        low, high = losses["interval"][place][text]
        change = f"{PLAIN.signed(losses['change'][place][text])} ({PLAIN.signed(low)} to {PLAIN.signed(high)})"
        random = "–" if control is None else PLAIN.signed(control["neg_logprob"]["change"][place][text])
        before, after = (PLAIN.number(value) for value in (risen["base"][text], risen["deactivated"][place][text]))
        rows.append([f"**{escaped(name)}**" if text == place else escaped(name), change, random, f"{before} → {after}"])
    heads = ["text in", "change, 95 % interval", "random units", escaped(matrix["kind"])]
    asked = (
        f"Held-out text of {plural(len(languages), 'languages')}, with the units of {escaped(language)} off: change of the mean negative "
        f"log-probability of a token (nats), beside the mean of as many random units of the same layers, and the {escaped(matrix['kind'])}."
    )
    most = {True: "suffers most", False: "does not suffer most", None: "has no units to lose"}[matrix["diagonal"]["is_maximum"][language]]
    return [asked, table(heads, rows), f"Of these, the text in {escaped(language)} itself {most}."]
