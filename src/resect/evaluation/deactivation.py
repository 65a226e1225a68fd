"""The deactivation matrix: the effect of switching off each language's units on the text of each language, compared with random units.

Each window of text is scored once by the unedited model, once under every language's plan, and once under every random control. Knows plans
by language and held-out text; not how the units were found.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32

from resect.core.comparison import Comparison, difference
from resect.core.errors import InputError
from resect.core.execution import Entry, Workers, journal_key
from resect.edits.plan import Plan
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel, perplexity_of
from resect.models.text_windows import WindowPacker

from .compare import comparison_of_values
from .perplexity import perplexity_kind

#: At most so many held-out tokens of a language: the paper's 2^20; a masked model needs a forward pass for every token.
TOKENS, MASKED_TOKENS = 2**20, 2_000
#: Where there are more windows, neighbours form one group of an interval, since they may share a document.
GROUPS = 400
#: The name of the comparison: each language's text with that language's units off.
OWN = "its own units off"
#: The negative log-probability of every window of one language's text; languages have different numbers of windows.
Losses = Float64[np.ndarray, " _"]


@dataclass(frozen=True)
class HeldOutText:
    """Held-out text of one language in windows without padding, and how many of its tokens are scored."""

    windows: Int32[np.ndarray, "windows window"]
    scored: int

    @classmethod
    def of(cls, model: LanguageModel, language: str, documents: Iterable[str], window: int, most: int | None = None) -> "HeldOutText":
        """Returns the first windows of the documents, of at most `most` tokens in all. Raises InputError where there is none."""
        if most is not None and most < window:
            raise InputError(
                f"At most {most:,} held-out tokens are less than one window of {window:,}: allow more (--valid-tokens), or give a smaller "
                "--window."
            )
        limit = most or (MASKED_TOKENS if model.kind == "masked" else TOKENS)
        packer = WindowPacker(window)
        documents_ids = (ids for document in documents for ids in model.encoder.encode_documents([document]))
        packed = list(islice(packer.windows(documents_ids), max(1, limit // window)))
        if not packed:
            raise InputError(
                f"The held-out text of {language} has {packer.dropped} tokens, less than one window of {window}: give more of it "
                f"(--valid {language}=PATH), or a smaller --window."
            )
        windows = np.array(packed, dtype=np.int32)
        return cls(windows, sum(len(row.label_ids) for row in _rows(model, windows)[0]))

    @property
    def digest(self) -> str:
        """A digest of the windows."""
        return hashlib.blake2b(self.windows.tobytes() + str(self.windows.shape).encode(), digest_size=16).hexdigest()


def _rows(model: LanguageModel, windows: Int32[np.ndarray, "windows window"]) -> tuple[list[Tokens], list[int]]:
    """Returns the rows in which windows are scored, and the window of each (a masked model has a row for every token)."""
    by_window = [list(model.window_rows([tuple(window)], len(window))) for window in windows.tolist()]
    return [row for rows in by_window for row in rows], [number for number, rows in enumerate(by_window) for _ in rows]


@dataclass(frozen=True)
class WindowLossWork:
    """The losses of windows under a plan, as work for an engine; an item is (plan, windows)."""

    model: LanguageModel

    def __call__(self, item: tuple[Plan, Int32[np.ndarray, "windows window"]]) -> Entry:
        """Computes them. Raises NotFinite, OutOfMemory, and as `Plan.applied`."""
        plan, windows = item
        with plan.applied(self.model):
            return {"losses": window_losses(self.model, windows)}


def window_losses(model: LanguageModel, windows: Int32[np.ndarray, "windows window"]) -> Float64[np.ndarray, " windows"]:
    """Returns the negative log-probability (natural logarithm) of each window's scored tokens, with the model as it is now.

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
    """Scores every language's text with the unedited model, with each language's units off, and under each control.

    Parameters
    ----------
    plans : by language the plan that switches its units off; an empty plan's row is the base's, and costs nothing
    texts : held-out text of the same languages
    controls : by language random plans of the same size; None: none
    selector : the name of what selected the units
    workers : engine, journal and progress; default: this process, in memory, silent

    Raises InputError where plans and texts are of other languages, NotFinite, OutOfMemory, and what applying a plan raises.
    Source: Tang et al. 2024 (arXiv:2402.16438), figure 2. Differs from the source in: intervals, the control, and
    that both perplexity and mean negative log-probability are reported.
    """
    if set(plans) != set(texts):
        raise InputError(f"There are units of {', '.join(plans)} and held-out text of {', '.join(texts)}; each language needs both.")
    languages, base = tuple(plans), Plan()
    distinct = [base, *(plan for plan in plans.values() if plan.edits)]
    distinct += [plan for draws in (controls or {}).values() for plan in draws if plan.edits]
    items = [(plan, texts[name].windows) for plan in distinct for name in languages]
    key_of = lambda plan, name: journal_key("matrix", texts[name].digest, plan.digest)
    keys = [key_of(plan, name) for plan in distinct for name in languages]
    entries = (workers or Workers()).map(WindowLossWork(model), items, keys, stage="reading text with units off")
    losses_of = {key: np.asarray(entry["losses"], dtype=np.float64) for key, entry in zip(keys, entries, strict=True)}

    def row(plan: Plan) -> tuple[Losses, ...]:
        return tuple(losses_of[key_of(plan if plan.edits else base, name)] for name in languages)

    return DeactivationMatrix(
        languages=languages,
        selector=selector,
        units=tuple(sum(edit.neurons.count for edit in plans[name].edits) for name in languages),  # type: ignore[attr-defined]
        window=next(iter(texts.values())).windows.shape[1],
        scored=tuple(texts[name].scored for name in languages),
        kind=perplexity_kind(model),
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
    selector : the name of what selected the units
    units : the number of units of each language
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
        """Returns the change of the mean negative log-probability of a token, [deactivated language, language of the text]."""
        return np.asarray(np.array([self._means(row) for row in self.off]) - np.array(self._means(self.base)))

    def diagonal(self, change: Float64[np.ndarray, "off text"]) -> dict[str, Any]:
        """Returns for which languages the own text is affected most when their units are off (None: without units), and how many."""
        is_maximum = {
            name: (None if not size else bool(row.argmax() == place and row[place] > np.delete(row, place).max(initial=-np.inf)))
            for place, (name, size, row) in enumerate(zip(self.languages, self.units, change, strict=True))
        }
        return {"is_maximum": is_maximum, "count": sum(value is True for value in is_maximum.values()), "of": len(is_maximum)}

    def to_json(self) -> dict[str, Any]:
        """Returns the object of matrix.json. Raises NotFinite where a perplexity is beyond the range of a float."""
        base, change = np.array(self._means(self.base)), self.change()
        low_high = [[self._interval(row, text) for text in range(len(self.languages))] for row in self.off]
        perplexities = np.array([[self._perplexity(mean, text) for text, mean in enumerate(row)] for row in (base, *(base + change))])
        rise = perplexities[1:] - perplexities[0]
        measures = {
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
            "windows": [len(losses) for losses in self.base],
            "tokens": list(self.scored),
            "kind": self.kind,
            **measures,
            "control": self._control(base, perplexities[0]),
            "diagonal": self.diagonal(change),
        }

    def comparison(self) -> Comparison:
        """Returns each language's text with its own units off, all languages together, compared with as many random units."""
        own = range(len(self.languages))
        groups = [f"{self.languages[text]}/{group}" for text in own for group in self._groups(text)]
        tags = [[self.languages[text]] for text in own for _ in self.base[text]]
        join = lambda parts: np.concatenate([self._per_token(part, text) for text, part in enumerate(parts)])
        base, edited = join(self.base), join([self.off[text][text] for text in own])
        drawn = [np.mean([draw[text] for draw in self.random[text]], axis=0) if self._drawn(text) else self.off[text][text] for text in own]
        return comparison_of_values(
            OWN,
            "logloss",
            base,
            edited,
            join(drawn) if any(map(self._drawn, own)) else None,
            groups=groups,
            tags=tags,
            less_is_better=True,
            seed=self.seed,
        )

    def _drawn(self, language: int) -> bool:
        return bool(self.random) and bool(self.random[language])

    def _control(self, base: Float64[np.ndarray, " text"], perplexity: Float64[np.ndarray, " text"]) -> dict[str, Any] | None:
        """Returns the mean over the draws; the base's row for a language without units."""
        draws = max(map(len, self.random), default=0)
        if not draws:
            return None
        means = [[self._means(draw) for draw in of_language] or [base.tolist()] for of_language in self.random]
        losses = np.array([np.mean(rows, axis=0) for rows in means])
        perplexities = [[[self._perplexity(mean, text) for text, mean in enumerate(row)] for row in rows] for rows in means]
        risen = np.array([np.mean(rows, axis=0) for rows in perplexities])
        return {
            "draws": draws,
            "perplexity": {"deactivated": risen.tolist(), "change": (risen - perplexity).tolist()},
            "neg_logprob": {"deactivated": losses.tolist(), "change": (losses - base).tolist()},
        }

    def _means(self, row: Sequence[Losses]) -> list[float]:
        return [float(losses.sum() / scored) for losses, scored in zip(row, self.scored, strict=True)]

    def _perplexity(self, mean: float, text: int) -> float:
        return perplexity_of(-mean * self.scored[text], self.scored[text])

    def _per_token(self, losses: Losses, text: int) -> Losses:
        """Returns losses, scaled such that their mean is that of a token."""
        return losses * (len(losses) / self.scored[text])

    def _groups(self, text: int) -> list[str]:
        number = len(self.base[text])
        return [str(place * min(number, GROUPS) // number) for place in range(number)]

    def _interval(self, row: Sequence[Losses], text: int) -> list[float]:
        """Returns the 95 % interval of the change of a token's negative log-probability."""
        before, after = self._per_token(self.base[text], text), self._per_token(row[text], text)
        return [float(end) for end in difference(before, after, self._groups(text), self.seed).interval]
