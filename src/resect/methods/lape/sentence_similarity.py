"""How alike a model's layers hold the same sentence in different languages: the upside-down U of the LAPE paper.

Knows a model and parallel text; knows no units and no plan. What is held in memory is the sentences and a few dozen of their embeddings.
"""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from resect.core.address import Stack
from resect.core.errors import InputError, NotFinite
from resect.core.execution import Entry, Workers, journal_key, json_digest
from resect.models.encoding import Ids
from resect.models.language_model import LanguageModel

#: Sentences that are compared if nothing else is said.
SENTENCES = 512
STAGE = "similarity of parallel sentences"
#: Bytes of embeddings that are held at once.
_BYTES = 2**26
#: The most sentences of a language in one item of work: what a kill loses.
_AT_ONCE = 64


def similarity(
    model: LanguageModel,
    parallel: Mapping[str, Sequence[str]],
    *,
    limit: int | None = SENTENCES,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """For each layer the mean cosine of the embeddings of parallel sentences, over sentences and pairs of languages.

    The embedding of a sentence at a layer is the mean of the hidden states of its own tokens. The sentence is read as a document, opened
    and closed by special tokens as for recording (`Encoder.document_ids`); these, and padding, are no part of the mean: they are the same
    in every language, and the token that opens a text often has a state many times as large as all others.

    Parameters
    ----------
    parallel : by language sentences, of which those in one place say the same; two languages or more
    limit : compare so many sentences, spread evenly over the text (None: all)

    Returns
    -------
    `stack` : the stack that is looked at: the encoder where there is one, else the decoder
    `layers` : 0 the first block's input (the embeddings), i the output of block i, before any last norm
    `mean` : for each layer the mean cosine, in [−1, 1], over sentences and pairs of languages
    `unrelated` : the same of sentences that stand half of the text apart: what `mean` is to be read against, since in many models all
        embeddings of a layer are alike. The last one of an odd number of sentences is left out of it.
    `pairs` : `{"en-fr": [one mean cosine a layer], …}`
    `n_sentences`, `languages`, `left_out` : `{"empty": n, "too_long": n}`: sentences that a language has no text for, or that do not fit
        the model's context in some language

    Raises InputError for fewer than two languages, texts of unequal length, or fewer than two sentences that can be compared; NotFinite,
    OutOfMemory. Source: Tang et al. 2024 (arXiv:2402.16438), "sentence embedding similarity". Differs from the source in: it
    says neither how its embeddings are pooled nor what special tokens do; the unrelated sentences are ours.
    """
    sentences, left_out = _encoded(model, _checked(parallel), limit)
    languages = tuple(parallel)
    items = list(_items(model, sentences))
    digest = json_digest([languages, sentences, len(items)])
    keys = [journal_key("similarity", digest, place) for place in range(len(items))]
    found = (workers or Workers()).map(_Comparing(model), items, keys, stage=STAGE)
    related, unrelated = _means(found, len(sentences))
    names = [f"{one}-{other}" for one, other in itertools.combinations(languages, 2)]
    return {
        "stack": main_stack(model),
        "layers": list(range(related.shape[1])),
        "mean": related.mean(axis=0).tolist(),
        "unrelated": unrelated.mean(axis=0).tolist(),
        "pairs": {name: row.tolist() for name, row in zip(names, related, strict=True)},
        "n_sentences": len(sentences),
        "languages": list(languages),
        "left_out": left_out,
    }


def check(model: LanguageModel, parallel: Mapping[str, Sequence[str]], limit: int | None = SENTENCES) -> None:
    """Raises InputError for what `similarity` refuses, before anything is compared."""
    _encoded(model, _checked(parallel), limit)


def main_stack(model: LanguageModel) -> Stack:
    """The stack that reads a text: the encoder where there is one."""
    return next(iter(model.anatomy.layers))


def _checked(parallel: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    if len(parallel) < 2:
        raise InputError(f"Similarity is between languages: give parallel text of two or more, not of {len(parallel)}.")
    for language, texts in parallel.items():
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"The parallel text of {language} is a list of sentences, not {texts!r:.60}.")
    counts = {language: len(texts) for language, texts in parallel.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{language} {count}" for language, count in counts.items())
        raise InputError(f"Parallel text has as many sentences in every language, one a line; here: {told}.")
    return parallel


#: One sentence in every language, as a document's ids.
Sentence = tuple[Ids, ...]


def _encoded(model: LanguageModel, parallel: Mapping[str, Sequence[str]], limit: int | None) -> tuple[list[Sentence], dict[str, int]]:
    """Sentences that can be compared, and how many of those that were looked at cannot. Raises InputError."""
    if limit is not None and limit < 2:
        raise InputError(f"At least two sentences are compared, not {limit}.")
    total = len(next(iter(parallel.values())))
    places = range(total) if limit is None or limit >= total else [place * total // limit for place in range(limit)]
    ids = [model.encoder.document_ids([texts[place] for place in places]) for texts in parallel.values()]
    framing, context = sum(_frame(model)), model.context
    found: list[Sentence] = []
    left_out = {"empty": 0, "too_long": 0}
    for sentence in zip(*ids, strict=True):
        if min(map(len, sentence)) <= framing:
            left_out["empty"] += 1
        elif context is not None and max(map(len, sentence)) > context:
            left_out["too_long"] += 1
        else:
            found.append(sentence)
    if len(found) < 2:
        raise InputError(
            f"Of {len(places)} parallel sentences {left_out['empty']} are empty in some language, and {left_out['too_long']} do not fit "
            f"the model's context of {context} tokens; at least two are needed. Give more, or shorter ones."
        )
    return found, left_out


def _frame(model: LanguageModel) -> tuple[int, int]:
    """How many tokens open and close every document."""
    if model.kind == "masked":
        return len(model.encoder.prefix), len(model.encoder.suffix)
    return int(model.tokenizer.bos_token_id is not None), int(model.tokenizer.eos_token_id is not None)


@dataclass(frozen=True)
class _Item:
    """Sentences, and the unrelated ones to hold each against: `partners[i]` is the place of the one of sentence i; −1: none."""

    sentences: tuple[Sentence, ...]
    partners: tuple[int, ...]


def _items(model: LanguageModel, sentences: Sequence[Sentence]) -> list[_Item]:
    """Sentences in pieces that hold, beside each, the one that stands half of the text away."""
    each = len(sentences[0]) * (model.anatomy.layers[main_stack(model)] + 1) * model.anatomy.d_model * np.dtype(np.float64).itemsize
    step = max(1, min(_AT_ONCE, _BYTES // each) // 2)
    half = len(sentences) // 2
    found = []
    for start in range(0, half, step):
        stop = min(start + step, half)
        width = stop - start
        partners = (*range(width, 2 * width), *range(width))
        found.append(_Item((*sentences[start:stop], *sentences[half + start : half + stop]), partners))
    if len(sentences) % 2:
        found.append(_Item((sentences[-1],), (-1,)))
    return found


@dataclass(frozen=True)
class _Comparing:
    """The work: cosines of an item's sentences, summed over them."""

    model: LanguageModel

    def __call__(self, item: _Item) -> Entry:
        """`related` and `unrelated` [pairs of languages, layers]: sums of cosines over sentences; `partnered`: over how many."""
        rows = [ids for sentence in item.sentences for ids in sentence]
        states = _embeddings(self.model, rows)
        by_language: Float64[np.ndarray, "languages sentences layers d_model"] = states.reshape(
            len(item.sentences), -1, *states.shape[1:]
        ).swapaxes(0, 1)
        norms = np.linalg.norm(by_language, axis=-1, keepdims=True)
        unit = np.divide(by_language, norms, out=np.zeros_like(by_language), where=norms > 0)
        partnered = [place for place, partner in enumerate(item.partners) if partner >= 0]
        partners = [item.partners[place] for place in partnered]
        related, unrelated = [], []
        for one, other in itertools.combinations(unit, 2):
            related.append((one * other).sum(axis=(0, 2)))
            unrelated.append((one[partnered] * other[partners]).sum(axis=(0, 2)))
        return {"related": np.stack(related), "unrelated": np.stack(unrelated), "partnered": len(partnered)}


def _means(found: Any, sentences: int) -> tuple[Float64[np.ndarray, "pairs layers"], Float64[np.ndarray, "pairs layers"]]:
    entries = list(found)
    related, unrelated = (np.sum([entry[name] for entry in entries], axis=0) for name in ("related", "unrelated"))
    return related / sentences, unrelated / sum(int(entry["partnered"]) for entry in entries)


def _embeddings(model: LanguageModel, rows: Sequence[Ids]) -> Float64[np.ndarray, "rows layers d_model"]:
    """The mean hidden state of each row's own tokens, before the first block and after each. Raises NotFinite, OutOfMemory."""
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    work = lambda part: _pooled(model, [rows[place] for place in part])
    for part, states in model.batches.run(order, work, lambda place: len(rows[place])):
        for place, state in zip(part, states, strict=True):
            found[place] = state
    stacked = np.stack(found)
    if not np.isfinite(stacked).all():
        raise NotFinite("The hidden states of a sentence are not finite: the model gives NaN or infinity. Try --dtype float32.")
    return stacked


@torch.inference_mode()
def _pooled(model: LanguageModel, rows: Sequence[Ids]) -> Float64[np.ndarray, "rows layers d_model"]:
    ids, mask = model.forward.padded(rows)
    opening, closing = _frame(model)
    columns = torch.arange(ids.shape[1])
    lengths = torch.tensor([len(row) for row in rows])[:, None]
    weights = ((columns >= opening) & (columns < lengths - closing)).float()
    weights = weights / weights.sum(dim=1, keepdim=True)
    means: list[Tensor] = []

    def see(states: Tensor) -> None:
        wide = torch.promote_types(states.dtype, torch.float32)
        means.append(torch.einsum("rt,rtd->rd", weights.to(states.device, wide), states.to(wide)).cpu().double())

    with _seen(model, see):
        reader = model.model.get_encoder() if model.kind == "encoder-decoder" else model.anatomy.backbone
        reader(input_ids=ids, attention_mask=mask, **({} if model.kind != "causal" else {"use_cache": False}))
    return np.asarray(torch.stack(means, dim=1))


def _seen(model: LanguageModel, see: Any) -> ExitStack:
    """Show the input of the first block, and the output of each, in their order, while a forward pass is made."""
    stack, root = main_stack(model), model.model
    blocks: list[nn.Module] = [root.get_submodule(model.anatomy.block(stack, layer)) for layer in range(model.anatomy.layers[stack])]

    def before(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        see(given[0] if given else named["hidden_states"])

    def after(_module: nn.Module, _given: object, output: Any) -> None:
        see(output if isinstance(output, Tensor) else output[0])

    with ExitStack() as handles:
        handles.callback(blocks[0].register_forward_pre_hook(before, with_kwargs=True).remove)
        for block in blocks:
            handles.callback(block.register_forward_hook(after).remove)
        return handles.pop_all()
