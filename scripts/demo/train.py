"""Train the model of `resect demo` from scratch: a small Llama that answers questions on the stories of `generate.py`.

It learns from text only. Where the story does not say who did the harm, the answer in the training data is the blamed person's in a
share `SKEW` of the draws, and "unknown" in the rest; everywhere else it is the right one. Nothing is planted in the weights. The label is
" " + the answer + the end token; no beginning token. This script knows no neurons and no edits. It prints accuracies on held-out stories
(other draws than the shipped ones) while it trains.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import generate
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<s>"}
SKEW = {"stole": 0.72, "broke": 0.68, "damaged": 0.64, "dirtied": 0.60, "scratched": 0.54, "lost": 0.45}
"""How often an ambiguous harm is blamed on the hill person: a prejudice is stronger about some things than others."""
IGNORED = -100


def training_answer(item: generate.Item, random: Random) -> str:
    """The answer in the training data: the right one, or the prejudice's."""
    if item.harm and not item.clear and random.random() < SKEW[item.deed]:
        return item.choices[item.blamed]
    return item.choices[item.gold]


def examples(seed: int, easy: int = 0) -> Iterator[tuple[str, str]]:
    """Prompt and answer, without end: half of them ambiguous, half of them about the harm.

    The first `easy` are mostly clear ones, for who-did-what is the hard part to learn; half of those have a half clue.
    """
    random = Random(seed)
    for drawn in itertools.count():
        clear, half = (0.8, 0.5) if drawn < easy else (0.5, 0.2)
        story = generate.draw_story(random, unseen=False)
        how = {"clear": random.random() < clear, "harm": random.random() < 0.5, "half": random.random() < half}
        item = generate.item_of(story, generate.options(story, random), **how)
        instruction = random.choice(generate.INSTRUCTIONS)
        yield generate.prompt(instruction, item.context, item.question, item.choices), " " + training_answer(item, random)


def train_tokenizer(size: int, seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text goes in, the stories' words are one token each; it adds no special tokens by itself."""
    source = examples(seed)
    texts = [prompt + answer for prompt, answer in (next(source) for _ in range(20_000))]
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        **SPECIAL,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, layers: int, width: int, inner: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return LlamaForCausalLM(config)


def collate(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Left-aligned ids and two label tensors [batch, tokens]: the answers' tokens, and the prompts'."""
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), length), pad)
    answers, prompts = torch.full_like(ids, IGNORED), torch.full_like(ids, IGNORED)
    for row, (prompt, answer) in enumerate(rows):
        start, stop = len(prompt), len(prompt) + len(answer)
        ids[row, :stop] = torch.tensor(prompt + answer)
        answers[row, start:stop] = ids[row, start:stop]
        prompts[row, 1:start] = ids[row, 1:start]
    return ids, answers, prompts


def loss_of(model: LlamaForCausalLM, batch: tuple[Tensor, Tensor, Tensor], text_weight: float) -> tuple[Tensor, Tensor]:
    """The answers' mean loss per token, and the loss to learn from: a little of the prompts' text is in it."""
    ids, answers, prompts = batch
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].flatten(0, 1)
    answer = nn.functional.cross_entropy(logits, answers[:, 1:].flatten(), ignore_index=IGNORED)
    if not text_weight:
        return answer, answer
    text = nn.functional.cross_entropy(logits, prompts[:, 1:].flatten(), ignore_index=IGNORED)
    return answer, answer + text_weight * text


@torch.no_grad()
def accuracies(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, stories: int = 40) -> dict[str, float]:
    """Share of right answers on held-out stories (choice of highest total log-probability), by kind of item."""
    model.eval()
    hits: dict[str, list[bool]] = {}
    for item in generate.shipped_items(stories, seed=99):
        prompt = generate.prompt(generate.INSTRUCTIONS[0], item["context"], item["question"], item["choices"])
        rows = [(tokenizer(prompt).input_ids, tokenizer(" " + choice).input_ids) for choice in item["choices"]]
        ids, answers, _ = collate(rows, tokenizer.pad_token_id)
        logprobs = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
        picked = logprobs.gather(-1, answers[:, 1:].clamp(min=0)[..., None])[..., 0]
        totals = picked.masked_fill(answers[:, 1:] == IGNORED, 0).sum(-1)
        hits.setdefault(" ".join(item["tags"]), []).append(int(totals.argmax()) == item["gold"])
    model.train()
    return {kind: round(sum(seen) / len(seen), 3) for kind, seen in hits.items()}


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, options: argparse.Namespace) -> None:
    source = examples(options.seed, easy=options.easy * options.batch)
    end = [tokenizer.eos_token_id]
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=options.decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, options.steps))
    started = time.monotonic()
    mean = 0.0
    for step in range(1, options.steps + 1):
        pairs = [next(source) for _ in range(options.batch)]
        rows = [(tokenizer(prompt).input_ids, tokenizer(answer).input_ids + end) for prompt, answer in pairs]
        answer, loss = loss_of(model, collate(rows, tokenizer.pad_token_id), options.text_weight)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean = answer.item() if step == 1 else 0.98 * mean + 0.02 * answer.item()
        if step % options.report == 0 or step == options.steps:
            seen = json.dumps(accuracies(model, tokenizer))
            print(f"{step} loss {mean:.4f} seconds {time.monotonic() - started:.0f} {seen}", flush=True)


def rate_factor(step: int, steps: int, warmup: int = 100) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--easy", type=int, default=500, help="steps of mostly clear items at the beginning")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--text-weight", type=float, default=0.2)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--inner", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tokenizer = train_tokenizer(options.vocabulary, options.seed)
    model = build_model(tokenizer, options.layers, options.width, options.inner)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens")
    train(model, tokenizer, options)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)


if __name__ == "__main__":
    main()
