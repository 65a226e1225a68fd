"""What became of each language's text with each language's units off: matrix.json made sound. Plain values; knows no page, no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.errors import InputError

from .tolerant import interval_of, number_of, object_of, whole_of

Row = tuple[float | None, ...]
Table = tuple[Row, ...]


@dataclass(frozen=True)
class Measure:
    """One measure: of a language's text (columns) with the units of a language (rows) off. What was not measured is None.

    `base`: with nothing off; `interval`: where the change lies with 95 % confidence.
    """

    base: Row
    after: Table
    change: Table
    interval: tuple[tuple[list[float] | None, ...], ...]


@dataclass(frozen=True)
class Control:
    """The same with random units off, as many in each layer: means over so many draws. `loss`, `perplexity`: the changes."""

    draws: int | None
    loss: Table
    perplexity: Table


@dataclass(frozen=True)
class Effects:
    """The matrix. `units`, `windows`, `tokens`: one a language; `loss`: mean negative log-probability of a token.

    `largest`: whether the own text suffers most of all; None where the language has no units, or that is not known.
    """

    languages: tuple[str, ...]
    selector: str
    units: tuple[int | None, ...]
    window: int | None
    windows: tuple[int | None, ...]
    tokens: tuple[int | None, ...]
    kind: str
    loss: Measure
    perplexity: Measure
    control: Control | None
    largest: tuple[bool | None, ...]

    @property
    def own(self) -> Row:
        """Of each language, the change of the loss of its own text."""
        return tuple(row[place] for place, row in enumerate(self.loss.change))

    @property
    def random(self) -> Row:
        """Of each language, that change with as many random units off."""
        return tuple(row[place] for place, row in enumerate(self.control.loss)) if self.control else (None,) * len(self.languages)

    @property
    def others(self) -> tuple[tuple[str, str, float], ...]:
        """Everything beside the diagonal, the strongest first: whose units, whose text, the change."""
        found = [
            (mine, theirs, change)
            for row, mine in enumerate(self.languages)
            for column, theirs in enumerate(self.languages)
            if row != column and self.units[row] != 0 and (change := self.loss.change[row][column]) is not None
        ]
        return tuple(sorted(found, key=lambda each: -each[2]))

    def next_to(self, language: str) -> tuple[str, float] | None:
        """The other language whose text suffers most from the units of this one being off, and how much."""
        return next(((theirs, change) for mine, theirs, change in self.others if mine == language), None)

    @property
    def strongest(self) -> tuple[int | None, ...]:
        """In each row, the place of the largest change; None where nothing is off, or nothing was measured."""
        return tuple(_largest(row) if units != 0 else None for row, units in zip(self.loss.change, self.units, strict=True))

    @property
    def with_units(self) -> tuple[str, ...]:
        """The languages of which it can be said whether their own text suffers most."""
        return tuple(name for name, is_largest in zip(self.languages, self.largest, strict=True) if is_largest is not None)

    @property
    def specific(self) -> tuple[str, ...]:
        """The languages whose own text suffers most."""
        return tuple(name for name, is_largest in zip(self.languages, self.largest, strict=True) if is_largest)

    @property
    def without_units(self) -> tuple[str, ...]:
        """The languages for which no unit was chosen."""
        return tuple(name for name, number in zip(self.languages, self.units, strict=True) if number == 0)

    @property
    def unsure(self) -> tuple[str, ...]:
        """Languages with units, of which the interval of the own change does not lie above 0."""
        return tuple(name for name in self.with_units if (low := self._low(name)) is not None and low <= 0)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Languages with units, of which the own change has no interval."""
        return tuple(name for name in self.with_units if self._low(name) is None)

    @property
    def as_random(self) -> tuple[str, ...]:
        """Languages with units, whose own text random units hurt as much."""
        return tuple(name for name in self.with_units if self._reaches(self.random_of(name), self.own_of(name)))

    @property
    def near_random(self) -> tuple[str, ...]:
        """Those whose own change lies above that of random units, its interval not."""
        return tuple(name for name in self._open(self.as_random) if self._reaches(self.random_of(name), self._low(name)))

    @property
    def near_next(self) -> tuple[str, ...]:
        """Those whose own text suffers most, and the interval of that reaches down to the text that suffers next."""
        found = [name for name in self.specific if name not in self.unsure]
        return tuple(name for name in found if (after := self.next_to(name)) and self._reaches(after[1], self._low(name)))

    @property
    def sure(self) -> tuple[str, ...]:
        """The languages whose own text suffers most, the whole interval of it above 0, above random units and above the next text."""
        doubted = {*self.unsure, *self.unmeasured, *self.as_random, *self.near_random, *self.near_next}
        return tuple(name for name in self.specific if name not in doubted)

    @property
    def hurt_more(self) -> tuple[tuple[str, str, float, float], ...]:
        """Texts that the units of another language hurt more than their own do: whose text, whose units, that change, the own one."""
        found = []
        for column, theirs in enumerate(self.languages):
            own = self.loss.change[column][column]
            rivals = [(change, mine) for mine, text, change in self.others if text == theirs]
            if own is not None and self.largest[column] is not None and rivals and max(rivals)[0] > own:
                found.append((theirs, max(rivals)[1], max(rivals)[0], own))
        return tuple(found)

    def own_of(self, language: str) -> float | None:
        """What a language's units do to its own text."""
        return self.own[self.languages.index(language)]

    def random_of(self, language: str) -> float | None:
        """What as many random units do to its text: the draws in place of this very language's units."""
        return self.random[self.languages.index(language)]

    def _low(self, language: str) -> float | None:
        """The lower end of the interval of the own change."""
        place = self.languages.index(language)
        ends = self.loss.interval[place][place]
        return ends[0] if ends else None

    def _open(self, settled: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in self.with_units if name not in settled and name not in self.unsure)

    @staticmethod
    def _reaches(rival: float | None, own: float | None) -> bool:
        return rival is not None and own is not None and rival >= own


