"""What the smallest components of a reduced matrix encode: the answers with them alone, and their similarity to the right ones.

Over the pairs of *test* that were wrong before and are right under the plan. Source: Sharma et al. 2024 (LASER, arXiv:2312.13558),
section 5.1.2 and figure 5. Differs from the source in: which vectors its cosines are of is unpublished; here those of the input
embeddings, the mean over an answer's tokens.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd import floor_of_share
from resect.evaluation.questions import Answers, Questions
from resect.methods.analyses.study import Study, with_others
from resect.models.language_model import LanguageModel

#: The shares of the components that are kept, the smallest first; all of them: the model without an edit.
KEPT = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)


def components(study: Study) -> dict[str, Any]:
    """Returns the mean cosine of right and given answer by the share of components kept, and the answers with the removed ones alone.

    `smallest` of each answer: with as many of the smallest components as the reduction removes. A given answer is compared by as many
    of its tokens as the right one has; an answer without a token counts 0. All are None where no pair was fixed.
    Of a composition each matrix by itself: those after the first under "others". Raises NotFinite, NotWritable, OutOfMemory.
    """
    questions = study.questions("test")
    base, edited = study.before_and_after(questions)
    fixed = [(int(e), int(i)) for e, i in np.argwhere((base.values != 1) & (edited.values == 1))]
    return with_others([_FixedPairs(study, questions, fixed, base, edited).of(edit) for edit in study.reductions])


def smallest(edit: ReduceRank, rank: int, full: int) -> Plan:
    """Returns the plan that keeps `rank` of the `full` components of a matrix, the smallest; the empty plan for all of them."""
    # Half a component more: ⌊ρ · full⌋ is then the rank, whatever floats make of it.
    return Plan() if rank >= full else Plan((ReduceRank(edit.site, (rank + 0.5) / full if rank else 0.0, "smallest"),))


def cosine(one: Float64[np.ndarray, " d"], other: Float64[np.ndarray, " d"]) -> float:
    """Returns the cosine of two vectors; 0 where one of them is 0."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


class _FixedPairs:
    """The pairs that the plan fixed, evaluated on their examples only."""

    def __init__(self, study: Study, questions: Questions, pairs: Sequence[tuple[int, int]], base: Answers, edited: Answers) -> None:
        self._study, self._questions, self._pairs, self._base, self._edited = study, questions, pairs, base, edited
        self._places = {e: place for place, e in enumerate(dict.fromkeys(e for e, _ in pairs))}
        examples = [questions.examples[e] for e in self._places]
        self._subset = Questions(study.model, questions.task, examples, questions.metric)

    def of(self, edit: ReduceRank) -> dict[str, Any]:
        """The result for one matrix of the plan."""
        full = min(self._study.model.anatomy.shape(edit.site))
        ranks = sorted({max(1, floor_of_share(part, full)) for part in KEPT})
        removed = full - self._study.rank(edit)
        texts = self._by_rank(edit, sorted({*ranks, removed}), full)
        return {
            "site": str(edit.site),
            "kept": [rank / full for rank in ranks],
            "cosine": [self._mean_cosine(texts[rank]) for rank in ranks],
            "n_examples": len(self._pairs),
            "answers": [self._row(e, i, text) for (e, i), text in zip(self._pairs, texts[removed], strict=True)],
            "smallest": removed / full,
            "metric": self._questions.metric,
            "split": "test",
        }

    def _by_rank(self, edit: ReduceRank, ranks: Sequence[int], full: int) -> dict[int, list[str]]:
        """The answer to each pair, by how many of the smallest components are kept."""
        texts, report = dict[int, list[str]](), self._study.counter(f"the smallest components of {edit.site}", len(ranks))
        for rank in ranks:
            texts[rank] = self._texts(smallest(edit, rank, full)) if self._pairs else []
            report()
        return texts

    def _texts(self, plan: Plan) -> list[str]:
        answers = self._subset.answers(plan, workers=self._study.workers.silent())
        return [self._subset.answer_text(answers, self._places[e], i) for e, i in self._pairs]

    def _mean_cosine(self, texts: Sequence[str]) -> float | None:
        pairs = [
            cosine(*embedded(self._study.model, self._prompt(e, i), self._questions.examples[e].gold_text, text))
            for (e, i), text in zip(self._pairs, texts, strict=True)
        ]
        return float(np.mean(pairs)) if pairs else None

    def _prompt(self, e: int, i: int) -> str:
        return self._questions.prompt(self._questions.examples[e], self._questions.task.instructions[i])

    def _row(self, e: int, i: int, text: str) -> dict[str, str]:
        base, edited = (self._questions.answer_text(answers, e, i) for answers in (self._base, self._edited))
        gold = self._questions.examples[e].gold_text
        return {"prompt": self._prompt(e, i), "gold": gold, "base": base, "edited": edited, "smallest": text}


def embedded(model: LanguageModel, prompt: str, gold: str, given: str) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, " d"]]:
    """Returns the mean input embedding of the right answer's tokens, and of as many of the given answer's; 0 where it has none."""
    right = _label(model, prompt, gold)
    compared = _label(model, prompt, given)[: len(right)] if given.strip() else ()
    table = model.model.get_input_embeddings().weight
    return _mean(table, right), _mean(table, compared)


def _label(model: LanguageModel, prompt: str, text: str) -> tuple[int, ...]:
    """The tokens of an answer after the prompt, without the special tokens that the tokenizer puts around every text."""
    ids = model.tokens(prompt, text).label_ids
    if model.kind != "encoder-decoder":
        return ids
    before, behind = len(model.encoder.prefix), len(model.encoder.suffix)
    return ids[before : len(ids) - behind]


def _mean(table: torch.Tensor, ids: Sequence[int]) -> Float64[np.ndarray, " d"]:
    if not ids:
        return np.zeros(table.shape[1])
    rows = table.detach()[torch.tensor(ids, device=table.device)]
    mean: Float64[np.ndarray, " d"] = rows.cpu().double().mean(dim=0).numpy()
    return mean
