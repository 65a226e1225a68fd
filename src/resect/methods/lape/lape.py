"""LAPE: the feed-forward units that carry one language or a few, by the entropy of how often each language activates them.

Source: METHODS.md, section 2; Tang et al. 2024 (arXiv:2402.16438). The search records, selects, and gives for each language the plan that
deactivates its units. Knows no run folder and no terminal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import islice
from operator import add
from typing import Any

from resect.core.address import Neurons, Site
from resect.core.errors import InputError
from resect.core.execution import Workers
from resect.core.scores import Scores
from resect.data.corpus_text import CorpusText
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.deactivation import HeldOutText
from resect.methods.base import CorpusInputs, Forecast, Found, Inputs, Method, seconds_of
from resect.models.language_model import LanguageModel
from resect.models.text_windows import full_window

from .activation_counter import count, sites_of
from .authors_files import read_lape_counts
from .counts import Counts
from .entropy_selection import SelectedUnits, at_random, by_entropy, most_active, specificity, steadiness
from .exhibits import exhibits
from .parameter_variation import ParameterChanges, parameter_changes
from .recorded_elsewhere import checkpoints_by_language, load_counts, split_entries
from .recording import Recording, record
from .sentence_similarity import check as check_parallel
from .sentence_similarity import similarity
from .settings import LapeSettings
from .unit_sets import stability, unit_overlap, units_by_layer

#: Where the counts are stored in a run folder.
COUNTS_FILE = "counts.safetensors"
#: The text of one language may be so many times as much as that of another before a note says so.
UNEVEN = 2.0
#: Documents from which the length of a text is estimated, and windows of the batch that is timed.
BEGINNING, TIMED = 300, 8


@dataclass(frozen=True)
class Lape(LapeSettings, Method):
    """LAPE with its settings.

    Parameters
    ----------
    fraction : the share of all units that is selected, in [0, 1]
    quantile : the threshold that a language must exceed to have a unit, as a quantile of all probabilities, in [0, 1]
    selector : lape, or what it is compared with: lave and pv select the same share by another value; lap and random select for each
        language as many units as LAPE does
    window : tokens of one forward pass; None: the model's context, at most 4,096
    tokens : at most so many of each language; None: all
    until_stable : stop once the selected set no longer changes; see `recording.record`
    counts : files of counts that were recorded elsewhere, to be added
    checkpoint : "LANG=PATH", the model tuned on each language alone, for pv
    record_only : a search only records counts
    seed : of the random selector

    Raises InputError. Differs from the source in: nothing for lape; what it leaves open of lap, lave and pv is stated in `specificity`.
    """

    # -- the search -------------------------------------------------------------------------------------------------------

    def extra_languages(self) -> tuple[str, ...]:
        """The languages of counts that were recorded elsewhere. Raises InputError for files that hold none."""
        return (*(name for counts in self._loaded for name in counts.languages), *self._published)

    @cached_property
    def _loaded(self) -> tuple[Counts, ...]:
        return load_counts(split_entries(self.counts)[0])

    @cached_property
    def _published(self) -> dict[str, str]:
        return split_entries(self.counts)[1]

    def _counts_recorded_elsewhere(self, model: LanguageModel) -> list[Counts]:
        """Raises InputError, WrongModel where they are of another model."""
        counts = [*self._loaded, *([read_lape_counts(self._published, model)] if self._published else [])]
        for each in counts:
            each.check(model)
        return counts

    def check_inputs(self, inputs: Inputs) -> None:
        """Raises InputError for checkpoints that do not go with the languages."""
        if isinstance(inputs, CorpusInputs):
            checkpoints_by_language(self.checkpoint, inputs.languages)

    def check(self, model: LanguageModel, inputs: CorpusInputs) -> None:
        """Raises InputError, WrongModel, PromptTooLong for what the search could not use."""
        self.sites_of(model)
        recorded_elsewhere = self._counts_recorded_elsewhere(model)
        if self.selector == "lave" and any(counts.sums is None for counts in recorded_elsewhere):
            raise InputError(
                "The selector lave goes by mean values, and some of the counts that are given hold no sums of activations (published ones "
                "have none): record those anew, or choose another --selector."
            )
        if inputs.parallel:
            check_parallel(model, inputs.parallel)
        full_window(model.context, model.kind, self.window)

    def search(self, model: LanguageModel, inputs: CorpusInputs, workers: Workers | None = None) -> Found:
        """Record (or add what was recorded elsewhere), select, and give for each language the plan that sets its units to 0.

        Raises InputError, WrongModel; NotFinite, OutOfMemory, StorageFailure.
        """
        workers = workers or Workers()
        checkpoints = checkpoints_by_language(self.checkpoint, inputs.languages)
        changes = parameter_changes(model, checkpoints, workers=workers) if checkpoints else None  # a wrong checkpoint is refused here
        recording = self.recording(model, inputs.texts, workers) if inputs.texts else None
        parts = [*([] if recording is None else [recording.counts]), *self._counts_recorded_elsewhere(model)]
        counts = reduce(add, parts).of(inputs.languages)
        digests = {} if recording is None else {f"text of {name}": digest for name, digest in recording.digests.items()}
        notes, stored = tuple(self._notes(counts, recording)), {COUNTS_FILE: counts}
        if self.record_only:
            return Found({}, notes=notes, artifacts=stored, digests=digests)
        units = self.select(counts, changes)
        analyses = self._analyses(model, inputs, counts, recording, units, workers)
        return Found(
            self.plans(units, model),
            scores=self.scores(counts, changes),
            notes=notes,
            artifacts=stored,
            analyses=analyses,
            exhibits=exhibits(analyses),
            digests=digests,
            label=self.selector,
        )

    def _analyses(
        self,
        model: LanguageModel,
        inputs: CorpusInputs,
        counts: Counts,
        recording: Recording | None,
        units: Mapping[str, Neurons],
        workers: Workers,
    ) -> dict[str, Any]:
        """Where the units are, how languages share them, how stable the selection is, and how similar hidden states of languages are."""
        widths = [array.shape[1] for array in counts.active.values()]
        analyses: dict[str, Any] = {"layers": units_by_layer(units, counts.sites, widths), "overlap": unit_overlap(units)}
        if recording is not None and recording.steps:
            halves = recording.halves
            selected = None if halves is None or self.selector == "pv" else (self.select(halves[0]), self.select(halves[1]))
            tokens = None if halves is None else (halves[0].tokens, halves[1].tokens)
            analyses["stability"] = stability(recording.steps, selected, tokens)
        if inputs.parallel:
            analyses["similarity"] = similarity(model, inputs.parallel, workers=workers)
        return analyses

    def _notes(self, counts: Counts, recording: Recording | None) -> list[str]:
        numbers = ", ".join(f"{name} {number:,}" for name, number in zip(counts.languages, counts.tokens, strict=True))
        notes = [f"Tokens that were counted: {numbers}."]
        if self.counts:
            notes.append("Whether held-out text is among what the given counts were recorded on (--counts) is not known.")
        if recording is None:
            return notes
        notes += recording.notes
        tokens = dict(zip(recording.counts.languages, recording.counts.tokens, strict=True))
        most, least = max(tokens, key=tokens.__getitem__), min(tokens, key=tokens.__getitem__)
        if tokens[most] > UNEVEN * tokens[least]:
            notes.append(
                f"There is {tokens[most] / tokens[least]:.1f} times as much text of {most} as of {least}; with --tokens {tokens[least]} "
                "the same number of tokens of each language would be read."
            )
        return notes

    def forecast(self, model: LanguageModel, inputs: CorpusInputs, seconds_per_answer: float) -> Forecast:
        """One batch is counted, and the lengths of the texts are estimated from their beginnings."""
        sites, sentences, seconds = self.sites_of(model), [], 0.0
        lengths = {name: self._length(model, text) for name, text in inputs.texts.items()}
        if lengths:
            window = full_window(model.context, model.kind, self.window)
            name, text = next(iter(inputs.texts.items()))
            sample = HeldOutText.of(model, name, text, window, TIMED * window)
            total, unknown = sum(length or 0 for length in lengths.values()), [name for name, length in lengths.items() if length is None]
            seconds = total * seconds_of(lambda: count(model, sample.windows, TIMED)) / sample.windows.size
            rest = f" (how much text of {', '.join(unknown)} there is, is not known, and not included)." if unknown else "."
            sentences.append(
                f"Count activations at {len(sites)} layers over about {total:,} tokens of {', '.join(lengths)}, in windows of "
                f"{window:,}{rest}"
            )
        if not self.record_only:
            sentences.append(f"Select {100 * self.fraction:g} % of {sum(map(model.anatomy.width, sites)):,} units.")
        return Forecast(tuple(sentences), seconds)

    def _length(self, model: LanguageModel, text: CorpusText) -> int | None:
        """About how many tokens of a text are counted, from its beginning; None where its length is not known."""
        tokens, share = 0, None
        for document in islice(text, BEGINNING):
            tokens += len(model.encoder.document_ids([document])[0])
            share = text.share()
        length = round(tokens / share) if share else None
        return self.tokens if length is None else min(length, self.tokens or length)

    # -- what it consists of ----------------------------------------------------------------------------------------------

    def sites_of(self, model: LanguageModel) -> tuple[Site, ...]:
        """Where activations are seen. Raises InputError for a model whose feed-forward blocks have none."""
        sites = sites_of(model)
        if not sites:
            family = model.anatomy.family
            raise InputError(f"This {family} has no feed-forward activation that could be seen, so that LAPE finds no units in it.")
        return sites

    def record(
        self,
        model: LanguageModel,
        texts: Mapping[str, Iterable[str]],
        workers: Workers | None = None,
    ) -> Counts:
        """How often each unit is active on each language's text: `recording(…).counts`. Parameters and errors as there."""
        return self.recording(model, texts, workers).counts

    def recording(
        self,
        model: LanguageModel,
        texts: Mapping[str, Iterable[str]],
        workers: Workers | None = None,
    ) -> Recording:
        """Count activations over the texts, with what is worth knowing of how that went.

        Parameters
        ----------
        texts : by language its documents; read once, never held
        workers : engine, journal and progress; default: this process, in memory, silent

        Raises InputError for a language without text, or with less than one window of it; NotFinite, OutOfMemory, StorageFailure.
        """
        self.sites_of(model)
        # One language alone can be recorded, to be added to others; but nothing can be selected from it on the way.
        select = self.select if len(texts) > 1 and self.selector != "pv" else None
        if self.until_stable and select is None:
            raise InputError("until_stable watches what is selected, which one language alone, or pv, does not tell; leave it out.")
        return record(
            model,
            texts,
            window=self.window,
            tokens=self.tokens,
            select=select,
            until_stable=self.until_stable,
            workers=workers,
        )

    def select(self, counts: Counts, changes: ParameterChanges | None = None) -> dict[str, Neurons]:
        """The units of each language, at `act`; a unit may belong to several languages, and a language may have none.

        Parameters
        ----------
        counts : of two languages or more
        changes : relative changes under single languages' tuning (`variation.variation`), for pv

        Raises InputError for one language, for mean values without sums, for pv without changes.
        """
        chosen = self._chosen(counts, changes)
        return {name: counts.neurons(chosen.of(row).tolist()) for row, name in enumerate(counts.languages)}

    def scores(self, counts: Counts, changes: ParameterChanges | None = None) -> Scores:
        """How specific to languages each unit is: log(languages) − entropy, by the selector's values (LAPE's, where it has none)."""
        flat, values, start = specificity(self._values(counts, changes)), {}, 0
        for site, array in counts.active.items():
            values[site] = flat[start : start + array.shape[1]]
            start += array.shape[1]
        by = self.selector if self.selector in ("lave", "pv") else "lape"
        meaning = f"high: of few of the languages (log of their number − {by.upper()})"
        return Scores(values, "unit", meaning, {"method": "lape", "selector": by, "languages": list(counts.languages)})

    def plans(self, units: Mapping[str, Neurons], model: Any = None) -> dict[str, Plan]:
        """For each language the plan that switches its units off: their activation is set to 0. Without units the plan is empty.

        `model`: what the plans are for (LanguageModel, Hugging Face model), so that they carry its identity.
        """
        found = {name: Plan((Scale(each, 0.0),) if each.count else ()) for name, each in units.items()}
        return found if model is None else {name: plan.for_model(model) for name, plan in found.items()}

    def _values(self, counts: Counts, changes: ParameterChanges | None) -> Any:
        if self.selector == "lave":
            return counts.means()
        if self.selector != "pv":
            return counts.probabilities()
        if changes is None:
            raise InputError("pv goes by checkpoints that were tuned on single languages: give one for each language (--checkpoint).")
        if tuple(changes.languages) != counts.languages:
            raise InputError(
                f"The checkpoints are of {', '.join(changes.languages)} and the counts of {', '.join(counts.languages)}; give the same, in "
                "the same order."
            )
        return steadiness(changes.flat())

    def _chosen(self, counts: Counts, changes: ParameterChanges | None) -> SelectedUnits:
        if self.selector in ("lape", "lave", "pv"):
            return by_entropy(self._values(counts, changes), self.fraction, self.quantile)
        probabilities = counts.probabilities()
        sizes = by_entropy(probabilities, self.fraction, self.quantile).sizes
        return at_random(counts.units, sizes, self.seed) if self.selector == "random" else most_active(probabilities, sizes, self.always)
