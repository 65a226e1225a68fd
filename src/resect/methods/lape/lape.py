"""LAPE: the feed-forward units of one language or a few, by the entropy of their activation probabilities over languages.

Source: Tang et al. 2024 (arXiv:2402.16438). The search records activations, selects units, and returns for each
language the plan that deactivates its units. Knows no run folder and no terminal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import islice
from operator import add
from typing import Any

import numpy as np
from jaxtyping import Float64

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
from resect.models.text_windows import window_size

from .activation_counter import count_activations
from .authors_files import read_lape_counts
from .counts import Counts, activation_sites
from .entropy_selection import (
    SelectedUnits,
    select_by_entropy,
    select_most_active,
    select_random,
    specificity,
    variation_gap,
)
from .exhibits import exhibits
from .input_files import checkpoints_by_language, counts_files, load_counts
from .parameter_variation import ParameterChanges, parameter_changes
from .recording import Recording, record
from .sentence_similarity import check as check_parallel
from .sentence_similarity import similarity
from .settings import LAP_THRESHOLD, LapeSettings
from .unit_sets import stability, unit_overlap, units_by_layer

#: The name of the counts among the artifacts.
COUNTS_FILE = "counts.safetensors"
#: A note is given where one language has more than so many times the tokens of another.
UNEVEN = 2.0
#: Documents from which the length of a text is estimated, and windows by which the time is estimated.
SAMPLED_DOCUMENTS, TIMED_WINDOWS = 300, 8


@dataclass(frozen=True)
class Lape(LapeSettings, Method):
    """LAPE with its settings.

    Parameters
    ----------
    fraction : the share of all units that is selected, in [0, 1]
    quantile : the threshold that a unit's value must exceed for a language, as a quantile of all values, in [0, 1]
    selector : "lape", or a selector it is compared with: "lave" and "pv" select the same share by other values, "lap" and "random" for each
        language as many units as LAPE
    window : tokens of one forward pass, 2 or more; None: the model's context, at most 4,096
    tokens : the largest number of tokens of each language, 1 or more; None: all
    until_stable : stop once the selection is stable; see `recording.record`
    counts : files of counts that were recorded before, which are added: "FILE" of resect, "LANG=FILE" of the authors' code
    checkpoint : "LANG=PATH", the model tuned on each language alone, for "pv"
    record_only : a search only records counts
    seed : of the selector "random"

    Raises InputError for impossible settings.
    Differs from the source in: nothing for "lape"; for "lap", "lave" and "pv", which the paper leaves open, see `entropy_selection`.
    """

    # -- the search -------------------------------------------------------------------------------------------------------

    def extra_languages(self) -> tuple[str, ...]:
        """The languages of counts that were recorded before. Raises InputError for files without counts."""
        return (*(language for counts in self._loaded_counts for language in counts.languages), *self._published_paths)

    @cached_property
    def _loaded_counts(self) -> tuple[Counts, ...]:
        return load_counts(counts_files(self.counts)[0])

    @cached_property
    def _published_paths(self) -> dict[str, str]:
        return counts_files(self.counts)[1]

    def _counts_recorded_before(self, model: LanguageModel) -> list[Counts]:
        """The counts of the files in the settings. Raises InputError, WrongModel where they are of another model."""
        parts = [*self._loaded_counts, *([read_lape_counts(self._published_paths, model)] if self._published_paths else [])]
        for counts in parts:
            counts.check(model)
        return parts

    def check_inputs(self, inputs: Inputs) -> None:
        """Raises InputError where the checkpoints are not of the languages."""
        if isinstance(inputs, CorpusInputs):
            checkpoints_by_language(self.checkpoint, inputs.languages)

    def check(self, model: LanguageModel, inputs: CorpusInputs) -> None:
        """Check settings, counts, text and model before any work. Raises InputError, WrongModel, PromptTooLong."""
        self.sites_of(model)
        recorded_before = self._counts_recorded_before(model)
        if self.selector == "lave" and any(counts.sums is None for counts in recorded_before):
            raise InputError(
                "The selector lave needs mean activations, and some of the given counts have no sums of activations (published counts have "
                "none): record those anew, or choose another --selector."
            )
        if inputs.parallel:
            check_parallel(model, inputs.parallel)
        window_size(model.context, model.kind, self.window)

    def search(self, model: LanguageModel, inputs: CorpusInputs, workers: Workers | None = None) -> Found:
        """Record counts, add those recorded before, select units, and return for each language the plan that sets its units to 0.

        Raises InputError, WrongModel; NotFinite, OutOfMemory, StorageFailure.
        """
        workers = workers or Workers()
        checkpoints = checkpoints_by_language(self.checkpoint, inputs.languages)
        # Before recording, so that a wrong checkpoint is refused first.
        changes = parameter_changes(model, checkpoints, workers=workers) if checkpoints else None
        recording = self.recording(model, inputs.texts, workers) if inputs.texts else None
        parts = [*([] if recording is None else [recording.counts]), *self._counts_recorded_before(model)]
        counts = reduce(add, parts).subset(inputs.languages)
        digests = {} if recording is None else {f"text of {name}": digest for name, digest in recording.digests.items()}
        notes, artifacts = tuple(self._notes(counts, recording)), {COUNTS_FILE: counts}
        if self.record_only:
            return Found({}, notes=notes, artifacts=artifacts, digests=digests)
        units = self.select(counts, changes)
        analyses = self._analyses(model, inputs, counts, recording, units, workers)
        return Found(
            self.plans(units, model),
            scores=self.scores(counts, changes),
            notes=notes,
            artifacts=artifacts,
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
        """Units by layer, overlap of languages, stability of the selection, and similarity of hidden states of parallel sentences."""
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
        notes = [f"Tokens that were counted: {numbers}.", *filter(None, [counts.reach()])]
        if self.counts:
            notes.append("The given counts (--counts) may have been recorded on some of the held-out text: this is not known.")
        if recording is None:
            return notes
        notes += recording.notes
        tokens = dict(zip(recording.counts.languages, recording.counts.tokens, strict=True))
        most, least = max(tokens, key=tokens.__getitem__), min(tokens, key=tokens.__getitem__)
        if tokens[most] > UNEVEN * tokens[least]:
            notes.append(
                f"{most} has {tokens[most] / tokens[least]:.1f} times as many tokens as {least}; with --tokens {tokens[least]} the same "
                "number of tokens of each language would be read."
            )
        return notes

    def forecast(self, model: LanguageModel, inputs: CorpusInputs, seconds_per_answer: float) -> Forecast:
        """The number of tokens, estimated from the beginnings of the texts, and the time, from one batch."""
        sites, sentences, seconds = self.sites_of(model), [], 0.0
        lengths = {name: self._length(model, text) for name, text in inputs.texts.items()}
        if lengths:
            window = window_size(model.context, model.kind, self.window)
            name, text = next(iter(inputs.texts.items()))
            sample = HeldOutText.of(model, name, text, window, TIMED_WINDOWS * window)
            total, unknown = sum(length or 0 for length in lengths.values()), [name for name, length in lengths.items() if length is None]
            seconds = total * seconds_of(lambda: count_activations(model, sample.windows, TIMED_WINDOWS)) / sample.windows.size
            rest = f" (without {', '.join(unknown)}, whose length is not known)." if unknown else "."
            sentences.append(
                f"Count activations at {len(sites)} layers over about {total:,} tokens of {', '.join(lengths)}, in windows of "
                f"{window:,}{rest}"
            )
        if not self.record_only:
            sentences.append(f"Select {100 * self.fraction:g} % of {sum(map(model.anatomy.width, sites)):,} units.")
        return Forecast(tuple(sentences), seconds)

    def _length(self, model: LanguageModel, text: CorpusText) -> int | None:
        """About how many tokens of a text will be counted, estimated from its beginning; None where its length is not known."""
        tokens, share = 0, None
        for document in islice(text, SAMPLED_DOCUMENTS):
            tokens += len(model.encoder.encode_documents([document])[0])
            share = text.share()
        length = round(tokens / share) if share else None
        return self.tokens if length is None else min(length, self.tokens or length)

    # -- its parts --------------------------------------------------------------------------------------------------------

    def sites_of(self, model: LanguageModel) -> tuple[Site, ...]:
        """Where activations are counted. Raises InputError for a model whose feed-forward blocks have no activation function."""
        sites = activation_sites(model)
        if not sites:
            family = model.anatomy.family
            raise InputError(f"This {family} has no feed-forward activation that can be recorded, so that LAPE has no units to select.")
        return sites

    def record(
        self,
        model: LanguageModel,
        texts: Mapping[str, Iterable[str]],
        workers: Workers | None = None,
    ) -> Counts:
        """The counts of `recording`, with its parameters and errors."""
        return self.recording(model, texts, workers).counts

    def recording(
        self,
        model: LanguageModel,
        texts: Mapping[str, Iterable[str]],
        workers: Workers | None = None,
    ) -> Recording:
        """Count activations over the texts.

        Parameters
        ----------
        texts : by language its documents; they are read once and not kept
        workers : engine, journal and progress; default: this process, in memory, silent

        Raises InputError for a language without text, or with less than one window of it; NotFinite, OutOfMemory, StorageFailure.
        """
        self.sites_of(model)
        # One language alone can be recorded, to be added to others, but no units can be selected by it.
        select = self.select if len(texts) > 1 and self.selector != "pv" else None
        if self.until_stable and select is None:
            raise InputError("until_stable needs a selection on the way, which one language alone, or pv, does not have; leave it out.")
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
        changes : of parameters in the tuning on each language (`parameter_changes`), for "pv"

        Raises InputError for one language, for "lave" without sums, for "pv" without changes.
        """
        selected = self._selected(counts, changes)
        return {language: counts.neurons(selected.units(row).tolist()) for row, language in enumerate(counts.languages)}

    def scores(self, counts: Counts, changes: ParameterChanges | None = None) -> Scores:
        """How specific each unit is to languages: log(languages) − entropy of the selector's values (LAPE's, where it has none)."""
        bounds = np.cumsum([array.shape[1] for array in counts.active.values()])[:-1]
        values = dict(zip(counts.sites, np.split(specificity(self._values(counts, changes)), bounds), strict=True))
        by = self.selector if self.selector in ("lave", "pv") else "lape"
        meaning = f"high: of few of the languages (log of their number − {by.upper()})"
        return Scores(values, "unit", meaning, {"method": "lape", "selector": by, "languages": list(counts.languages)})

    def plans(self, units: Mapping[str, Neurons], model: Any = None) -> dict[str, Plan]:
        """For each language the plan that deactivates its units: their activation is set to 0. Without units the plan is empty.

        `model`: LanguageModel or Hugging Face model whose identity the plans carry; None: none.
        """
        plans = {language: Plan((Scale(neurons, 0.0),) if neurons else ()) for language, neurons in units.items()}
        return plans if model is None else {language: plan.for_model(model) for language, plan in plans.items()}

    def _values(self, counts: Counts, changes: ParameterChanges | None) -> Float64[np.ndarray, "languages units"]:
        """The values by which units are selected."""
        if self.selector == "lave":
            return counts.means()
        if self.selector != "pv":
            return counts.probabilities()
        if changes is None:
            raise InputError("pv needs checkpoints that were tuned on single languages: give one for each language (--checkpoint).")
        if tuple(changes.languages) != counts.languages:
            raise InputError(
                f"The checkpoints are of {', '.join(changes.languages)} and the counts of {', '.join(counts.languages)}; give the same, in "
                "the same order."
            )
        return variation_gap(changes.all_units())

    def _selected(self, counts: Counts, changes: ParameterChanges | None) -> SelectedUnits:
        if self.selector in ("lape", "lave", "pv"):
            return select_by_entropy(self._values(counts, changes), self.fraction, self.quantile)
        probabilities = counts.probabilities()
        sizes = select_by_entropy(probabilities, self.fraction, self.quantile).sizes
        if self.selector == "random":
            return select_random(counts.units, sizes, self.seed)
        return select_most_active(probabilities, sizes, LAP_THRESHOLD)
