"""What the smallest components of a reduced matrix hold: what the model answers with them alone, and how near that is to the truth.

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
from resect.edits.svd import share
from resect.evaluation.questions import Answers, Questions
from resect.models.language_model import LanguageModel

from .study import Study, with_others

#: The shares of the components that are kept, the smallest first; all of them are the model as it is.
KEPT = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)


def components(study: Study) -> dict[str, Any]:
    """Mean cosine of right and given answer by the share of components kept, and the answers with only what the reduction removed.

    `smallest` of each answer: with as many of the smallest components as the reduction takes away. A given answer is compared by as many
    of its tokens as the right one has; an answer without a token counts 0. None everywhere where no pair was mended.
    Of a composition each matrix by itself: those after the first under "others". Raises NotFinite, NotWritable, OutOfMemory.
    """
    questions = study.questions("test")
    told = [(Plan(), "asking the model as it is"), (study.plan, "asking the edited model")]
    base, edited = (questions.answers(plan, stage=stage, workers=study.workers) for plan, stage in told)
    mended = [(int(e), int(i)) for e, i in np.argwhere((base.values != 1) & (edited.values == 1))]
    return with_others([_Mended(study, questions, mended, base, edited).of(edit) for edit in study.reductions])


def smallest(edit: ReduceRank, rank: int, full: int) -> Plan:
    """The plan that leaves so many of a matrix' smallest components, out of `full`; all of them: the empty plan."""
    # Half a component more: ⌊ρ · full⌋ is then the rank, whatever floats make of it.
    return Plan() if rank >= full else Plan((ReduceRank(edit.site, (rank + 0.5) / full if rank else 0.0, "smallest"),))


def cosine(one: Float64[np.ndarray, " d"], other: Float64[np.ndarray, " d"]) -> float:
    """The cosine of two vectors; 0 where one of them is 0."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


class _Mended:
    """The pairs that were mended, asked again of those examples only."""

    def __init__(self, study: Study, questions: Questions, pairs: Sequence[tuple[int, int]], base: Answers, edited: Answers) -> None:
        self._study, self._whole, self._pairs, self._base, self._edited = study, questions, pairs, base, edited
        self._places = {e: place for place, e in enumerate(dict.fromkeys(e for e, _ in pairs))}
        examples = [questions.examples[e] for e in self._places]
        self._some = Questions(study.model, questions.task, examples, questions.metric)

    def of(self, edit: ReduceRank) -> dict[str, Any]:
        """What one matrix of the plan holds."""
        full = min(self._study.model.anatomy.shape(edit.site))
        ranks = sorted({max(1, share(part, full)) for part in KEPT})
        removed = full - self._study.rank(edit)
        said = self._by_rank(edit, sorted({*ranks, removed}), full)
        return {
            "site": str(edit.site),
            "kept": [rank / full for rank in ranks],
            "cosine": [self._mean_cosine(said[rank]) for rank in ranks],
            "n_examples": len(self._pairs),
            "answers": [self._told(e, i, text) for (e, i), text in zip(self._pairs, said[removed], strict=True)],
            "smallest": removed / full,
            "metric": self._whole.metric,
            "split": "test",
        }

    def _by_rank(self, edit: ReduceRank, ranks: Sequence[int], full: int) -> dict[int, list[str]]:
        """What each pair is answered with, by how many of the smallest components are kept."""
        stage, found = f"the smallest components of {edit.site}", dict[int, list[str]]()
        self._study.workers.progress(stage, 0, len(ranks))
        for done, rank in enumerate(ranks, start=1):
            found[rank] = self._said(smallest(edit, rank, full)) if self._pairs else []
            self._study.workers.progress(stage, done, len(ranks))
        return found

    def _said(self, plan: Plan) -> list[str]:
        answers = self._some.answers(plan, workers=self._study.workers.silent())
        return [self._some.said(answers, self._places[e], i) for e, i in self._pairs]

    def _mean_cosine(self, texts: Sequence[str]) -> float | None:
        pairs = [
            cosine(*embedded(self._study.model, self._prompt(e, i), self._whole.examples[e].gold_text, text))
            for (e, i), text in zip(self._pairs, texts, strict=True)
        ]
        return float(np.mean(pairs)) if pairs else None

    def _prompt(self, e: int, i: int) -> str:
        return self._whole.prompt(self._whole.examples[e], self._whole.task.instructions[i])

    def _told(self, e: int, i: int, text: str) -> dict[str, str]:
        base, edited = (self._whole.said(answers, e, i) for answers in (self._base, self._edited))
        return {"prompt": self._prompt(e, i), "gold": self._whole.examples[e].gold_text, "base": base, "edited": edited, "smallest": text}


def embedded(model: LanguageModel, prompt: str, gold: str, said: str) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, " d"]]:
    """The mean input embedding of the right answer's tokens, and that of as many of the given answer's; 0 where it has none."""
    right = _label(model, prompt, gold)
    given = _label(model, prompt, said)[: len(right)] if said.strip() else ()
    table = model.model.get_input_embeddings().weight
    return _mean(table, right), _mean(table, given)


def _label(model: LanguageModel, prompt: str, text: str) -> tuple[int, ...]:
    """The tokens of an answer as they stand after the prompt, without what the tokenizer puts around every text."""
    ids = model.tokens(prompt, text).label_ids
    if model.kind != "encoder-decoder":
        return ids
    before, behind = len(model.encoder.prefix), len(model.encoder.suffix)
    return ids[before : len(ids) - behind]


def _mean(table: torch.Tensor, ids: Sequence[int]) -> Float64[np.ndarray, " d"]:
    if not ids:
        return np.zeros(table.shape[1])
    rows = table.detach()[torch.tensor(ids, device=table.device)]
    found: Float64[np.ndarray, " d"] = rows.cpu().double().mean(dim=0).numpy()
    return found
