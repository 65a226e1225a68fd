"""Kinds of answers: the unknown option, the first one, the same text. How often each is given, and what always giving it would score.

A kind is counted where it is wrong: at examples whose right answer is of another kind. So a model that says "undetermined" more often where
that is right has not collapsed, and one that says it everywhere has. Knows questions and answers; knows no plan.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from resect.core.intervals import GroupHalves
from resect.core.number_format import ORDINALS
from resect.data.tasks.example import Example

from .metrics import TOP
from .questions import Answers, Questions

UNKNOWN = "the unknown option"
#: Texts that are looked at as kinds of their own: the most frequent ones.
TEXTS = 5


@dataclass(frozen=True)
class Kind:
    """A kind of answer.

    Parameters
    ----------
    label : "the unknown option", "the first option", or a text in quotation marks
    is_right : at each example whether the right answer is of this kind, [examples]
    is_given : at each pair whether the given answer is, [examples, instructions]
    text : the text, where that is what the kind is; else None
    """

    label: str
    is_right: Bool[np.ndarray, " examples"]
    is_given: Bool[np.ndarray, "examples instructions"]
    text: str | None = None

    @property
    def wrong_share(self) -> float:
        """How often it is given where the right answer is another; 0 where there is no such example."""
        return float(self.is_given[~self.is_right].mean()) if not self.is_right.all() else 0.0

    @property
    def share(self) -> float:
        """How often it is given, of all answers."""
        return float(self.is_given.mean())

    @property
    def score(self) -> float:
        """The accuracy of a model that always gives it."""
        return float(self.is_right.mean())


def kinds_of(questions: Questions, answers: Answers, texts: Sequence[str] | None = None) -> list[Kind]:
    """Returns the kinds of answers to these questions; empty where answers are neither choices nor texts (the log loss of a text).

    texts : the texts that are kinds of their own; default: the most frequent ones of these answers, lower-cased and without blanks and
        full stops around them
    """
    if not _has_answers(questions):
        return []
    kinds = []
    if questions.metric not in TOP and not any(questions.free):
        gold, given = questions.gold, answers.predictions
        unknown = np.array([_unknown(example) for example in questions.examples], dtype=np.int64)
        if (unknown >= 0).any():
            kinds.append(Kind(UNKNOWN, gold == unknown, (given == unknown[:, None]) & (given >= 0)))
        places = range(min(max(map(len, questions.choices)), len(ORDINALS)))
        kinds += [Kind(f"the {ORDINALS[place]} option", gold == place, given == place) for place in places]
    right, given_texts = _texts(questions, answers)
    texts = _most_common(given_texts) if texts is None else texts
    return [*kinds, *(Kind(f"“{text}”", right == text, given_texts == text, text) for text in texts)]


def _most_common(given: Shaped[np.ndarray, "examples instructions"]) -> list[str]:
    """Returns the texts that are given most often, the most frequent first; of equally frequent ones in their alphabetical order."""
    counts = Counter(given.ravel().tolist())
    return sorted(counts, key=lambda text: (-counts[text], text))[:TEXTS]


def most_frequent(kinds: Sequence[Kind]) -> Kind | None:
    """Returns the kind that is given most often where it is wrong; of equals the first; None where no kind could be wrong."""
    able = [kind for kind in kinds if not kind.is_right.all()]
    return max(able, key=lambda kind: kind.wrong_share) if able else None


@dataclass(frozen=True)
class Collapse:
    """How far answers concentrate on one kind where it is wrong. `rise`: of that share; `is_certain`: by a one-sided 90 % interval."""

    label: str
    before: float
    after: float
    is_certain: bool

    @property
    def rise(self) -> float:
        """The rise of the share of the most frequent kind."""
        return self.after - self.before


def collapse(questions: Questions, base: Answers, edited: Answers, seed: int = 0) -> Collapse | None:
    """Compares the share of the most frequent kind of answer before and after; None where answers have no kinds."""
    return _collapse(questions, base, most_frequent(kinds_of(questions, base)), most_frequent(kinds_of(questions, edited)), seed)


def _collapse(questions: Questions, base: Answers, before: Kind | None, after: Kind | None, seed: int) -> Collapse | None:
    """Compares the most frequent kinds of base and edited answers."""
    if before is None or after is None:
        return None
    kinds = kinds_of(questions, base, [] if after.text is None else [after.text])
    same = next(kind for kind in kinds if kind.label == after.label)
    rows = np.flatnonzero(~after.is_right).tolist()
    loss = [1.0 - kind.is_given[rows] for kind in (same, after)]
    groups = [questions.groups[row] for row in rows]
    return Collapse(after.label, before.wrong_share, after.wrong_share, is_certain_loss(loss[0], loss[1], groups, seed))


#: The one-sided level at which a loss counts as certain, and the fewest groups that can reach it.
CERTAIN, FEWEST_GROUPS = 0.10, 4


def is_certain_loss(
    before: Shaped[np.ndarray, "examples instructions"],
    after: Shaped[np.ndarray, "examples instructions"],
    groups: Sequence[str],
    seed: int = 0,
) -> bool:
    """Returns whether the mean fell by a one-sided sign-flip test over groups at the level of 10 %.

    before, after : values of the same pairs, [examples, instructions]
    With fewer than four groups no test reaches that level: the mean alone decides.
    """
    halves = GroupHalves.of(np.asarray(after - before, dtype=np.float64), groups, seed)
    if len(set(groups)) < FEWEST_GROUPS:
        return halves.mean < 0
    return halves.p_value_of_loss() <= CERTAIN


def answer_summary(questions: Questions, base: Answers, edited: Sequence[Answers], seed: int = 0) -> dict[str, Any] | None:
    """Returns what comparison.json says on kinds of answers: chance, the best constant answer, positions, collapse; None without kinds.

    edited : one, or one for each trial, over which shares are averaged; none: the model without an edit alone
    seed : of the draws behind the interval of the collapse
    """
    kinds = kinds_of(questions, base)
    if not kinds:
        return None
    best, before = max(kinds, key=lambda kind: kind.score), most_frequent(kinds)
    after = [most_frequent(kinds_of(questions, each)) for each in edited]
    return {
        "balanced": _balanced(questions, base, edited),
        "chance": _chance(questions),
        "constant": {"label": best.label, "score": best.score},
        "positions": _positions(questions, base, edited),
        "most_frequent": {
            "base": _averaged([before]),
            "edited": _averaged(after),
            "is_certain": all(_is_certain(_collapse(questions, base, before, kind, seed)) for kind in after) if edited else None,
        },
    }


def _is_certain(found: Collapse | None) -> bool:
    return found is not None and found.rise > 0 and found.is_certain


def _averaged(found: Sequence[Kind | None]) -> dict[str, Any] | None:
    """Returns the first of several kinds with the means of their shares; None without any."""
    known = [kind for kind in found if kind is not None]
    if not known:
        return None
    return {
        "label": known[0].label,
        "share": float(np.mean([kind.share for kind in known])),
        "wrong_share": float(np.mean([kind.wrong_share for kind in known])),
    }


def _positions(questions: Questions, base: Answers, edited: Sequence[Answers]) -> dict[str, Any] | None:
    """Returns how right and given answers spread over the positions of the choices; a generated text that is no choice has none."""
    if questions.metric in TOP or any(questions.free):
        return None
    places = range(min(max(map(len, questions.choices)), len(ORDINALS)))
    shares = lambda values: [float((values == place).mean()) for place in places]
    after = [shares(answers.predictions) for answers in edited]
    return {
        "right": shares(questions.gold),
        "base": shares(base.predictions),
        "edited": np.mean(after, axis=0).tolist() if after else None,
    }


def _balanced(questions: Questions, base: Answers, edited: Sequence[Answers]) -> dict[str, float | None]:
    """Returns the mean over tags of each tag's mean, of the tags that tell examples apart; None without such tags."""
    apart = questions.rows_by_tag.values()
    if not apart:
        return {"base": None, "edited": None}
    before, *after = (float(np.mean([answers.values[part].mean() for part in apart])) for answers in (base, *edited))
    return {"base": before, "edited": float(np.mean(after)) if after else None}


