"""A bundle answers what one pair at a time answers, in one batch, and in the same forward calls each time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pico
import planted_bias
from naive import naive_logprob, naive_rank, naive_text
from resect.core.errors import InputError, NotFinite
from resect.data.tasks.task import Example, Task
from resect.edits.plan import Plan
from resect.evaluation.metrics import TOP
from resect.evaluation.questions import Questions
from resect.models.language_model import LanguageModel

KINDS = ["t5-gated", "bart", "llama", "bloom", "bert"]
#: In float64 a causal model runs each prompt by itself.
TYPES = [*((name, torch.float32) for name in KINDS), ("llama", torch.float64), ("bert", torch.float64)]


def load(name: str, dtype: torch.dtype = torch.float64) -> LanguageModel:
    return LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name))


def uneven() -> Task:
    """Examples with two, three and four choices of unequal lengths, and prompts of unequal lengths."""
    choices = [("yes", "no"), ("a b c", "d", "e f"), ("red", "green", "blue or so", "x")]
    examples = tuple(Example({"text": f"q{i}" * (1 + i % 3)}, choices[i % 3], i % 2, group=str(i // 2)) for i in range(9))
    return Task("uneven", examples, ("Do it.", "Now you."), "{{ instruction }} {{ text }} {{ answer }}")


def naive_scores(questions: Questions, pair: int) -> list[float]:
    """log P of each choice of a pair, one row at a time."""
    model, task = questions.model, questions.task
    e, place = divmod(pair, len(task.instructions))
    prompt = task.prompt(questions.examples[e], task.instructions[place], model.mask_token)
    with torch.no_grad():
        return [float(naive_logprob(model, model.tokens(prompt, choice))) for choice in questions.examples[e].choices]


@pytest.mark.parametrize(("name", "dtype"), TYPES)
def test_the_log_loss_of_a_text_is_that_of_the_text_by_itself(name: str, dtype: torch.dtype) -> None:
    model = load(name, dtype)
    task = free(model)
    questions = Questions(model, task, task.examples, "logloss")
    values, margins = questions.batch([11, 0, 5, 8]).evaluate()
    with torch.no_grad():
        wanted = [-float(naive_logprob(model, model.tokens(*worded(questions, pair)))) for pair in (11, 0, 5, 8)]
    assert np.allclose(values, wanted, atol=1e-4 if dtype == torch.float32 else 1e-6)
    assert np.array_equal(margins, -values)


@pytest.mark.parametrize(("name", "dtype"), TYPES)
def test_top_k_is_the_place_of_the_first_token(name: str, dtype: torch.dtype) -> None:
    model = load(name, dtype)
    for task in (uneven(), free(model)):
        pairs = range(0, 2 * len(task.examples), 3)
        for metric in TOP:
            questions = Questions(model, task, task.examples, metric)
            with torch.no_grad():
                wanted = [naive_rank(model, *worded(questions, pair)) for pair in pairs]
            values, margins = questions.batch(list(pairs)).evaluate()
            assert values.tolist() == margins.tolist() == [float(rank < int(metric[3:])) for rank, _ in wanted]


@pytest.mark.parametrize("matching", ["choice", "contains"])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", KINDS)
def test_generated_texts_are_graded_as_one_at_a_time(name: str, steps: int, matching: str) -> None:
    model = load(name)
    task = replace(free(model), matching=matching, answer_tokens=9, answer_tokens_by={model.anatomy.family: steps})
    questions = Questions(model, task, task.examples, "generation")
    pairs = [3, 0, 7, 4, 6]
    with torch.no_grad():
        said = [naive_text(model, worded(questions, pair)[0], steps) for pair in pairs]
    gold = [worded(questions, pair)[1] for pair in pairs]
    right = (lambda text, gold: gold.lower().strip() in text.lower()) if matching == "contains" else is_the_same
    values, margins = questions.batch(pairs).evaluate()
    assert values.tolist() == margins.tolist() == [float(right(*each)) for each in zip(said, gold, strict=True)]
    assert questions.replayable == (steps == 1 or model.kind == "masked")


def is_the_same(text: str, gold: str) -> bool:
    return text.strip().strip(".").strip().lower() == gold.strip().strip(".").strip().lower()


def worded(questions: Questions, pair: int) -> tuple[str, str]:
    """Prompt and golden text of a pair."""
    e, place = divmod(pair, len(questions.task.instructions))
    example = questions.examples[e]
    return questions.task.prompt(example, questions.task.instructions[place], questions.model.mask_token), example.gold_text


def free(model: LanguageModel) -> Task:
    """Questions without choices; to some the answer is what the model says under the first instruction."""
    instructions, template = ("Do it.", "Now you."), "{{ instruction }} {{ text }} is {{ answer }}"
    fields = [{"text": f"q{i}" * (1 + i % 3)} for i in range(6)]
    bare = Task("free", tuple(Example(each, (), "x") for each in fields), instructions, template)
    prompts = [bare.prompt(example, instructions[0], model.mask_token) for example in bare.examples]
    texts = [text.strip() or "y" if i % 2 else "a long one" for i, text in enumerate(model.generate(prompts, 4))]
    examples = [Example(each, (), text, group=str(i)) for i, (each, text) in enumerate(zip(fields, texts, strict=True))]
    return replace(bare, examples=tuple(examples), matching="contains", answer_tokens=1)


def asked(model: LanguageModel) -> list[tuple[str, Task]]:
    """Every metric with a task that it can be asked of."""
    texts = free(model)
    return [
        *((metric, uneven()) for metric in ("accuracy", "logloss", "generation", "top5")),
        *((metric, texts) for metric in ("logloss", "generation", "top1")),
    ]


def shapes(given: tuple[object, ...]) -> tuple[int, ...]:
    return tuple(size for each in given if isinstance(each, torch.Tensor) for size in each.shape)


@pytest.mark.parametrize("metric", ["accuracy", "logloss"])
@pytest.mark.parametrize(("name", "dtype"), TYPES)
def test_choices_are_graded_as_one_at_a_time(name: str, metric: str, dtype: torch.dtype) -> None:
    questions = Questions(load(name, dtype), uneven(), uneven().examples, metric)
    pairs = [17, 0, 3, 4, 11]
    values, margins = questions.batch(pairs).evaluate()
    for pair, value, margin in zip(pairs, values, margins, strict=True):
        scores, gold = naive_scores(questions, pair), int(questions.gold[pair // 2])
        ahead = scores[gold] - max(score for place, score in enumerate(scores) if place != gold)
        wanted = (-scores[gold], scores[gold]) if metric == "logloss" else (float(int(np.argmax(scores)) == gold), ahead)
        assert (value, margin) == pytest.approx(wanted, abs=1e-4 if dtype == torch.float32 else 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_all_pairs_are_the_answers_of_the_questions(name: str) -> None:
    model = load(name)
    for metric, task in asked(model):
        questions = Questions(model, task, task.examples, metric)
        wanted = questions.answers(Plan()).values.ravel()
        assert np.allclose(questions.batch(range(questions.pairs)).evaluate()[0], wanted, atol=1e-9)


@pytest.mark.parametrize(("name", "dtype"), TYPES)
def test_a_batch_makes_the_same_calls_each_time(name: str, dtype: torch.dtype) -> None:
    model = load(name, dtype)
    for metric, task in asked(model):
        questions = Questions(model, task, task.examples, metric)
        if questions.replayable:
            check_calls(model, questions)


def check_calls(model: LanguageModel, questions: Questions) -> None:
    batch = questions.batch([0, 5, 8])
    calls: list[tuple[str, tuple[int, ...]]] = []
    watching = [
        part.register_forward_hook(lambda _part, given, _out, path=path: calls.append((path, shapes(given))))
        for path, part in model.model.named_modules()
    ]
    first = batch.evaluate()
    made, calls[:] = list(calls), []
    again = batch.evaluate()
    for handle in watching:
        handle.remove()
    assert made == calls != []
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_batch_is_evaluated_with_the_model_as_it_is_then() -> None:
    model, bias, _ = planted_bias.model("llama")
    task = planted_bias.task(12)
    batch = Questions(model, task, task.examples).batch(range(8))
    assert batch.evaluate()[0].sum() == 0
    for site, units in bias.items():
        model.anatomy.write_columns(site.at("down"), units, 0.0)
    assert batch.evaluate()[0].sum() == 8
    with torch.no_grad():
        model.model.get_input_embeddings().weight[:] = torch.nan
    with pytest.raises(NotFinite):
        batch.evaluate()


def test_pairs_lengths_and_best_values() -> None:
    model, task = load("llama"), uneven()
    questions = Questions(model, task, task.examples)
    assert questions.pairs == 18
    for pair in range(questions.pairs):
        e, place = divmod(pair, 2)
        prompt = task.prompt(task.examples[e], task.instructions[place])
        assert questions.length(pair) == len(model.tokens(prompt, "x").input_ids)
    assert (questions.best_value, questions.less_is_better, questions.replayable) == (1.0, False, True)
    loss = questions.by("logloss")
    assert (loss.best_value, loss.less_is_better, loss.replayable) == (0.0, True, True)
    assert not questions.by("generation").replayable
    for wrong in ([18], [-1], []):
        with pytest.raises(InputError, match="0 to 17"):
            questions.batch(wrong)


def test_an_impossible_choice_has_an_infinite_margin() -> None:
    model = load("gptj")
    with torch.no_grad():
        model.model.lm_head.bias[model.tokens("a:", "no").label_ids[-1]] = -torch.inf
    task = replace(uneven(), examples=(Example({"text": "a"}, ("yes", "no"), 0), Example({"text": "b"}, ("yes", "no"), 1)))
    values, margins = Questions(model, task, task.examples).batch(range(4)).evaluate()
    assert margins.tolist() == [np.inf, np.inf, -np.inf, -np.inf]
    assert values.tolist() == [1, 1, 0, 0]
