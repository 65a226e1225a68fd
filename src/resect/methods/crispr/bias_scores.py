"""CRISPR's bias score of one instruction: from attributions to one number for each neuron, reduced while the backward pass runs.

With A the attribution h · dP/dh, ŷ the biased and y the golden label, k a token, j an example and α_j = P(ŷ_j):

paper      Σ_j α_j · max_k [ A_k(ŷ_j) − λ · max(0, A_k(y_j)) ]
official   Σ_batches [ Σ_j α_j · max_k A'_k(ŷ_j) − λ · max(0, Σ_j α_j · max_k A'_k(y_j)) ] / examples, with A' = h · d(log P)/dh and
           batches of 4 examples in the order of the data

protection  Σ_j max_k max(0, A_k(y_j)) over protected examples j: what makes their right answers, to be subtracted by the caller

Source: Yang et al. 2024, equations 2 to 6, and the authors' code. Differs from the source in: protection is ours. Knows no task, no search.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from resect.core.address import Site
from resect.core.execution import Entry
from resect.evaluation.answer_modes import ScoreChoices
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel

from .attribution import attribute


@dataclass(frozen=True)
class BiasPair:
    """One example under one instruction: the rows that are fed for ŷ and for y, and log P(ŷ), the confusion."""

    biased: Tokens
    golden: Tokens
    log_confusion: float


@dataclass(frozen=True)
class BiasScoreRule:
    """How attributions become a score. The fields are those of `Crispr`."""

    tokens: Literal["max", "mean"] = "max"
    confusion_weight: bool = True
    skill: float = 1.0
    gradient: Literal["probability", "log-probability"] = "probability"
    pooling: Literal["joint", "apart"] = "joint"
    skill_batch: int = 0


def bias_scores(model: LanguageModel, sites: Sequence[Site], pairs: Sequence[BiasPair], rule: BiasScoreRule) -> Entry:
    """The bias score of every unit of `sites` for one instruction: address -> float64 [units].

    ŷ and y of an example are two rows of one batch, so that one forward and one backward pass serve both and all sites; they share no
    encoder output and no cache, which would mix their gradients. Raises OutOfMemory.
    """
    sums = {site: np.zeros(model.anatomy.width(site)) for site in sites}
    groups = _groups(pairs, rule)

    def work(indices: Sequence[int]) -> dict[Site, np.ndarray]:
        reducer = _BiasScoreReducer([groups[index] for index in indices], rule)
        attribute(model, sites, reducer.tokens, reducer)
        return reducer.sums

    longest = max((len(pair.biased.input_ids) + len(pair.biased.label_ids) for pair in pairs), default=0)
    rows = 2 * (rule.skill_batch or 1)
    for _, batch_sums in model.batcher.map_batches(range(len(groups)), work, lambda index: longest, purpose="gradients", rows=rows):
        for site, batch_sum in batch_sums.items():
            sums[site] += batch_sum
    examples = len(pairs) if rule.pooling == "apart" else 1
    return {str(site): total / examples for site, total in sums.items()}


def _groups(pairs: Sequence[BiasPair], rule: BiasScoreRule) -> list[Sequence[BiasPair]]:
    """The pairs whose skill terms are clamped together, which must run together; else each by itself, the longest first."""
    if rule.skill_batch:
        return [pairs[start : start + rule.skill_batch] for start in range(0, len(pairs), rule.skill_batch)]
    return [[pair] for pair in sorted(pairs, key=lambda pair: -len(pair.biased.input_ids))]


@dataclass(frozen=True)
class LocateWork:
    """Bias scores as work for an engine: an item is the choices of some examples under one instruction, and which are golden."""

    model: LanguageModel
    sites: tuple[Site, ...]
    rule: BiasScoreRule

    def __call__(self, item: tuple[ScoreChoices, Int64[np.ndarray, " examples"]]) -> Entry:
        """As `bias_scores`. Raises NotFinite, OutOfMemory."""
        return bias_scores(self.model, self.sites, bias_pairs(*item), self.rule)


@dataclass(frozen=True)
class ProtectWork:
    """Protection as work for an engine: an item is the choices of protected examples under one instruction, and which are golden."""

    model: LanguageModel
    sites: tuple[Site, ...]
    rule: BiasScoreRule

    def __call__(self, item: tuple[ScoreChoices, Int64[np.ndarray, " examples"]]) -> Entry:
        """The sum over examples of max(0, A(y)), pooled over tokens: address -> float64 [units]. Raises OutOfMemory."""
        scoring, gold = item
        rows = [choices[golden] for choices, golden in zip(scoring.tokens, gold.tolist(), strict=True)]
        sums = {site: np.zeros(self.model.anatomy.width(site)) for site in self.sites}

        ordered = sorted(rows, key=_fed, reverse=True)

        def work(batch: Sequence[int]) -> dict[Site, np.ndarray]:
            reducer = _GoldenReducer(self.rule)
            attribute(self.model, self.sites, [ordered[index] for index in batch], reducer)
            return reducer.sums

        length = lambda index: _fed(ordered[index])
        for _, batch_sums in self.model.batcher.map_batches(range(len(ordered)), work, length, purpose="gradients", rows=2):
            for site, batch_sum in batch_sums.items():
                sums[site] += batch_sum
        return {str(site): total for site, total in sums.items()}


def _fed(row: Tokens) -> int:
    return len(row.input_ids) + len(row.label_ids)


def bias_pairs(scoring: ScoreChoices, gold: Int64[np.ndarray, " examples"]) -> list[BiasPair]:
    """For each example its biased label, which is the most probable wrong choice, its golden label, and log P(ŷ).

    Scores the choices with the model as it is now. Raises NotFinite, OutOfMemory.
    """
    logprobs_by_example = np.split(scoring.logprobs(), np.cumsum(scoring.counts)[:-1])
    pairs = []
    for choices, logprobs, golden in zip(scoring.tokens, logprobs_by_example, gold.tolist(), strict=True):
        wrong = [index for index in range(len(choices)) if index != golden]
        biased = wrong[int(np.argmax(logprobs[wrong]))]
        pairs.append(BiasPair(choices[biased], choices[golden], float(logprobs[biased])))
    return pairs


class _BiasScoreReducer:
    """Reduces the attributions of one batch, in which ŷ's rows come before y's, to one float64 number for each unit.

    Works pair by pair: the operands then stay in the processor's cache, which on a CPU is twice as fast as whole batches.
    """

    def __init__(self, groups: Sequence[Sequence[BiasPair]], rule: BiasScoreRule) -> None:
        self._groups, self._rule = groups, rule
        pairs = [pair for group in groups for pair in group]
        self.tokens = [pair.biased for pair in pairs] + [pair.golden for pair in pairs]
        self._confusions = np.exp([pair.log_confusion for pair in pairs]) if rule.confusion_weight else np.ones(len(pairs))
        self.sums: dict[Site, np.ndarray] = {}

    def begin(self, logprobs: Tensor) -> None:
        """Weights of rows and examples. dP = P · d(log P); a pair's larger P is factored out, since products of small ones underflow."""
        by_label = logprobs.view(2, -1).numpy()  # [ŷ and y, pairs]
        larger = by_label.max(axis=0)
        of_probability = self._rule.gradient == "probability"
        self._row_weights = np.exp(by_label - larger) if of_probability else np.ones_like(by_label)
        self._pair_weights = self._confusions * (np.exp(larger) if of_probability else 1.0)

    def add(self, site: Site, values: Tensor, gradient: Tensor, lengths: Sequence[int]) -> None:
        """Reduce one site, [2 · pairs, tokens, units], over tokens and examples. Tokens from `lengths[row]` on are padding."""
        count = len(self._pair_weights)
        total = torch.zeros(values.shape[-1], dtype=torch.float64, device=values.device)
        bounds = np.cumsum([0, *map(len, self._groups)]).tolist()
        for start, end in itertools.pairwise(bounds):
            biased, golden = torch.zeros_like(total), torch.zeros_like(total)
            for pair in range(start, end):
                rows, weight = (pair, count + pair), float(self._pair_weights[pair])
                if self._rule.pooling == "joint":
                    biased.add_(self._joint_score(rows, values, gradient, lengths), alpha=weight)
                    continue
                biased.add_(self._pooled(_attribution(values, gradient, rows[0], lengths[rows[0]])), alpha=weight)
                golden.add_(self._pooled(_attribution(values, gradient, rows[1], lengths[rows[1]])), alpha=weight)
            total += biased.sub_(golden.clamp_(min=0), alpha=self._rule.skill)
        self.sums[site] = total.cpu().numpy()

    def _joint_score(self, rows: tuple[int, int], values: Tensor, gradient: Tensor, lengths: Sequence[int]) -> Tensor:
        """B of one pair, pooled over the positions that either row has; where a row has none, its gradient is exactly 0."""
        tokens = max(lengths[row] for row in rows)
        biased_weight, golden_weight = (float(self._row_weights[label, rows[0]]) for label in (0, 1))
        score = _attribution(values, gradient, rows[0], tokens)
        if biased_weight != 1:
            score.mul_(biased_weight)
        if self._rule.skill:
            score.sub_(_attribution(values, gradient, rows[1], tokens).clamp_(min=0), alpha=self._rule.skill * golden_weight)
        return self._pooled(score)

    def _pooled(self, score: Tensor) -> Tensor:
        return (score.amax(dim=0) if self._rule.tokens == "max" else score.mean(dim=0)).double()