def effects_of(found: Mapping[str, Any]) -> Effects:
    """The matrix of matrix.json. Raises InputError where no language, or no change of the log-probabilities, is in it."""
    names = found.get("languages")
    if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
        raise InputError("matrix.json is damaged: it holds no list of different languages.")
    languages, size = tuple(map(str, names)), len(names)
    loss = _measure(object_of(found.get("neg_logprob")), size)
    if all(value is None for row in loss.change for value in row):
        raise InputError("matrix.json is damaged: it holds no change of any language's negative log-probability.")
    numbers = {name: _wholes(found.get(name), size) for name in ("units", "windows", "tokens")}
    control = object_of(found.get("control"))
    tables = {name: _table(object_of(control.get(key)).get("change"), size) for name, key in (("loss", "neg_logprob"), ("perplexity",) * 2)}
    told = object_of(object_of(found.get("diagonal")).get("is_maximum"))
    largest = [told.get(name, "?") for name in languages]
    known = all(value is None or isinstance(value, bool) for value in largest)
    return Effects(
        languages,
        str(found.get("selector") or ""),
        numbers["units"],
        whole_of(found.get("window")),
        numbers["windows"],
        numbers["tokens"],
        str(found.get("kind") or "perplexity"),
        loss,
        _measure(object_of(found.get("perplexity")), size),
        Control(whole_of(control.get("draws")), **tables) if control else None,
        tuple(largest) if known else _largest_own(loss.change, numbers["units"]),
    )


def _measure(found: Mapping[str, Any], size: int) -> Measure:
    """The change is what the file says, else what follows from before and after."""
    base, after, change = _row(found.get("base"), size), _table(found.get("deactivated"), size), _table(found.get("change"), size)
    whole = tuple(
        tuple(given if given is not None else _apart(base[column], then) for column, (given, then) in enumerate(zip(*rows, strict=True)))
        for rows in zip(change, after, strict=True)
    )
    held = found.get("interval")
    ends = tuple(tuple(interval_of({"interval": cell}) for cell in _items(row, size)) for row in _items(held, size))
    return Measure(base, after, whole, ends)


def _apart(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _largest(row: Sequence[float | None]) -> int | None:
    """The place of the largest number; None where there is none, or where two are."""
    known = [value for value in row if value is not None]
    return row.index(max(known)) if known and known.count(max(known)) == 1 else None


def _largest_own(change: Table, units: Sequence[int | None]) -> tuple[bool | None, ...]:
    return tuple(
        None if number == 0 or row[mine] is None else _largest(row) == mine
        for mine, (row, number) in enumerate(zip(change, units, strict=True))
    )


def _items(found: object, size: int) -> list[object]:
    """So many items of a list; of something else, or of a list of another length, nothing so many times."""
    return list(found) if isinstance(found, list) and len(found) == size else [None] * size


def _row(found: object, size: int) -> Row:
    return tuple(map(number_of, _items(found, size)))


def _table(found: object, size: int) -> Table:
    return tuple(_row(row, size) for row in _items(found, size))


def _wholes(found: object, size: int) -> tuple[int | None, ...]:
    wholes = map(whole_of, _items(found, size))
    return tuple(value if value is not None and value >= 0 else None for value in wholes)
