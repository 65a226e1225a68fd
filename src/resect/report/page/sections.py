"""What a section of a page holds, whatever it is about: headings, how to read it, drawings, tables. Knows no run."""

from dataclasses import dataclass

from markupsafe import Markup

from resect.report.tables.tables import Table
from resect.report.text.changed_answers import Text


@dataclass(frozen=True)
class Voice:
    """A text that a model wrote. `meta`: what is said of it; `tone`: "right", "wrong", or "" where that is not known.

    `language`: the code of the language that it is in, "" where that is not known: letters that languages share look different.
    """

    name: str
    text: Text
    meta: str = ""
    tone: str = ""
    language: str = ""


@dataclass(frozen=True)
class Quotation:
    """A prompt, and what was written in answer to it, side by side."""

    meta: str
    prompt: Text
    voices: tuple[Voice, ...]
    language: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing. `form`: "" scales with the page, "snug" only where it must, "natural" keeps its size and scrolls."""

    drawing: Markup
    label: str
    form: str = ""
    heading: str = ""


@dataclass(frozen=True)
class Fold:
    """What is folded under a line."""

    summary: str
    figures: tuple[Figure, ...] = ()
    table: Table | None = None
    quotes: tuple[Quotation, ...] = ()


@dataclass(frozen=True)
class Section:
    """A section: its anchor, its name in the list of contents, its title, how it is read, and what it does not show."""

    anchor: str
    name: str
    title: str
    how: str
    but: str = ""
    words: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    table: Table | None = None
    folds: tuple[Fold, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    note: str = ""
    quotes: tuple[Quotation, ...] = ()