def _chance(questions: Questions) -> float | None:
    """Returns the accuracy of guessing among the choices; None where answers are texts of the model's own."""
    if questions.metric != "accuracy":
        return None
    return float(np.mean([1 / len(choices) for choices in questions.choices]))


def _has_answers(questions: Questions) -> bool:
    return not (questions.metric == "logloss" and any(questions.free))


def _unknown(example: Example) -> int:
    value = example.fields.get("unknown")
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _texts(questions: Questions, answers: Answers) -> tuple[Shaped[np.ndarray, " examples"], Shaped[np.ndarray, "examples instructions"]]:
    """Returns the right texts [examples] and the given ones [examples, instructions], in plain form."""
    right = np.array(
        [_plain(choices[gold]) for choices, gold in zip(questions.choices, questions.gold.tolist(), strict=True)], dtype=object
    )
    plain = [[_plain(choice) for choice in choices] for choices in questions.choices]
    given = np.empty(answers.predictions.shape, dtype=object)
    for (e, i), index in np.ndenumerate(answers.predictions):
        if answers.texts is not None and (index < 0 or questions.is_generated(e)):
            given[e, i] = _plain(answers.texts[e][i])
        else:
            given[e, i] = plain[e][index]
    return right, given


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .")


def accuracy_of(questions: Questions, answers: Answers) -> Shaped[np.ndarray, "examples instructions"] | None:
    """Returns values in [0, 1] to count losses in: the metric, or whether the most probable choice is right; None: there are none."""
    if not questions.less_is_better:
        return answers.values
    if any(questions.free):
        return None
    return np.asarray(answers.predictions == questions.gold[:, None], dtype=np.float64)
