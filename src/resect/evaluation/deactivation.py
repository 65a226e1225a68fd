"""The matrix: what switching each language's units off does to the text of each language, beside random units.

Knows plans by language and held-out text; not how the units were found. Each window of text is read once by the model as it is, once for
every language's units, and once for every random control: nothing is read twice, and what is read is kept.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32

from resect.core.comparison import Comparison, difference, estimate
from resect.core.errors import InputError
from resect.core.execution import Entry, Workers, journal_key
from resect.edits.plan import Plan
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel, perplexity_of
from resect.models.text_windows import WindowPacker

#: Held-out tokens of a language that are read at most: the paper's 2^20; to a masked model every token is one pass by itself.
TOKENS, MASKED_TOKENS = 2**20, 2_000
#: Windows that follow each other are one group of an interval where there are more: neighbours may share a document.
GROUPS = 400
#: What the comparison calls what is compared: each language's text with that language's units off.
OWN = "its own units off"
#: The negative log-probability of every window of one language's text; languages have unlike many windows.
Losses = Float64[np.ndarray, " _"]


@dataclass(frozen=True)
class HeldOutText:
    """Held-out text of one language in windows without padding, and how many of its tokens are scored."""

    windows: Int32[np.ndarray, "windows window"]
    scored: int

    @classmethod
    def of(cls, model: LanguageModel, language: str, documents: Iterable[str], window: int, most: int | None = None) -> "HeldOutText":
        """The first windows of the documents, of at most `most` tokens in all. Raises InputError where not one is full, or wanted."""
        if most is not None and most < window:
            raise InputError(
                f"At most {most:,} held-out tokens are less than one window of {window:,}: allow more (--valid-tokens), or give a smaller "
                "--window."
            )
        limit = most or (MASKED_TOKENS if model.kind == "masked" else TOKENS)
        packing = WindowPacker(window)
        ids = (each for document in documents for each in model.encoder.document_ids([document]))
        found = list(islice(packing.windows(ids), max(1, limit // window)))
        if not found:
            raise InputError(
                f"The held-out text of {language} has {packing.dropped} tokens, less than one window of {window}: give more of it "
                f"(--valid {language}=PATH), or a smaller --window."
            )
        windows = np.array(found, dtype=np.int32)
        return cls(windows, sum(len(row.label_ids) for row in _rows(model, windows)[0]))

    @property
    def digest(self) -> str:
        """What the windows hold."""
        return hashlib.blake2b(self.windows.tobytes() + str(self.windows.shape).encode(), digest_size=16).hexdigest()


def _rows(model: LanguageModel, windows: Int32[np.ndarray, "windows window"]) -> tuple[list[Tokens], list[int]]:
    """The rows that windows are scored in, and which window each is of (a masked model has a row for every token)."""
    parts = [list(model.window_rows([tuple(window)], len(window))) for window in windows.tolist()]
    return [row for part in parts for row in part], [number for number, part in enumerate(parts) for _ in part]


@dataclass(frozen=True)
class _Read:
    """Reads windows under a plan: a work item is (plan, windows)."""

    model: LanguageModel

    def __call__(self, item: tuple[Plan, Int32[np.ndarray, "windows window"]]) -> Entry:
        plan, windows = item
        with plan.applied(self.model):
            return {"losses": losses(self.model, windows)}


def losses(model: LanguageModel, windows: Int32[np.ndarray, "windows window"]) -> Float64[np.ndarray, " windows"]:
    """The negative log-probability (natural logarithm) of each window's scored tokens, with the model as it is now.

    Raises NotFinite, OutOfMemory.
    """
    result, (rows, owners) = np.zeros(len(windows)), _rows(model, windows)
    np.subtract.at(result, owners, model.row_logprobs(rows))
    return result


def deactivation_matrix(
    model: LanguageModel,
    plans: Mapping[str, Plan],
    texts: Mapping[str, HeldOutText],
    controls: Mapping[str, Sequence[Plan]] | None = None,
    *,
    selector: str = "lape",
    workers: Workers | None = None,
) -> "DeactivationMatrix":
    """Read every language's text with the model as it is, with each language's units off, and with each control.

    Parameters
    ----------
    plans : by language what switches its units off; an empty plan's row is the base's, and costs nothing
    texts : held-out text of the same languages
    controls : by language random plans of the same size; None: none
    selector : what found the units, for the record
    workers : engine, journal and progress; default: this process, in memory, silent

    Raises InputError where plans and texts are of other languages, NotFinite, OutOfMemory, and what applying a plan raises.
    Source: METHODS.md, section 2; Tang et al. 2024 (arXiv:2402.16438), figure 2. Differs from the source in: intervals, the control, and
    that both perplexity and mean negative log-probability are told.
    """
    if set(plans) != set(texts):
        raise InputError(
            f"There are units of {', '.join(plans)} and held-out text of {', '.join(texts)}; both are wanted of each language."
        )
    languages, base = tuple(plans), Plan()
    asked = [base, *(plan for plan in plans.values() if plan.edits)]
    asked += [plan for each in (controls or {}).values() for plan in each if plan.edits]
    items = [(plan, texts[name].windows) for plan in asked for name in languages]
    key_of = lambda plan, name: journal_key("matrix", texts[name].digest, plan.digest)
    keys = [key_of(plan, name) for plan in asked for name in languages]
    entries = (workers or Workers()).map(_Read(model), items, keys, stage="reading with units off")
    read = {key: np.asarray(entry["losses"], dtype=np.float64) for key, entry in zip(keys, entries, strict=True)}

    def row(plan: Plan) -> tuple[Losses, ...]:
        return tuple(read[key_of(plan if plan.edits else base, name)] for name in languages)

    return DeactivationMatrix(
        languages=languages,
        selector=selector,
        units=tuple(sum(edit.neurons.count for edit in plans[name].edits) for name in languages),  # type: ignore[attr-defined]
        window=next(iter(texts.values())).windows.shape[1],
        scored=tuple(texts[name].scored for name in languages),
        kind="pseudo-perplexity" if model.kind == "masked" else "perplexity",
        base=row(base),
        off=tuple(row(plans[name]) for name in languages),
        random=tuple(tuple(row(plan) for plan in (controls or {}).get(name, ())) for name in languages),
    )


@dataclass(frozen=True)
class DeactivationMatrix:
    """Losses (negative log-probabilities) of every window of every language's text.

    Attributes
    ----------
    languages : of rows and columns
    selector : what found the units
    units : how many each language has
    window : tokens of a window
    scored : scored tokens of each language's text
    kind : "perplexity", or "pseudo-perplexity" (masked models)
    base : losses by language of the text
    off : losses by deactivated language, then by language of the text
    random : losses by language whose size the random units have, then by draw, then by language of the text
    seed : of the intervals' draws
    """

    languages: tuple[str, ...]
    selector: str
    units: tuple[int, ...]
    window: int
    scored: tuple[int, ...]
    kind: str
    base: tuple[Losses, ...]
    off: tuple[tuple[Losses, ...], ...]
    random: tuple[tuple[tuple[Losses, ...], ...], ...] = ()
    seed: int = field(default=0, compare=False)

    def change(self) -> Float64[np.ndarray, "off text"]:
        """Change of the mean negative log-probability of a token, [deactivated language, language of the text]."""
        return np.asarray(np.array([self._means(row) for row in self.off]) - np.array(self._means(self.base)))

    def diagonal(self, change: Float64[np.ndarray, "off text"]) -> dict[str, Any]:
        """For each language whether its own text suffers most when its units are off (None: it has no units), and for how many."""
        most = {
            name: (None if not size else bool(row.argmax() == place and row[place] > np.delete(row, place).max(initial=-np.inf)))
            for place, (name, size, row) in enumerate(zip(self.languages, self.units, change, strict=True))
        }
        return {"is_maximum": most, "count": sum(each is True for each in most.values()), "of": len(most)}

    def to_json(self) -> dict[str, Any]:
        """The object of matrix.json. Raises NotFinite where a perplexity is beyond all numbers."""
        base, change = np.array(self._means(self.base)), self.change()
        low_high = [[self._interval(row, text) for text in range(len(self.languages))] for row in self.off]
        perplexities = np.array([[self._perplexity(mean, text) for text, mean in enumerate(row)] for row in (base, *(base + change))])
        rise = perplexities[1:] - perplexities[0]
        both = {
            "perplexity": {
                "base": perplexities[0].tolist(),
                "deactivated": perplexities[1:].tolist(),
                "change": rise.tolist(),
                "interval": [[[perplexities[0][k] * math.expm1(end) for end in ends] for k, ends in enumerate(row)] for row in low_high],
                "diagonal": self.diagonal(rise),
            },
            "neg_logprob": {
                "base": base.tolist(),
                "deactivated": (base + change).tolist(),
                "change": change.tolist(),
                "interval": low_high,
                "diagonal": self.diagonal(change),
            },
        }
        return {
            "schema": 1,
            "languages": list(self.languages),
            "selector": self.selector,
            "units": list(self.units),
            "window": self.window,
            "windows": [len(each) for each in self.base],
            "tokens": list(self.scored),
            "kind": self.kind,
            **both,
            "control": self._control(base, perplexities[0]),
            "diagonal": self.diagonal(change),
        }

    def comparison(self) -> Comparison:
        """Each language's text with its own units off, all languages together, beside random units as many."""
        own = range(len(self.languages))
        groups = [f"{self.languages[text]}/{group}" for text in own for group in self._groups(text)]
        tags = [[self.languages[text]] for text in own for _ in self.base[text]]
        join = lambda parts: np.concatenate([self._a_token(part, text) for text, part in enumerate(parts)])
        base, edited = join(self.base), join([self.off[text][text] for text in own])
        drawn = [np.mean([draw[text] for draw in self.random[text]], axis=0) if self._drawn(text) else self.off[text][text] for text in own]
        has_control = any(map(self._drawn, own))
        change = difference(base, edited, groups, self.seed, tags)
        return Comparison(
            task=OWN,
            metric="logloss",
            n_examples=len(base),
            n_instructions=1,
            n_groups=len(set(groups)),
            base=estimate(base, groups, tags, self.seed),
            edited=estimate(edited, groups, tags, self.seed),
            control=estimate(join(drawn), groups, tags, self.seed) if has_control else None,
            difference=replace(change, fixed=change.broken, broken=change.fixed),  # what fell became more probable
        )

    def _drawn(self, language: int) -> bool:
        return bool(self.random) and bool(self.random[language])

    def _control(self, base: Float64[np.ndarray, " text"], perplexity: Float64[np.ndarray, " text"]) -> dict[str, Any] | None:
        """The mean over the draws; the base's row for a language without units."""
        draws = max((len(each) for each in self.random), default=0)
        if not draws:
            return None
        means = [[self._means(draw) for draw in each] or [base.tolist()] for each in self.random]
        losses = np.array([np.mean(each, axis=0) for each in means])
        risen = np.array([np.mean([[self._perplexity(x, k) for k, x in enumerate(draw)] for draw in each], axis=0) for each in means])
        return {
            "draws": draws,
            "perplexity": {"deactivated": risen.tolist(), "change": (risen - perplexity).tolist()},
            "neg_logprob": {"deactivated": losses.tolist(), "change": (losses - base).tolist()},
        }

    def _means(self, row: Sequence[Losses]) -> list[float]:
        return [float(each.sum() / scored) for each, scored in zip(row, self.scored, strict=True)]

    def _perplexity(self, mean: float, text: int) -> float:
        return perplexity_of(-mean * self.scored[text], self.scored[text])

    def _a_token(self, losses: Losses, text: int) -> Losses:
        """Losses such that their mean is that of a token."""
        return losses * (len(losses) / self.scored[text])

    def _groups(self, text: int) -> list[str]:
        number = len(self.base[text])
        return [str(place * min(number, GROUPS) // number) for place in range(number)]

    def _interval(self, row: Sequence[Losses], text: int) -> list[float]:
        """95 % of the change of a token's negative log-probability."""
        before, after = self._a_token(self.base[text], text), self._a_token(row[text], text)
        return [float(end) for end in difference(before, after, self._groups(text), self.seed).interval]
