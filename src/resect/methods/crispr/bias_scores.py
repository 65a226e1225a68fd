"""CRISPR's bias score of one instruction: from attributions to one number a neuron, reduced while the backward pass runs.

With A the attribution h · dP/dh, ŷ the biased and y the golden label, k a token, j an example and α_j = P(ŷ_j):

paper      Σ_j α_j · max_k [ A_k(ŷ_j) − λ · max(0, A_k(y_j)) ]
official   Σ_batches [ Σ_j α_j · max_k A'_k(ŷ_j) − λ · max(0, Σ_j α_j · max_k A'_k(y_j)) ] / examples, with A' = h · d(log P)/dh and
           batches of 4 examples in the order of the data

Source: Yang et al. 2024, equations 2 to 6, and the authors' code. Differs from the source in: nothing. Knows no task and no search.
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
    """One example under one instruction: what is fed for ŷ and for y, and log P(ŷ), its confusion."""

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
    encoder output and no cache, which would mix their gradients. Raises NotFinite by way of Scores, OutOfMemory.
    """
    sums = {site: np.zeros(model.anatomy.width(site)) for site in sites}
    # Examples whose skill terms are clamped together must run together; else longest first, for batches of like length.
    whole = (
        [pairs[start : start + rule.skill_batch] for start in range(0, len(pairs), rule.skill_batch or 1)]
        if rule.skill_batch
        else [[pair] for pair in sorted(pairs, key=lambda pair: -len(pair.biased.input_ids))]
    )

    def work(part: Sequence[int]) -> dict[Site, np.ndarray]:
        reducer = _Reducer([whole[place] for place in part], rule)
        attribute(model, sites, reducer.tokens, reducer)
        return reducer.sums

    longest = max((len(pair.biased.input_ids) + len(pair.biased.label_ids) for pair in pairs), default=0)
    rows = 2 * (rule.skill_batch or 1)
    for _, found in model.batches.run(range(len(whole)), work, lambda place: longest, purpose="gradients", rows=rows):
        for site, added in found.items():
            sums[site] += added
    scale = len(pairs) if rule.pooling == "apart" else 1
    return {str(site): total / scale for site, total in sums.items()}


@dataclass(frozen=True)
class LocateWork:
    """Bias scores as work for an engine: an item is the choices of some examples under one instruction, and which are golden."""

    model: LanguageModel
    sites: tuple[Site, ...]
    rule: BiasScoreRule

    def __call__(self, item: tuple[ScoreChoices, Int64[np.ndarray, " examples"]]) -> Entry:
        """As `bias_scores`."""
        return bias_scores(self.model, self.sites, pairs_of(*item), self.rule)


def pairs_of(scoring: ScoreChoices, gold: Int64[np.ndarray, " examples"]) -> list[BiasPair]:
    """For each example its biased label, which is the most probable wrong choice, and its golden one, with log P(ŷ).

    Scores the choices with the model as it is now. Raises NotFinite, OutOfMemory.
    """
    scored = np.split(np.asarray(scoring.entry()["logprobs"], dtype=np.float64), np.cumsum(scoring.counts)[:-1])
    pairs = []
    for tokens, logprobs, right in zip(scoring.tokens, scored, gold.tolist(), strict=True):
        wrong = [index for index in range(len(tokens)) if index != right]
        biased = wrong[int(np.argmax(logprobs[wrong]))]
        pairs.append(BiasPair(tokens[biased], tokens[right], float(logprobs[biased])))
    return pairs


class _Reducer:
    """Takes the attributions of one batch, ŷ's rows before y's, to one float64 number a unit.

    It goes pair by pair: what is multiplied then lies in the cache, which on a CPU is twice as fast as whole batches.
    """

    def __init__(self, groups: Sequence[Sequence[BiasPair]], rule: BiasScoreRule) -> None:
        self._groups, self._rule = groups, rule
        pairs = [pair for group in groups for pair in group]
        self.tokens = [pair.biased for pair in pairs] + [pair.golden for pair in pairs]
        self._confusions = np.exp([pair.log_confusion for pair in pairs]) if rule.confusion_weight else np.ones(len(pairs))
        self.sums: dict[Site, np.ndarray] = {}

    def begin(self, logprobs: Tensor) -> None:
        """Weights of rows and examples. dP = P · d(log P); a pair's larger P is factored out, since products of small ones underflow."""
        rows = logprobs.view(2, -1).numpy()
        larger = rows.max(axis=0)
        by_probability = self._rule.gradient == "probability"
        self._rows = np.exp(rows - larger) if by_probability else np.ones_like(rows)
        self._examples = self._confusions * (np.exp(larger) if by_probability else 1.0)

    def add(self, site: Site, values: Tensor, gradient: Tensor, lengths: Sequence[int]) -> None:
        """Reduce one site, [2 · pairs, tokens, units], over tokens and examples. Tokens from `lengths[row]` on are padding."""
        count = len(self._examples)
        total = torch.zeros(values.shape[-1], dtype=torch.float64, device=values.device)
        starts = np.cumsum([0, *map(len, self._groups)]).tolist()
        for start, end in itertools.pairwise(starts):
            biased, golden = torch.zeros_like(total), torch.zeros_like(total)
            for pair in range(start, end):
                rows, weight = (pair, count + pair), float(self._examples[pair])
                if self._rule.pooling == "joint":
                    biased.add_(self._joint(rows, values, gradient, lengths), alpha=weight)
                    continue
                biased.add_(self._pooled(_product(values, gradient, rows[0], lengths[rows[0]])), alpha=weight)
                golden.add_(self._pooled(_product(values, gradient, rows[1], lengths[rows[1]])), alpha=weight)
            total += biased.sub_(golden.clamp_(min=0), alpha=self._rule.skill)
        self.sums[site] = total.cpu().numpy()

    def _joint(self, rows: tuple[int, int], values: Tensor, gradient: Tensor, lengths: Sequence[int]) -> Tensor:
        """B of one pair, pooled over the positions that either row has; where a row has none, its gradient is exactly 0."""
        tokens = max(lengths[row] for row in rows)
        weights = [float(self._rows[side, rows[0]]) for side in (0, 1)]
        score = _product(values, gradient, rows[0], tokens)
        if weights[0] != 1:
            score.mul_(weights[0])
        if self._rule.skill:
            score.sub_(_product(values, gradient, rows[1], tokens).clamp_(min=0), alpha=self._rule.skill * weights[1])
        return self._pooled(score)

    def _pooled(self, score: Tensor) -> Tensor:
        return (score.amax(dim=0) if self._rule.tokens == "max" else score.mean(dim=0)).double()


def _product(values: Tensor, gradient: Tensor, row: int, tokens: int) -> Tensor:
    """Values times gradient of one row, [tokens, units], in float32 at least."""
    held, slope = values[row, :tokens], gradient[row, :tokens]
    if held.dtype in (torch.float16, torch.bfloat16):
        held, slope = held.float(), slope.float()
    return held * slope
