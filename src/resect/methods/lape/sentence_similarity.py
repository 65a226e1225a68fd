"""How similar the hidden states of the same sentence in different languages are, layer by layer: the upside-down U of the LAPE paper.

Knows a model and parallel text; does not know units or plans. Only the sentences and a few dozen of their embeddings are in memory.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
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

#: Sentences that are compared by default.
SENTENCES = 512
STAGE = "similarity of parallel sentences"
#: Bytes of embeddings in memory at once.
_BYTES = 2**26
#: The most sentences of a language in one work item, which is what a kill loses.
_AT_ONCE = 64


def similarity(
    model: LanguageModel,
    parallel: Mapping[str, Sequence[str]],
    *,
    limit: int | None = SENTENCES,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Returns for each layer the mean cosine of the embeddings of parallel sentences, over sentences and pairs of languages.

    The embedding of a sentence at a layer is the mean hidden state of its own tokens. The sentence is read as a document, between the same
    special tokens as in recording (`Encoder.encode_documents`); these, and padding, are not part of the mean: they are the same in every
    language, and the first token of a text often has a hidden state many times as large as all others.

    Parameters
    ----------
    parallel : sentences by language; those at one index have the same meaning; two languages or more
    limit : the most sentences to compare, spread evenly over the text (None: all)

    Returns
    -------
    `stack` : the stack whose states these are: the encoder where there is one, else the decoder
    `layers` : 0 the first block's input (the embeddings), i the output of block i, before any last norm
    `mean` : for each layer the mean cosine, in [−1, 1], over sentences and pairs of languages
    `unrelated` : the same for sentences half of the text apart, to compare `mean` with, since in many models all embeddings of a layer
        are similar. The last one of an odd number of sentences is left out of it.
    `pairs` : `{"en-fr": [one mean cosine a layer], …}`
    `n_sentences`, `languages`, `left_out` : `{"empty": n, "too_long": n}`: sentences that are empty in some language, or do not fit the
        model's context

    Raises InputError for fewer than two languages, texts of unequal length, or fewer than two sentences that can be compared; NotFinite,
    OutOfMemory. Source: Tang et al. 2024 (arXiv:2402.16438), "sentence embedding similarity". Differs from the source in: the
    pooling and the special tokens of the paper are unpublished; the unrelated sentences are ours.
    """
    sentences, left_out = _encoded(model, _checked(parallel), limit)
    languages = tuple(parallel)
    items = list(_items(model, sentences))
    digest = json_digest([languages, sentences, len(items)])
    keys = [journal_key("similarity", digest, place) for place in range(len(items))]
    results = (workers or Workers()).map(_Comparing(model), items, keys, stage=STAGE)
    related, unrelated = _means(results, len(sentences))
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
    """Raises InputError for what `similarity` refuses, before any work."""
    _encoded(model, _checked(parallel), limit)


def main_stack(model: LanguageModel) -> Stack:
    """Returns the stack that reads a text: the encoder where there is one."""
    return next(iter(model.anatomy.layers))


def _checked(parallel: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    if len(parallel) < 2:
        raise InputError(f"Similarity is between languages: give parallel text of two or more, not of {len(parallel)}.")
    for language, texts in parallel.items():
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"The parallel text of {language} is a list of sentences, not {texts!r:.60}.")
    counts = {language: len(texts) for language, texts in parallel.items()}
    if len(set(counts.values())) > 1:
        numbers = ", ".join(f"{language} {count}" for language, count in counts.items())
        raise InputError(f"Parallel text has as many sentences in every language, one a line; here: {numbers}.")
    return parallel


#: One sentence in every language, as a document's ids.
Sentence = tuple[Ids, ...]


