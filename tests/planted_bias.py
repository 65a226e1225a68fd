"""Tiny models with planted bias: a few feed-forward units push every answer to "b", and a few weaker ones to the gold answer "g"."""

import json
from pathlib import Path

import torch

import pico
from resect.core.address import Neurons, Site
from resect.data.tasks.task import Example, Task
from resect.models.hooks import gradient_hooks
from resect.models.language_model import LanguageModel

BIAS_UNITS, SKILL_UNITS = (3, 11, 17), (5, 23)


def task(groups: int = 60) -> Task:
    """Questions whose answer is g, never b; the choices are in both orders."""
    examples = []
    for number in range(groups):
        choices = ("b", "g") if number % 2 else ("g", "b")
        tags = ("odd",) if number % 2 else ("even",)
        examples.append(Example({"text": f"question {number * 37 % 101}"}, choices, choices.index("g"), group=str(number), tags=tags))
    return Task("planted", tuple(examples), ("Say it.", "Answer:"), "{{ instruction }} {{ text }}: {{ answer }}")


TASK_FILE = """
name = "planted"
data = "items.jsonl"
template = "{{ instruction }} {{ text }}: "
instructions = ["Say it.", "Answer:"]
choices = "choices"
gold = "gold"
group = "group"
tags = "tags"
"""


def write(folder: Path) -> None:
    """Write the llama of `model` and the `task` as files: model/, items.jsonl, task.toml, and a text.txt."""
    planted, _, _ = model("llama")
    planted.model.to(torch.float32).save_pretrained(folder / "model")
    planted.tokenizer.save_pretrained(folder / "model")
    rows = [{"text": e.fields["text"], "choices": e.choices, "gold": e.gold, "group": e.group, "tags": e.tags} for e in task().examples]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.toml").write_text(TASK_FILE)
    (folder / "text.txt").write_text("a line to read\nand another one\n")


def model(name: str, seed: int = 0) -> tuple[LanguageModel, Neurons, Neurons]:
    """Returns a pico model in float64, its planted bias units and its planted skill units, all at the `up` of its last layer.

    The skill is just strong enough to make every answer g, then the bias just strong enough to make every answer b: a model that is too
    certain has no gradient.
    """
    planted = LanguageModel.of(pico.build(name, seed, dtype=torch.float64), pico.tokenizer(name), name=name)
    anatomy = planted.anatomy
    for site in anatomy.sites:  # everything else is weak
        anatomy.write(site, None, anatomy.weight(site) * 0.2)
    site = [site for site in anatomy.sites if site.role == "up"][-1]
    inward, outward = _directions(planted, site)
    for units in (SKILL_UNITS, BIAS_UNITS):
        anatomy.write(site, units, inward.expand(len(units), -1))
        if anatomy.gated:
            anatomy.write(site.at("gate"), units, inward.expand(len(units), -1))
        anatomy.write_columns(site.at("down"), units, 0.0)
    for units, direction, preference in ((SKILL_UNITS, -outward, -0.3), (BIAS_UNITS, outward, 0.3)):
        _strengthen(planted, site, units, direction, preference)
    return planted, Neurons({site: BIAS_UNITS}), Neurons({site: SKILL_UNITS})


def _strengthen(planted: LanguageModel, site: Site, units: tuple[int, ...], direction: torch.Tensor, preference: float) -> None:
    """Increase the units' output in `direction` until log P(b) − log P(g) is beyond `preference` for every prompt."""
    prompts, strength = _prompts(planted), 0.02
    while True:
        planted.anatomy.write_columns(site.at("down"), units, strength * direction[:, None].expand(-1, len(units)))
        difference = planted.logprobs(prompts, ["b"] * len(prompts)) - planted.logprobs(prompts, ["g"] * len(prompts))
        if (difference * preference > preference**2).all():
            return
        strength *= 1.2


def _prompts(planted: LanguageModel) -> list[str]:
    questions = task(8)
    return [questions.prompt(example, questions.instructions[0], planted.mask_token) for example in questions.examples]


def _directions(planted: LanguageModel, site: Site) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the units' input direction (the mean input), and the output direction that moves log P(b) − log P(g), by autograd."""
    anatomy = planted.anatomy
    prompts = _prompts(planted)
    inputs_seen: list[torch.Tensor] = []
    handle = anatomy.module(site).register_forward_pre_hook(lambda _module, inputs: inputs_seen.append(inputs[0].detach()))
    gradients: list[torch.Tensor] = []
    rows = [planted.tokens(prompt, choice) for choice in "bg" for prompt in prompts]
    sign = torch.tensor([1.0] * len(prompts) + [-1.0] * len(prompts))
    with gradient_hooks(anatomy, [site.at("down")], lambda _site, _values, gradient: gradients.append(gradient)):
        planted.model.requires_grad_(False)
        (planted.forward.label_logprobs(planted.forward.collate(rows)).sum(dim=1) * sign).sum().backward()
    handle.remove()
    inward = inputs_seen[0].reshape(-1, inputs_seen[0].shape[-1]).mean(dim=0)
    outward = gradients[0].reshape(-1, gradients[0].shape[-1]).sum(dim=0)
    return 3 * inward / inward.norm(), outward / outward.norm()
