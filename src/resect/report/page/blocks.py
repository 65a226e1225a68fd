"""What a page consists of: sections of blocks, which the template draws. Knows no run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from markupsafe import Markup

from resect.core.exhibits import Table
from resect.report.text.changed_answers import QuotedText


@dataclass(frozen=True)
class Paragraph:
    """A paragraph. `style`: "" body text, "note" smaller and muted, "quote" with a line at its side."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section; `anchor` is its id."""

    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart. `scrolls`: it keeps its natural size and scrolls; else it scales with the page."""

    chart: Markup
    label: str
    heading: str = ""
    scrolls: bool = False


@dataclass(frozen=True)
class Figures:
    """Charts side by side where there is room."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Change:
    """A chart with the change that it shows in large letters next to it, and sentences on the change."""

    figure: Figure
    label: str
    value: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Legend:
    """What colours and marks of heat maps mean: the class of a mark, and its meaning."""

    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    """Names, and lines on each."""

    facts: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Commands:
    """Command lines, each with a reason for it; "" for none."""

    commands: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Listing:
    """A list of lines, or of a first sentence that stands out and the rest. `is_numbered`: by numbers."""

    lines: Sequence[tuple[str, str]]
    is_numbered: bool = False


@dataclass(frozen=True)
class Source:
    """A text file as it is."""

    text: str


@dataclass(frozen=True)
class Answer:
    """A text that a model wrote. `meta`: remarks on it; `tone`: "right", "wrong", or "" where neither is known; `language`: its code."""

    name: str
    text: QuotedText
    meta: str = ""
    tone: str = ""
    language: str = ""


@dataclass(frozen=True)
class Quotation:
    """A prompt with the answers to it, in rows of answers that are to be compared, each row with a remark ("" for none)."""

    meta: str
    prompt: QuotedText
    answers: Sequence[tuple[Sequence[Answer], str]]
    tags: Sequence[str] = ()
    gold: str = ""
    language: str = ""


@dataclass(frozen=True)
class Quotations:
    """Quotations. `is_wide`: answers below the prompt, since there are several of them; else next to it."""

    quotations: Sequence[Quotation]
    is_wide: bool = False


@dataclass(frozen=True)
class Fold:
    """Blocks that are folded under a line. `is_printed`: they are unfolded in print."""

    summary: str
    blocks: "Sequence[Block]"
    is_printed: bool = False


Block: TypeAlias = Paragraph | Heading | Figures | Change | Legend | Facts | Commands | Listing | Source | Quotations | Fold | Table


@dataclass(frozen=True)
class Section:
    """A section. `name`: its name in the list of contents; `aside`: paragraphs next to its title: how it is read, what it does not show."""

    anchor: str
    name: str
    title: str
    aside: Sequence[str | Paragraph]
    blocks: Sequence[Block] = field(default=())


def folded(table: Table, most: int = 20) -> Block:
    """Returns the table, folded under its title where it has more rows than `most`."""
    return table if len(table.rows) <= most else Fold(table.title, (table,), is_printed=len(table.rows) <= 40)
