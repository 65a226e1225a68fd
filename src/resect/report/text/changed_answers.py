"""The answers that changed, as a page quotes them: by what became of them, one entry an example, no more than a page can hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resect.report.readers.tolerant import is_right

from .printable import shortened

#: Entries of a kind that stand open; the others are folded.
OPEN = 10
#: Characters of quoted text, in all, and in one text. The page says what it leaves out; examples.jsonl has everything.
MOST, LONGEST = 1_500_000, 10_000
#: From so many characters on a text is folded.
LONG = 700
#: Changed answers that a summary quotes.
EXAMPLES_SHOWN = 3
#: What an entry weighs beside its texts.
FRAME = 500


@dataclass(frozen=True)
class Text:
    """A text; `teaser` stands for it where it is long, and is empty where it is not."""

    whole: str
    teaser: str = ""

    @classmethod
    def of(cls, text: str) -> "Text":
        """The text, folded where it is long, cut where it would burst the page."""
        cut = text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} characters more in examples.jsonl)"
        return cls(cut, shortened(cut) if len(cut) > LONG else "")


@dataclass(frozen=True)
class Answer:
    """What was said before and after, and under which instructions: "all 10 instructions", "instructions 1, 4"."""

    before: Text
    after: Text
    under: str


@dataclass(frozen=True)
class Entry:
    """An example with the answers to it that changed."""

    id: str
    tags: tuple[str, ...]
    prompt: Text
    gold: Text
    answers: tuple[Answer, ...]

    @property
    def weight(self) -> int:
        """About how many characters it takes."""
        answers = sum(len(each.before.whole) + len(each.after.whole) + FRAME // 2 for each in self.answers)
        return FRAME + len(self.prompt.whole) + len(self.prompt.teaser) + len(self.gold.whole) + answers


@dataclass(frozen=True)
class Kind:
    """Entries of one kind: those that stand open, those that are folded, and how many are only in the file."""

    name: str
    pairs: int
    open: tuple[Entry, ...]
    folded: tuple[Entry, ...]
    left_out: int

    @property
    def total(self) -> int:
        """How many examples there are of this kind."""
        return len(self.open) + len(self.folded) + self.left_out


def instructions(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The instructions that rows quote, in order of appearance."""
    return list(dict.fromkeys(row["instruction"] for row in rows))


def kinds(rows: Sequence[Mapping[str, Any]], asked: int | None = None, most: int = MOST) -> list[Kind]:
    """The rows of examples.jsonl by kind: fixed, broken, and wrong both times; a kind without any is left out.

    Parameters
    ----------
    asked : under how many instructions the examples were asked, where that is known
    most : characters, of which each kind gets its part, and what another leaves over
    """
    numbers = {instruction: number for number, instruction in enumerate(instructions(rows), start=1)}
    every = max(len(numbers), asked or 0)
    by_kind: dict[str, list[Mapping[str, Any]]] = {"fixed": [], "broken": [], "other": []}
    for row in rows:
        right_after, right_before = is_right(row, "edited"), is_right(row, "base")
        by_kind["fixed" if right_after and not right_before else "broken" if right_before and not right_after else "other"].append(row)
    grouped = {name: _entries(held, numbers, every) for name, held in by_kind.items() if held}
    kept, room = dict.fromkeys(grouped, 0), most
    turns = [(place, name) for name, entries in grouped.items() for place in range(len(entries))]
    for place, name in sorted(turns, key=lambda turn: turn[0]):
        room -= grouped[name][place].weight
        if room < 0:
            break
        kept[name] = place + 1
    return [
        Kind(name, len(by_kind[name]), tuple(found[: min(OPEN, kept[name])]), tuple(found[OPEN : kept[name]]), len(found) - kept[name])
        for name, found in grouped.items()
    ]


def _entries(rows: Iterable[Mapping[str, Any]], numbers: Mapping[str, int], every: int) -> list[Entry]:
    """One entry for the rows of an example that ask the same question (apart from the instruction)."""
    grouped: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["id"], _body(row), row["gold"]), []).append(row)
    return [
        Entry(example, tuple(held[0]["tags"]), Text.of(body), Text.of(gold), _answers(held, numbers, every))
        for (example, body, gold), held in grouped.items()
    ]


def _answers(rows: Iterable[Mapping[str, Any]], numbers: Mapping[str, int], every: int) -> tuple[Answer, ...]:
    under: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        under.setdefault((row["base"], row["edited"]), []).append(numbers[row["instruction"]])
    return tuple(Answer(Text.of(before), Text.of(after), _under(found, every)) for (before, after), found in under.items())


def _under(found: Sequence[int], every: int) -> str:
    if every < 2:
        return ""
    if len(set(found)) == every:
        return f"under all {every} instructions"
    return f"under instruction{'s' if len(found) > 1 else ''} {', '.join(map(str, sorted(found)))}"


def _body(row: Mapping[str, Any]) -> str:
    """The prompt without its instruction, which has a number instead."""
    prompt, instruction = str(row["prompt"]).strip(), str(row["instruction"]).strip()
    return prompt.removeprefix(instruction).strip() if instruction and prompt != instruction else prompt


def examples_shown(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that stand for all: fixed ones, a broken one where there is one, each of another example."""
    fixed = [row for row in rows if is_right(row, "edited") and not is_right(row, "base")]
    broken = [row for row in rows if is_right(row, "base") and not is_right(row, "edited")]
    other = [row for row in rows if is_right(row, "base") == is_right(row, "edited")]
    return _distinct((*fixed[: EXAMPLES_SHOWN - 1], *broken[:1], *fixed, *broken, *other))[:EXAMPLES_SHOWN]


def _distinct(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first row of each example."""
    first: dict[Any, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(row["id"], row)
    return list(first.values())
