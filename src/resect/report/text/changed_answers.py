"""The answers that changed, as a page quotes them: grouped by what became of them, one entry per example, no more than a page can hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from resect.runs.schemas.rows import ExampleLine

from .printable import shortened

#: Examples of a kind that are shown unfolded.
OPEN = 10
#: Characters of quoted text, in all, and in one text. The page says what it leaves out; examples.jsonl has everything.
MOST, LONGEST = 1_500_000, 10_000
#: From so many characters on a text is folded.
LONG = 700
#: Changed answers that a summary quotes.
EXAMPLES_SHOWN = 3
#: What an example weighs in addition to its texts, in characters.
FRAME = 500


@dataclass(frozen=True)
class QuotedText:
    """A text; `teaser` is shown in its place where it is long, and empty where it is not."""

    whole: str
    teaser: str = ""

    @classmethod
    def of(cls, text: str) -> "QuotedText":
        """The text, folded where it is long, cut where it would burst the page."""
        cut = text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} characters more in examples.jsonl)"
        return cls(cut, shortened(cut) if len(cut) > LONG else "")


@dataclass(frozen=True)
class ChangedAnswer:
    """The answer before and after, and under which instructions: "all 10 instructions", "instructions 1, 4"."""

    before: QuotedText
    after: QuotedText
    under: str


@dataclass(frozen=True)
class ChangedExample:
    """An example with the answers to it that changed."""

    id: str
    tags: tuple[str, ...]
    prompt: QuotedText
    gold: QuotedText
    answers: tuple[ChangedAnswer, ...]

    @property
    def weight(self) -> int:
        """About how many characters it takes."""
        answers = sum(len(answer.before.whole) + len(answer.after.whole) + FRAME // 2 for answer in self.answers)
        return FRAME + len(self.prompt.whole) + len(self.prompt.teaser) + len(self.gold.whole) + answers


@dataclass(frozen=True)
class AnswerKind:
    """Examples of one kind: those that are shown, those that are folded, and how many are only in the file."""

    name: str
    pairs: int
    open: tuple[ChangedExample, ...]
    folded: tuple[ChangedExample, ...]
    left_out: int

    @property
    def total(self) -> int:
        """How many examples there are of this kind."""
        return len(self.open) + len(self.folded) + self.left_out


def instructions(rows: Iterable[ExampleLine]) -> list[str]:
    """The instructions of rows, in order of appearance."""
    return list(dict.fromkeys(row.instruction for row in rows))


def kinds(rows: Sequence[ExampleLine], n_instructions: int | None = None, most: int = MOST) -> list[AnswerKind]:
    """The rows of examples.jsonl by kind: fixed, broken, and wrong both times; a kind without any is left out.

    Parameters
    ----------
    n_instructions : under how many instructions the examples were evaluated, where that is known
    most : characters, of which each kind gets its part, and what another leaves over
    """
    numbers = {instruction: number for number, instruction in enumerate(instructions(rows), start=1)}
    every = max(len(numbers), n_instructions or 0)
    by_kind: dict[str, list[ExampleLine]] = {"fixed": [], "broken": [], "other": []}
    for row in rows:
        by_kind[kind_of(row)].append(row)
    grouped = {name: _examples(kind_rows, numbers, every) for name, kind_rows in by_kind.items() if kind_rows}
    kept, room = dict.fromkeys(grouped, 0), most
    turns = [(place, name) for name, examples in grouped.items() for place in range(len(examples))]
    for place, name in sorted(turns, key=lambda turn: turn[0]):
        room -= grouped[name][place].weight
        if room < 0:
            break
        kept[name] = place + 1
    return [
        AnswerKind(
            name, len(by_kind[name]), tuple(group[: min(OPEN, kept[name])]), tuple(group[OPEN : kept[name]]), len(group) - kept[name]
        )
        for name, group in grouped.items()
    ]


def kind_of(row: ExampleLine) -> str:
    """What became of an answer: "fixed", "broken", or "other" where it is right both times or never."""
    return "other" if row.was_right == row.is_right else "fixed" if row.is_right else "broken"


def _examples(rows: Iterable[ExampleLine], numbers: Mapping[str, int], every: int) -> list[ChangedExample]:
    """One entry for the rows of an example that put the same question (apart from the instruction)."""
    grouped: dict[tuple[str, str, str], list[ExampleLine]] = {}
    for row in rows:
        grouped.setdefault((row.id, _without_instruction(row), row.gold), []).append(row)
    return [
        ChangedExample(example, same[0].tags, QuotedText.of(prompt), QuotedText.of(gold), _answers(same, numbers, every))
        for (example, prompt, gold), same in grouped.items()
    ]


def _answers(rows: Iterable[ExampleLine], numbers: Mapping[str, int], every: int) -> tuple[ChangedAnswer, ...]:
    under: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        under.setdefault((row.base, row.edited), []).append(numbers[row.instruction])
    return tuple(
        ChangedAnswer(QuotedText.of(before), QuotedText.of(after), _under(places, every)) for (before, after), places in under.items()
    )


def _under(places: Sequence[int], every: int) -> str:
    if every < 2:
        return ""
    if len(set(places)) == every:
        return f"under all {every} instructions"
    return f"under instruction{'s' if len(places) > 1 else ''} {', '.join(map(str, sorted(places)))}"


def _without_instruction(row: ExampleLine) -> str:
    """The prompt without its instruction, which is shown as a number."""
    prompt, instruction = row.prompt.strip(), row.instruction.strip()
    return prompt.removeprefix(instruction).strip() if instruction and prompt != instruction else prompt


def examples_shown(rows: Sequence[ExampleLine]) -> list[ExampleLine]:
    """The rows that a summary quotes: fixed ones, a broken one where there is one, each of another example."""
    by_kind = {name: [row for row in rows if kind_of(row) == name] for name in ("fixed", "broken", "other")}
    fixed, broken, other = by_kind.values()
    chosen = (*fixed[: EXAMPLES_SHOWN - 1], *broken[:1], *fixed, *broken, *other)
    first = {row.id: row for row in reversed(chosen)}
    order = dict.fromkeys(row.id for row in chosen)
    return [first[example] for example in order][:EXAMPLES_SHOWN]
