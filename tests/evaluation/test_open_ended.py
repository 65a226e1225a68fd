"""Open answers: what is written is what a plain loop would write, finished work stays done, and tables say what rows hold."""

import copy
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import pytest
import torch

import bilingual
import pico
from naive import naive_logits
from resect.core.errors import InputError, PromptTooLong
from resect.core.execution import MemoryJournal, Workers, context_of
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.answer_ratings import ITEM_SIZE, default_identifier, rate_answers, rated_answers
from resect.evaluation.open_ended import generate_answers, longest_answer, open_questions
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel

OFF = {language: Plan((Scale(units, 0.0),)) for language, units in bilingual.UNITS.items()}


class ByWords:
    """An identifier for the two planted languages."""

    def identify(self, texts: Sequence[str]) -> list[str | None]:
        found = []
        for text in texts:
            words = [sum(word in text.split() for word in several) for several in bilingual.WORDS.values()]
            found.append(None if max(words) == 0 else tuple(bilingual.WORDS)[words.index(max(words))])
        return found


class Counting:
    """A judge that likes long answers, gives up on empty ones, and knows what it was asked."""

    url, model = "http://localhost/v1", "counting"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def rate(self, question: str, answer: str, language: str) -> int | None:
        self.asked.append((question, answer, language))
        return min(5, len(answer.split())) or None


class Interrupted:
    """An engine that is stopped when so many items are done."""

    def __init__(self, most: int) -> None:
        self.most, self.done = most, 0

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any, None, None]:
        with context_of(work):
            for item in items:
                if self.done == self.most:
                    raise KeyboardInterrupt
                self.done += 1
                yield work(item)


def naive_answer(model: LanguageModel, prompt: str, steps: int) -> str:
    """Greedy, one whole run a token; the score of what was read or said before is divided by 1.1, or multiplied where it is negative."""
    (asked,) = model.encoder.encode_open_prompts([prompt])
    said: list[int] = []
    for _ in range(steps):
        with torch.no_grad():
            logits = naive_logits(model, Tokens(asked, (*said, 0)))[-1]
        before = [model.model.config.decoder_start_token_id, *said] if model.kind == "encoder-decoder" else [*asked, *said]
        for token in set(before):
            logits[token] *= 1.1 if logits[token] < 0 else 1 / 1.1
        said.append(int(logits.argmax()))
        if said[-1] == model.tokenizer.eos_token_id:
            break
    return str(model.tokenizer.decode(said, skip_special_tokens=True))


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5-gated"])
@pytest.mark.parametrize("pads_with_the_end", [False, True])
def test_answers_are_those_of_a_plain_loop(name: str, pads_with_the_end: bool) -> None:
    tokenizer = copy.deepcopy(pico.tokenizer(name))
    if pads_with_the_end and name != "t5-gated":  # padding must not count as an end that was said before
        tokenizer.pad_token = tokenizer.eos_token
    model = LanguageModel.of(pico.build(name, dtype=torch.float64), tokenizer)
    prompts = ["Q: Who was it, the boy or the girl?\nA:", "x", "Q: Why?\nA:"]
    stack = "encoder" if model.kind == "encoder-decoder" else "decoder"
    plan = Plan((Scale({f"{stack}.0.act": [1, 2, 3, 4, 5, 6, 7], "decoder.1.act": [1, 2, 3, 4, 5, 6, 7]}, 0.0),))
    base = [naive_answer(model, prompt, 6) for prompt in prompts]
    assert generate_answers(model, Plan(), prompts, new_tokens=6) == base
    with plan.applied(model):
        wanted = [naive_answer(model, prompt, 6) for prompt in prompts]
    assert generate_answers(model, plan, prompts, new_tokens=6) == wanted != base
    assert generate_answers(model, Plan(), prompts, new_tokens=6) == base


