"""Answers that were steered into a language, and sentences on them. Knows no page, no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from resect.core.number_format import DASH, PLAIN, MetricFormat, plural
from resect.runs.schemas.languages import BeforeAfter, IdentifiedLanguages, SteeredAnswer, SteeringFile, StrengthChoice, TriedStrength
from resect.runs.schemas.parts import Interval

from .open_answers import WrittenAnswer, is_same_language, uncounted

#: With fewer prompts nothing is said of how sure a change is.
FEWEST = 20


@dataclass(frozen=True)
class AnswerPair:
    """A prompt with its answer before and after steering."""

    prompt: str
    before: WrittenAnswer
    after: WrittenAnswer

    @classmethod
    def of(cls, answer: SteeredAnswer) -> "AnswerPair":
        """The pair of a steering's file."""
        said, rated = answer.identified or IdentifiedLanguages(), answer.quality or BeforeAfter()
        before = WrittenAnswer(answer.before, said.before or None, rated.before)
        return cls(answer.prompt, before, WrittenAnswer(answer.after, said.after or None, rated.after))


@dataclass(frozen=True)
class SteeringResult:
    """A result of `resect steer`.

    accuracy, quality : before and after; None: not measured
    empty, unidentified : how many answers hold no text, and of how many others the language is not known, before and after
    file : its name, where another result has the same settings
    choice : how the strength was chosen; None: it was requested
    breaks : the guards that the answers break all the same, in words
    """

    to: str
    source: str | None
    mode: str
    strength: float | None
    n: int | None
    accuracy: tuple[float | None, float | None] | None
    interval: Interval | None
    quality: tuple[float | None, float | None] | None
    pairs: tuple[AnswerPair, ...]
    empty: tuple[int, int] = (0, 0)
    unidentified: tuple[int, int] = (0, 0)
    file: str = ""
    choice: StrengthChoice | None = None
    breaks: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: SteeringFile) -> "SteeringResult":
        """The result of a file in steered/."""
        pairs, accuracy = tuple(map(AnswerPair.of, file.answers)), file.language_accuracy
        empty, unclear = file.empty or BeforeAfter(), file.untold or BeforeAfter()
        counted = sum(not pair.before.text.strip() for pair in pairs), sum(not pair.after.text.strip() for pair in pairs)
        return cls(
            file.to,
            file.source or None,
            file.mode,
            file.strength,
            file.n,
            _ends(accuracy),
            accuracy.interval if accuracy is not None else None,
            _ends(file.quality),
            pairs,
            (counted[0] if empty.before is None else int(empty.before), counted[1] if empty.after is None else int(empty.after)),
            (int(unclear.before or 0), int(unclear.after or 0)),
            choice=file.choice,
            breaks=file.breaks,
        )

    @property
    def name(self) -> str:
        """What was done, in few words.

        >>> SteeringResult("fr", "en", "set", 1.0, None, None, None, None, ()).name
        'to fr, away from en (set)'
        """
        away = f", away from {self.source}" if self.source else ""
        strength = "" if self.strength is None or self.strength == 1 else f", strength {self.strength:g}"
        strength = ", no strength chosen" if self.is_unsteered else strength
        return f"to {self.to}{away} ({self.mode}{strength}){self._file}"

    @property
    def _file(self) -> str:
        return f" [{self.file}]" if self.file else ""

    @property
    def is_unsteered(self) -> bool:
        """Whether several strengths were tried, and none was chosen."""
        return self.choice is not None and self.choice.chosen is None

    @property
    def uncounted(self) -> tuple[str, str]:
        """The answers that count as in no language, before and after."""
        before, after = (uncounted(*numbers) for numbers in zip(self.empty, self.unidentified, strict=True))
        return before, after

    @property
    def number(self) -> int:
        """How many prompts were answered."""
        return len(self.pairs) if self.n is None else self.n

    @property
    def moved(self) -> int | None:
        """How many answers came to be in the language, or no longer are; None where the languages were not identified."""
        if self.accuracy is None or not self.pairs:
            return None
        return sum(self._is_there(pair.before) != self._is_there(pair.after) for pair in self.pairs)

    def _is_there(self, answer: WrittenAnswer) -> bool:
        return answer.identified is not None and is_same_language(self.to, answer.identified)

    def change(self, figures: MetricFormat) -> str:
        """The change of the language accuracy in points, and how sure it is."""
        before, after = self.accuracy or (None, None)
        if before is None or after is None:
            return DASH
        if self.moved == 0:
            return "none changed"
        points = figures.change(after - before)
        if self.number < FEWEST:
            return f"{points} (too few to say)"
        return points if self.interval is None else f"{points} ({figures.change_interval(self.interval)})"

    def remarks(self) -> list[str]:
        """Sentences on it, and what to try."""
        sentences = [*self._on_choice(), *([] if self.is_unsteered else self._on_change())]
        if self.breaks:
            why = "the strength was requested, so it is applied" if self.choice is None else "those of the prompts that chose it break none"
            sentences.append(f"the answers break a guard ({'; '.join(self.breaks)}); {why}.")
        return sentences

    def _on_choice(self) -> list[str]:
        """How the strength was chosen, and what the language accuracy alone would have chosen."""
        choice = self.choice
        if choice is None:
            return []
        by = f"on {plural(choice.n, 'prompts')}; what is reported is of the {plural(self.number, 'others')}"
        if choice.chosen is None:
            kept = "" if choice.limit is None else " that keeps the guards"
            sentences = [f"no strength{kept} is better than no steering, {by}. No plan is written."]
        else:
            sentences = [f"strength {choice.chosen:g} was chosen, {by}."]
        if choice.by_accuracy is not None and choice.by_accuracy != choice.chosen:
            costs = next((each for each in choice.tried if each.strength == choice.by_accuracy), TriedStrength())
            sentences.append(
                f"by language accuracy alone, strength {choice.by_accuracy:g} would have been chosen "
                f"({PLAIN.percent(costs.language_accuracy)}); it breaks guards: {'; '.join(costs.breaks) or 'unknown'}."
            )
        return sentences

    def _on_change(self) -> list[str]:
        """What the change shows, and what to try. That it got worse is said only where its interval is below 0."""
        before, _ = self.accuracy or (None, None)
        stronger = "try a larger --strength" + ("" if self.mode == "difference" else ", or --mode difference")
        if self.pairs and all(pair.before.text == pair.after.text for pair in self.pairs):
            return [f"no answer changed; {stronger}."]
        if self.moved == 0 and before is not None and before < 1:
            return [f"no answer changed its language; {stronger}."]
        if self.number >= FEWEST and self.interval is not None and self.interval[1] < 0:
            return ["it got worse: fewer answers are in that language than before; try less --strength, or another --mode."]
        return []


def with_distinct_names(results: Mapping[str, SteeringResult]) -> list[SteeringResult]:
    """The results, by the names of their files; those that would be called the same have the file in their name."""
    names = [result.name for result in results.values()]
    return [replace(result, file=file) if names.count(result.name) > 1 else result for file, result in results.items()]


def remarks(results: Sequence[SteeringResult]) -> list[tuple[str, list[SteeringResult]]]:
    """The sentences on results, and of which results each is."""
    grouped: dict[str, list[SteeringResult]] = {}
    for result in results:
        for sentence in result.remarks():
            grouped.setdefault(sentence, []).append(result)
    return list(grouped.items())


def _ends(measured: BeforeAfter | None) -> tuple[float | None, float | None] | None:
    return None if measured is None or (measured.before is None and measured.after is None) else (measured.before, measured.after)
