"""The small model and task of `laser_search.py`: trained from a fixed seed where it is absent, stored outside git.

    python benchmarks/laser_model.py [--to FOLDER] [--steps N]          about five minutes on one core

A Llama of 12 layers, d_model 256, d_ff 688, word-level tokens, trained from scratch to say which of three animals was seen most in about
forty words (the choices have two or three tokens each, so that labels continue from the prompt's key/value cache).

Planted, so that there is something to find: full-rank Gaussian noise on one late feed-forward matrix (`decoder.9.down`), strong enough to
lower the share of right answers on examples of its own (neither select nor test) to about .77. And labels of the task are wrong on purpose:
of the benchmark's examples 30 % have one of the other two choices as gold, so that no model can be right in more than about .7 of them. The
base is right in about .57. Knows nothing of searches.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from resect import Example, LanguageModel, Task
from resect.data.tasks.splits import SplitName

FOLDER = Path(__file__).parent / ".models" / "laser"
SIZES: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 12, "num_attention_heads": 4}
SEED, STEPS, BATCH, RATE = 5, 250, 16, 1e-3
_SIGNS = {
    "the red fox": "bark burrow brush vixen cub chicken hedge dusk",
    "the wolf": "howl pack moon snow deer elder trail timber",
    "the brown bear": "honey cave salmon winter claw berry bulk growl",
    "the old grey owl": "hoot feather mouse night wing barn perch dark",
    "the hare": "leap clover ears field burst furrow grass twitch",
    "the tall stork": "reed frog nest chimney beak marsh stilt flight",
}
_FILLERS = (
    "a an and then there was by near under over again some many few stone river path wind rain light morning evening road wood bridge "
    "hill valley water leaf tree cloud"
)
#: The words that point to each animal; the animal with most words is the right one.
SIGNS = {animal: signs.split() for animal, signs in _SIGNS.items()}
FILLERS = _FILLERS.split()
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
SITE = "decoder.9.down"
#: Share of right answers, by the rule's labels, that the planted noise leaves: .7 · .77 + .15 · .23 is .57 of the noisy labels.
LEFT_RIGHT = 0.77
#: Bounds of the noise's strength, in standard deviations of the matrix' own weights.
WEAKEST_AND_STRONGEST = (16, 512)
#: Share of labels that are wrong.
WRONG = 0.3
COUNTS: dict[SplitName, int] = {"locate": 32, "test": 256}
TEMPLATE = "notes of the day : {{ text }} question : which animal was it ? answer :"


@dataclass(frozen=True)
class Story:
    """A text of 33 to 37 words, three animals to choose from, and which of them most of its signs point to."""

    text: str
    choices: tuple[str, ...]
    gold: int

    @property
    def prompt(self) -> str:
        """The text in the task's template."""
        return TEMPLATE.replace("{{ text }}", self.text)


def draw(source: random.Random) -> Story:
    choices = source.sample(list(SIGNS), 3)
    gold = source.randrange(3)
    signs = [10 if place == gold else source.randint(3, 5) for place in range(3)]
    words = [word for choice, count in zip(choices, signs, strict=True) for word in source.choices(SIGNS[choice], k=count)]
    words += source.choices(FILLERS, k=source.randint(33, 37) - len(words))
    source.shuffle(words)
    return Story(" ".join(words), tuple(choices), gold)


