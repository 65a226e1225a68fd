"""What deactivating each language's units does to the text of each language, from matrix.json. Knows no page, no file."""

from collections.abc import Sequence
from dataclasses import dataclass

from resect.runs.schemas.languages import DeactivationMeasure, MatrixFile
from resect.runs.schemas.parts import Interval

Row = tuple[float | None, ...]
Cells = tuple[Row, ...]


@dataclass(frozen=True)
class TextMeasure:
    """One measure of a language's text (columns) with the units of a language deactivated (rows); None: not measured.

    base : without an edit, by language of the text
    deactivated, change : [deactivated language, language of the text]
    interval : the 95 % interval of each change
    """

    base: Row
    deactivated: Cells
    change: Cells
    interval: tuple[tuple[Interval | None, ...], ...]

    @classmethod
    def of(cls, measure: DeactivationMeasure, size: int) -> "TextMeasure":
        """The change is the stored one, or follows from before and after."""
        base, after, change = _row(measure.base, size), _cells(measure.deactivated, size), _cells(measure.change, size)
        changes = tuple(
            tuple(
                stored if stored is not None else _difference(base[text], then)
                for text, (stored, then) in enumerate(zip(*rows, strict=True))
            )
            for rows in zip(change, after, strict=True)
        )
        intervals = measure.interval if measure.interval is not None and len(measure.interval) == size else (None,) * size
        return cls(base, after, changes, tuple((None,) * size if row is None else row for row in intervals))


@dataclass(frozen=True)
class RandomControl:
    """The changes with random units deactivated, as many in each layer: means over so many draws (None: not known)."""

    draws: int | None
    loss: Cells
    perplexity: Cells