class _GoldenReducer:
    """Reduces the attributions to golden labels of one batch to the sum of their positive parts, one float64 number for each unit."""

    def __init__(self, rule: BiasScoreRule) -> None:
        self._rule = rule
        self.sums: dict[Site, np.ndarray] = {}

    def begin(self, logprobs: Tensor) -> None:
        """Weights of rows: P, of which dP = P · d(log P), or 1."""
        self._weights = logprobs.exp().tolist() if self._rule.gradient == "probability" else [1.0] * len(logprobs)

    def add(self, site: Site, values: Tensor, gradient: Tensor, lengths: Sequence[int]) -> None:
        """Reduce one site, [rows, tokens, units], over tokens and rows. Tokens from `lengths[row]` on are padding."""
        total = torch.zeros(values.shape[-1], dtype=torch.float64, device=values.device)
        for row, weight in enumerate(self._weights):
            positive = _attribution(values, gradient, row, lengths[row]).clamp_(min=0)
            pooled = positive.amax(dim=0) if self._rule.tokens == "max" else positive.mean(dim=0)
            total.add_(pooled.double(), alpha=weight)
        self.sums[site] = total.cpu().numpy()


def _attribution(values: Tensor, gradient: Tensor, row: int, tokens: int) -> Tensor:
    """Values times gradient of one row, [tokens, units], in float32 at least."""
    row_values, row_gradient = values[row, :tokens], gradient[row, :tokens]
    if row_values.dtype in (torch.float16, torch.bfloat16):
        row_values, row_gradient = row_values.float(), row_gradient.float()
    return row_values * row_gradient