@pytest.mark.slow
def test_finished_items_are_not_computed_again() -> None:
    model, journal = bilingual.model(), MemoryJournal()
    prompts = bilingual.texts("en", 2 * ITEM_SIZE + 3)
    wanted = generate_answers(model, OFF["fr"], prompts, new_tokens=3)
    assert wanted == [generate_answers(model, OFF["fr"], [prompt], new_tokens=3)[0] for prompt in prompts]
    with pytest.raises(KeyboardInterrupt):
        generate_answers(model, OFF["fr"], prompts, new_tokens=3, workers=Workers(journal=journal, engine=Interrupted(2)))
    assert not model.model.model.layers[0].mlp.down_proj._forward_pre_hooks
    rest, reported = Interrupted(1), []
    found = generate_answers(
        model, OFF["fr"], prompts, new_tokens=3, workers=Workers(journal=journal, engine=rest, progress=lambda *each: reported.append(each))
    )
    assert found == wanted
    assert rest.done == 1
    assert reported == [("answering", done, 3) for done in range(4)]
    for plan, tokens in ((OFF["en"], 3), (OFF["fr"], 2)):  # other work has other entries
        again = Interrupted(3)
        generate_answers(model, plan, prompts, new_tokens=tokens, workers=Workers(journal=journal, engine=again))
        assert again.done == 3


def test_what_cannot_be_answered_is_refused_before_any_work() -> None:
    masked = LanguageModel.of(pico.build("bert"), pico.tokenizer("bert"), name="bert")
    model, reported = bilingual.model(), []
    tell: dict[str, Any] = {"workers": Workers(progress=lambda *each: reported.append(each))}
    with pytest.raises(InputError, match="bert fills masks"):
        generate_answers(masked, Plan(), ["a"], **tell)
    with pytest.raises(PromptTooLong, match=r"context of 128.*--new-tokens 124 fits"):
        generate_answers(model, Plan(), ["the house", "the house with water"], new_tokens=125, **tell)
    with pytest.raises(PromptTooLong, match=r"1 of 2 prompts with up to 1 new tokens .* the longest has 131.*shorten") as caught:
        generate_answers(model, Plan(), ["the house", "the " * 130], new_tokens=125, **tell)
    assert "fits" not in str(caught.value)
    with pytest.raises(InputError, match="there are 0"):
        generate_answers(model, Plan(), [], **tell)
    with pytest.raises(InputError, match="and 0"):
        generate_answers(model, Plan(), ["the house"], new_tokens=0, **tell)
    questions = {"en": ["the house"], "fr": ["maison " * 120]}
    with pytest.raises(PromptTooLong):
        open_questions(model, questions, {}, None, identifier=None, judge=None, new_tokens=10, **tell)
    assert reported == []


@pytest.mark.parametrize("name", ["gpt2", "t5-gated"])
def test_what_fits_after_prompts_can_be_generated_and_not_a_token_more(name: str) -> None:
    model = LanguageModel.of(pico.build(name), pico.tokenizer(name))
    prompts = ["x", "Q: Who was it, the boy or the girl?\nA:"]
    most = longest_answer(model, prompts)
    if model.kind == "encoder-decoder":
        assert most is None
        return
    assert most is not None
    generate_answers(model, Plan(), prompts, new_tokens=most)
    with pytest.raises(PromptTooLong, match=f"--new-tokens {most} fits"):
        generate_answers(model, Plan(), prompts, new_tokens=most + 1)