@dataclass(frozen=True)
class LanguageMatrix:
    """The matrix.

    units, windows, tokens : one number for each language
    kind : "perplexity", or "pseudo-perplexity"
    loss : the mean negative log-probability of a token, in nats
    largest : whether the own text suffers most; None where the language has no units, or that is not known
    """

    languages: tuple[str, ...]
    selector: str
    units: tuple[int | None, ...]
    window: int | None
    windows: tuple[int | None, ...]
    tokens: tuple[int | None, ...]
    kind: str
    loss: TextMeasure
    perplexity: TextMeasure
    control: RandomControl | None
    largest: tuple[bool | None, ...]

    @classmethod
    def of(cls, file: MatrixFile) -> "LanguageMatrix":
        """The matrix of matrix.json."""
        size, nothing = len(file.languages), DeactivationMeasure()
        loss = TextMeasure.of(file.neg_logprob, size)
        units, windows, tokens = (row if len(row) == size else (None,) * size for row in (file.units, file.windows, file.tokens))
        random = file.control and [
            TextMeasure.of(each or nothing, size).change for each in (file.control.neg_logprob, file.control.perplexity)
        ]
        stored = file.diagonal.is_maximum if file.diagonal is not None else {}
        is_known = all(name in stored for name in file.languages)
        return cls(
            file.languages,
            file.selector,
            units,
            file.window,
            windows,
            tokens,
            file.kind,
            loss,
            TextMeasure.of(file.perplexity or nothing, size),
            RandomControl(file.control.draws, *random) if file.control and random else None,
            tuple(stored[name] for name in file.languages) if is_known else _largest_own(loss.change, units),
        )

    @property
    def own(self) -> Row:
        """For each language, the change of the loss of its own text."""
        return tuple(row[place] for place, row in enumerate(self.loss.change))

    @property
    def random(self) -> Row:
        """For each language, that change with as many random units deactivated."""
        return tuple(row[place] for place, row in enumerate(self.control.loss)) if self.control else (None,) * len(self.languages)

    @property
    def others(self) -> tuple[tuple[str, str, float], ...]:
        """Everything off the diagonal, the strongest first: whose units, whose text, the change."""
        changes = [
            (mine, theirs, change)
            for row, mine in enumerate(self.languages)
            for column, theirs in enumerate(self.languages)
            if row != column and self.units[row] != 0 and (change := self.loss.change[row][column]) is not None
        ]
        return tuple(sorted(changes, key=lambda change: -change[2]))

    def next_to(self, language: str) -> tuple[str, float] | None:
        """The other language whose text suffers most from the units of this one, and its change."""
        return next(((theirs, change) for mine, theirs, change in self.others if mine == language), None)

    @property
    def strongest(self) -> tuple[int | None, ...]:
        """In each row the place of the largest change; None where nothing is deactivated, or nothing was measured."""
        return tuple(_largest(row) if units != 0 else None for row, units in zip(self.loss.change, self.units, strict=True))

    @property
    def with_units(self) -> tuple[str, ...]:
        """The languages of which it is known whether their own text suffers most."""
        return tuple(name for name, is_largest in zip(self.languages, self.largest, strict=True) if is_largest is not None)

    @property
    def specific(self) -> tuple[str, ...]:
        """The languages whose own text suffers most."""
        return tuple(name for name, is_largest in zip(self.languages, self.largest, strict=True) if is_largest)

    @property
    def without_units(self) -> tuple[str, ...]:
        """The languages for which no unit was selected."""
        return tuple(name for name, number in zip(self.languages, self.units, strict=True) if number == 0)

    @property
    def unsure(self) -> tuple[str, ...]:
        """Languages with units whose own change has an interval that is not above 0."""
        return tuple(name for name in self.with_units if (low := self._low(name)) is not None and low <= 0)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Languages with units whose own change has no interval."""
        return tuple(name for name in self.with_units if self._low(name) is None)

    @property
    def as_random(self) -> tuple[str, ...]:
        """Languages with units whose own text random units hurt as much."""
        return tuple(name for name in self.with_units if _reaches(self.random_of(name), self.own_of(name)))

    @property
    def near_random(self) -> tuple[str, ...]:
        """Those whose own change is larger than that of random units, while its interval is not."""
        settled = {*self.as_random, *self.unsure}
        return tuple(name for name in self.with_units if name not in settled and _reaches(self.random_of(name), self._low(name)))

    @property
    def near_next(self) -> tuple[str, ...]:
        """Those whose own text suffers most, while the interval of that reaches down to the text that suffers next."""
        names = [name for name in self.specific if name not in self.unsure]
        return tuple(name for name in names if (after := self.next_to(name)) and _reaches(after[1], self._low(name)))

    @property
    def sure(self) -> tuple[str, ...]:
        """The languages whose own text suffers most, by an interval above 0, above random units and above the next text."""
        doubted = {*self.unsure, *self.unmeasured, *self.as_random, *self.near_random, *self.near_next}
        return tuple(name for name in self.specific if name not in doubted)

    @property
    def hurt_more(self) -> tuple[tuple[str, str, float, float], ...]:
        """Texts that another language's units hurt more than their own do: whose text, whose units, that change, the own one."""
        texts = []
        for column, theirs in enumerate(self.languages):
            own = self.loss.change[column][column]
            rivals = [(change, mine) for mine, text, change in self.others if text == theirs]
            if own is not None and self.largest[column] is not None and rivals and max(rivals)[0] > own:
                texts.append((theirs, max(rivals)[1], max(rivals)[0], own))
        return tuple(texts)

    def own_of(self, language: str) -> float | None:
        """The change of a language's own text."""
        return self.own[self.languages.index(language)]

    def random_of(self, language: str) -> float | None:
        """The change of its text with as many random units: the draws in place of this very language's units."""
        return self.random[self.languages.index(language)]

    def _low(self, language: str) -> float | None:
        """The lower end of the interval of the own change."""
        place = self.languages.index(language)
        ends = self.loss.interval[place][place]
        return ends[0] if ends else None


def _reaches(rival: float | None, own: float | None) -> bool:
    return rival is not None and own is not None and rival >= own


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _largest(row: Sequence[float | None]) -> int | None:
    """The place of the largest number; None where there is none, or where two are."""
    known = [value for value in row if value is not None]
    return row.index(max(known)) if known and known.count(max(known)) == 1 else None


def _largest_own(change: Cells, units: Sequence[int | None]) -> tuple[bool | None, ...]:
    return tuple(
        None if number == 0 or row[mine] is None else _largest(row) == mine
        for mine, (row, number) in enumerate(zip(change, units, strict=True))
    )


def _row(values: Row | None, size: int) -> Row:
    return values if values is not None and len(values) == size else (None,) * size


def _cells(rows: Sequence[Row | None] | None, size: int) -> Cells:
    return tuple(_row(row, size) for row in (rows if rows is not None and len(rows) == size else (None,) * size))