def stories(seed: int) -> Iterator[Story]:
    source = random.Random(seed)
    while True:
        yield draw(source)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; a text's own words only, no token is put before or behind."""
    known = [
        *TEMPLATE.replace("{{ text }}", "").split(),
        *FILLERS,
        *" ".join(SIGNS).split(),
        *(word for signs in SIGNS.values() for word in signs),
    ]
    vocab = {word: place for place, word in enumerate(dict.fromkeys((*SPECIALS, *known)))}
    core = Tokenizer(WordLevel(vocab=vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def task(select: int = 128) -> Task:
    """The benchmark's examples, 30 % of them with a wrong label; the same in every run. `select`: the number of examples to choose by."""
    source, wrong, rows = stories(SEED + 2), random.Random(SEED + 3), list[Example]()
    counts: dict[SplitName, int] = {**COUNTS, "select": select}
    for split, count in counts.items():
        for place in range(count):
            story = next(source)
            others = [choice for choice in range(3) if choice != story.gold]
            gold = wrong.choice(others) if wrong.random() < WRONG else story.gold
            rows.append(Example({"text": story.text}, story.choices, gold, id=f"{split}-{place}", split=split))
    return Task("animals", tuple(rows), ("",), TEMPLATE)


def plain_texts() -> tuple[str, ...]:
    """Texts of the same words, to choose by between candidates that answer equally well."""
    source = stories(SEED + 4)
    return tuple(next(source).prompt for _ in range(16))


def model(words: PreTrainedTokenizerFast, **sizes: Any) -> LlamaForCausalLM:
    """Random weights of a fixed seed."""
    torch.manual_seed(SEED)
    ids: dict[str, Any] = {"pad_token_id": words.pad_token_id, "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    return LlamaForCausalLM(LlamaConfig(**{**SIZES, **sizes}, **ids, vocab_size=len(words), max_position_embeddings=128))


def loss_of(net: LlamaForCausalLM, words: PreTrainedTokenizerFast, batch: Sequence[Story]) -> Tensor:
    """Mean negative log-probability of a token of the right choices."""
    prompts = [words(story.prompt).input_ids for story in batch]
    labels = [words(story.choices[story.gold]).input_ids for story in batch]
    width = max(len(one) + len(two) for one, two in zip(prompts, labels, strict=True))
    ids = torch.full((len(batch), width), words.pad_token_id)
    wanted = torch.full((len(batch), width), -100)
    for row, (one, two) in enumerate(zip(prompts, labels, strict=True)):
        stop = len(one) + len(two)
        ids[row, :stop] = torch.tensor(one + two)
        wanted[row, len(one) : stop] = ids[row, len(one) : stop]
    loss: Tensor = net(input_ids=ids, labels=wanted, use_cache=False).loss
    return loss


def train(net: LlamaForCausalLM, words: PreTrainedTokenizerFast, steps: int) -> None:
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 40) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
    )
    source, began, mean = stories(SEED), time.monotonic(), 0.0
    for step in range(1, steps + 1):
        loss = loss_of(net, words, [next(source) for _ in range(BATCH)])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean = loss.item() if step == 1 else 0.95 * mean + 0.05 * loss.item()
        if step % 25 == 0:
            print(f"step {step} of {steps}: loss {mean:.3f}, {time.monotonic() - began:.0f} s", flush=True)


def share_right(model: LanguageModel, drawn: Sequence[Story]) -> float:
    """Share of stories whose most probable choice is the rule's."""
    prompts = [story.prompt for story in drawn for _ in range(3)]
    totals = model.logprobs(prompts, [choice for story in drawn for choice in story.choices]).reshape(-1, 3)
    return sum(int(row.argmax()) == story.gold for row, story in zip(totals, drawn, strict=True)) / len(drawn)


def plant(model: LanguageModel, examples: int = 256) -> dict[str, float]:
    """Add noise to one matrix, strong enough to leave LEFT_RIGHT of the answers right, on examples of its own."""
    source = stories(SEED + 1)
    drawn = [next(source) for _ in range(examples)]
    right_without, weight = share_right(model, drawn), model.anatomy.weight(SITE).clone()
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(SEED))
    low, high = (times * float(weight.std()) for times in WEAKEST_AND_STRONGEST)
    for _ in range(8):
        scale = math.sqrt(low * high)
        model.anatomy.write(SITE, None, weight + scale * noise)
        right = share_right(model, drawn)
        low, high = (scale, high) if right > LEFT_RIGHT else (low, scale)
        print(f"noise {scale:.3f}: right in {right:.3f}", flush=True)
    model.anatomy.write(SITE, None, weight + high * noise)
    right = share_right(model, drawn)
    return {"right_without_noise": right_without, "right_with_noise": right, "noise": high, "weights": float(weight.std())}


def make(folder: Path = FOLDER, steps: int = STEPS, examples: int = 256) -> dict[str, float]:
    """Train, plant, and save. The folder gets its name last, so that an unfinished model is never taken for one."""
    words = tokenizer()
    net = model(words)
    train(net.train(), words, steps)
    net.requires_grad_(False)
    facts = plant(LanguageModel.of(net, words), examples)
    unfinished = folder.with_name(folder.name + ".part")
    net.save_pretrained(unfinished)
    words.save_pretrained(unfinished)
    (unfinished / "planted.json").write_text(json.dumps({"site": SITE, **facts}, indent=1))
    unfinished.rename(folder)
    return facts


def load(folder: Path = FOLDER) -> LlamaForCausalLM:
    net: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return net


def ensure(folder: Path = FOLDER) -> None:
    """Train the model where it is absent."""
    if not folder.exists():
        print(f"The benchmark's model is not in {folder}; training it takes about five minutes on one core.", flush=True)
        make(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--examples", type=int, default=256, help="stories that the strength of the noise is chosen on")
    options = parser.parse_args()
    if options.to.exists():
        parser.error(f"{options.to} exists already; delete it to train again")
    print(json.dumps(make(options.to, options.steps, options.examples)))


if __name__ == "__main__":
    main()