def test_open_questions_are_answered_unedited_with_units_off_and_at_random() -> None:
    model, judge, reported = bilingual.model(), Counting(), []
    questions = {"en": bilingual.texts("en", 3), "fr": bilingual.texts("fr", 2)}
    plans = {**OFF, "none": Plan()}
    control = {language: Plan((Scale({bilingual.SITE: [9, 11]}, 0.0),)) for language in questions}
    rows, summary = open_questions(
        model,
        questions,
        plans,
        control,
        identifier=ByWords(),
        judge=judge,
        suffix={"fr": " 1"},
        new_tokens=4,
        workers=Workers(progress=lambda *each: reported.append(each)),
    )
    assert summary["n"] == {"en": 3, "fr": 2}
    accuracy = summary["language_accuracy"]
    assert accuracy["base"] == accuracy["random"] == {"en": 1.0, "fr": 1.0}
    assert accuracy["deactivated"] == {"en": {"en": 0.0, "fr": 1.0}, "fr": {"en": 1.0, "fr": 0.0}, "none": {"en": 1.0, "fr": 1.0}}
    assert summary["quality"]["base"] == {"en": 4.0, "fr": 4.0}
    assert summary["quality"]["deactivated"]["en"] == {"en": None, "fr": 4.0}
    assert (summary["unjudged"], summary["new_tokens"]) == (5, 4)
    empty = [(row["deactivated"], row["language"]) for row in rows if not row["answer"].strip()]
    for off, counted in {None: summary["empty"]["base"], "random": summary["empty"]["random"], **summary["empty"]["deactivated"]}.items():
        assert counted == {language: empty.count((off, language)) for language in questions}
    assert summary["empty"]["deactivated"]["en"] == {"en": 3, "fr": 0}
    assert summary["untold"]["base"] == summary["untold"]["deactivated"]["en"] == {"en": 0, "fr": 0}
    assert len(rows) == 5 * 5
    assert [row["deactivated"] for row in rows[:5]] == [None, "random", "en", "fr", "none"]
    assert {row["id"] for row in rows} == {"en/0", "en/1", "en/2", "fr/0", "fr/1"}
    first = rows[15]
    assert first["prompt"] == f"Q: {questions['fr'][0]} 1\nA:"
    assert first["answer"] == generate_answers(model, Plan(), [first["prompt"]], new_tokens=4)[0]
    assert (first["language"], first["identified"], first["quality"]) == ("fr", "fr", 4)
    assert len(judge.asked) == len(set(judge.asked)), "nothing is rated twice"
    assert {each for each in judge.asked if each[2] == "fr"} <= {(q, row["answer"], "fr") for q in questions["fr"] for row in rows}
    answered = [each for each in reported if each[0] == "answering open questions"]
    assert answered == [("answering open questions", done, 8) for done in range(9)]


def test_what_is_not_measured_is_null() -> None:
    model = bilingual.model()
    rows, summary = open_questions(model, {"en": bilingual.texts("en", 2)}, OFF, None, identifier=None, judge=None, new_tokens=3)
    assert summary["language_accuracy"] is summary["quality"] is None
    assert summary["untold"] is None
    assert summary["empty"]["base"] == {"en": 0}
    assert summary["unjudged"] == 0
    assert {(row["identified"], row["quality"]) for row in rows} == {(None, None)}
    _, summary = open_questions(model, {"en": bilingual.texts("en", 2)}, OFF, None, identifier=ByWords(), judge=None, new_tokens=3)
    assert summary["language_accuracy"]["random"] is None


@pytest.mark.slow
def test_units_off_and_the_real_identifier() -> None:
    pytest.importorskip("lingua")
    questions = {language: bilingual.texts(language, 4) for language in bilingual.WORDS}
    identifier = default_identifier()
    assert identifier.identify([" of the model's tokenizer.", "?"]) == ["en", None], "short as it is"
    _, summary = open_questions(bilingual.model(), questions, OFF, None, identifier=identifier, judge=None, new_tokens=10)
    accuracy = summary["language_accuracy"]
    assert accuracy["base"] == {"en": 1.0, "fr": 1.0}
    assert accuracy["deactivated"] == {"en": {"en": 0.0, "fr": 1.0}, "fr": {"en": 1.0, "fr": 0.0}}


def test_ratings_are_stored_for_one_judge() -> None:
    journal, judge = MemoryJournal(), Counting()
    asked = [(f"q{place % 40}", "one two", "en") for place in range(80)]
    assert set(rate_answers(judge, asked, workers=Workers(journal=journal)).values()) == {2}
    assert len(judge.asked) == 40
    rate_answers(judge, asked, workers=Workers(journal=journal))
    assert len(judge.asked) == 40
    other = Counting()
    other.model = "another"
    rate_answers(other, asked, workers=Workers(journal=journal))
    assert len(other.asked) == 40
    assert rate_answers(None, asked[:2]) == {asked[0]: None, asked[1]: None}


def test_a_share_counts_the_unidentified_as_wrong_and_a_mean_leaves_out_the_unrated() -> None:
    found = rated_answers(["the house", "maison", "???", "water"], ByWords(), [5, None, None, 2])
    assert found.matches_language("en") == [True, False, False, True]
    assert (found.accuracy("en"), found.accuracy("fr-CA"), found.mean_quality) == (0.5, 0.25, 3.5)
    assert rated_answers(["x"], None).mean_quality is None
    silent = rated_answers(["", " \n", "???", "the water"], ByWords())
    assert (silent.empty, silent.unidentified) == (2, 1)