def _encoded(model: LanguageModel, parallel: Mapping[str, Sequence[str]], limit: int | None) -> tuple[list[Sentence], dict[str, int]]:
    """The sentences that can be compared, and the numbers of those that cannot. Raises InputError."""
    if limit is not None and limit < 2:
        raise InputError(f"At least two sentences are compared, not {limit}.")
    total = len(next(iter(parallel.values())))
    places = range(total) if limit is None or limit >= total else [place * total // limit for place in range(limit)]
    ids = [model.encoder.encode_documents([texts[place] for place in places]) for texts in parallel.values()]
    framing, context = sum(_frame(model)), model.context
    sentences: list[Sentence] = []
    left_out = {"empty": 0, "too_long": 0}
    for sentence in zip(*ids, strict=True):
        if min(map(len, sentence)) <= framing:
            left_out["empty"] += 1
        elif context is not None and max(map(len, sentence)) > context:
            left_out["too_long"] += 1
        else:
            sentences.append(sentence)
    if len(sentences) < 2:
        raise InputError(
            f"Of {len(places)} parallel sentences {left_out['empty']} are empty in some language, and {left_out['too_long']} do not fit "
            f"the model's context of {context} tokens; at least two are needed. Give more, or shorter ones."
        )
    return sentences, left_out


def _frame(model: LanguageModel) -> tuple[int, int]:
    """The numbers of special tokens before and after every document."""
    if model.kind == "masked":
        return len(model.encoder.prefix), len(model.encoder.suffix)
    return int(model.tokenizer.bos_token_id is not None), int(model.tokenizer.eos_token_id is not None)


@dataclass(frozen=True)
class _Item:
    """Sentences, and the unrelated ones to compare them with: `partners[i]` is the index of that of sentence i; −1: none."""

    sentences: tuple[Sentence, ...]
    partners: tuple[int, ...]


def _items(model: LanguageModel, sentences: Sequence[Sentence]) -> list[_Item]:
    """Work items: sentences with the unrelated ones half of the text away."""
    size = len(sentences[0]) * (model.anatomy.layers[main_stack(model)] + 1) * model.anatomy.d_model * np.dtype(np.float64).itemsize
    step = max(1, min(_AT_ONCE, _BYTES // size) // 2)
    half = len(sentences) // 2
    items = []
    for start in range(0, half, step):
        stop = min(start + step, half)
        width = stop - start
        partners = (*range(width, 2 * width), *range(width))
        items.append(_Item((*sentences[start:stop], *sentences[half + start : half + stop]), partners))
    if len(sentences) % 2:
        items.append(_Item((sentences[-1],), (-1,)))
    return items


@dataclass(frozen=True)
class _Comparing:
    """The work on an item: the cosines of its sentences, summed."""

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


def _means(results: Any, sentences: int) -> tuple[Float64[np.ndarray, "pairs layers"], Float64[np.ndarray, "pairs layers"]]:
    entries = list(results)
    related, unrelated = (np.sum([entry[name] for entry in entries], axis=0) for name in ("related", "unrelated"))
    return related / sentences, unrelated / sum(int(entry["partnered"]) for entry in entries)


def _embeddings(model: LanguageModel, rows: Sequence[Ids]) -> Float64[np.ndarray, "rows layers d_model"]:
    """The mean hidden state of each row's own tokens, before the first block and after each. Raises NotFinite, OutOfMemory."""
    embeddings: list[np.ndarray] = [np.empty(0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    work = lambda part: _pooled(model, [rows[place] for place in part])
    for part, states in model.batcher.map_batches(order, work, lambda place: len(rows[place])):
        for place, state in zip(part, states, strict=True):
            embeddings[place] = state
    stacked = np.stack(embeddings)
    if not np.isfinite(stacked).all():
        raise NotFinite("The hidden states of a sentence are not finite: the model gives NaN or infinity. Try --dtype float32.")
    return stacked


@torch.inference_mode()
def _pooled(model: LanguageModel, rows: Sequence[Ids]) -> Float64[np.ndarray, "rows layers d_model"]:
    ids, mask = model.forward.pad_rows(rows)
    opening, closing = _frame(model)
    columns = torch.arange(ids.shape[1])
    lengths = torch.tensor([len(row) for row in rows])[:, None]
    weights = ((columns >= opening) & (columns < lengths - closing)).float()
    weights = weights / weights.sum(dim=1, keepdim=True)
    means: list[Tensor] = []

    def add(states: Tensor) -> None:
        wide = torch.promote_types(states.dtype, torch.float32)
        means.append(torch.einsum("rt,rtd->rd", weights.to(states.device, wide), states.to(wide)).cpu().double())

    with _watched(model, add):
        reader = model.model.get_encoder() if model.kind == "encoder-decoder" else model.anatomy.backbone
        reader(input_ids=ids, attention_mask=mask, **({} if model.kind != "causal" else {"use_cache": False}))
    return np.asarray(torch.stack(means, dim=1))


def _watched(model: LanguageModel, watch: Callable[[Tensor], None]) -> ExitStack:
    """Calls `watch` with the input of the first block, and the output of each block, during a forward pass."""
    stack, root = main_stack(model), model.model
    blocks: list[nn.Module] = [root.get_submodule(model.anatomy.block_path(stack, layer)) for layer in range(model.anatomy.layers[stack])]

    def before(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        watch(given[0] if given else named["hidden_states"])

    def after(_module: nn.Module, _given: object, output: Any) -> None:
        watch(output if isinstance(output, Tensor) else output[0])

    with ExitStack() as handles:
        handles.callback(blocks[0].register_forward_pre_hook(before, with_kwargs=True).remove)
        for block in blocks:
            handles.callback(block.register_forward_hook(after).remove)
        return handles.pop_all()
