"""Candidates score as in a plain run, and the model stays as it was."""

import numpy as np
import pytest
import torch

import pico
from resect.core.errors import NotFinite
from resect.core.execution import MemoryJournal, Workers
from resect.data.tasks.task import Example, Task
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Questions
from resect.evaluation.text_passages import Passages
from resect.models.language_model import LanguageModel
from resect.search.candidate_scoring import CandidateScorer

ROWS = [Example({"text": f"thing {n * 7 % 13}" + " again" * (n % 4)}, ("yes", "no", "maybe so"), n % 3, group=str(n)) for n in range(8)]
TASK = Task("pico", ROWS, ("", "Say:"), "{{ instruction }} {{ text }}: {{ answer }}")


def questions_of(name, metric="accuracy", dtype=torch.float32):
    model = LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name), batch_size=6)
    return Questions(model, TASK, TASK.examples, metric)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "metric"), [("gptj", "logloss"), ("t5", "logloss"), ("roberta", "logloss"), ("opt", "top5")])
def test_values_are_those_of_a_plain_run(name, metric):
    questions = questions_of(name, metric)
    scorer = CandidateScorer(questions, SvdCache(questions.model.anatomy))
    assert scorer.base == pytest.approx(questions.answers(Plan()).values.flatten(), rel=1e-4)
    for site in questions.model.anatomy.sites[::3]:
        edit = ReduceRank(site, 0.3)
        plain = questions.answers(Plan((edit,))).values.flatten()
        assert scorer.values((edit,)) == pytest.approx(plain, rel=1e-4), str(site)
        score = scorer.complete_score(edit)
        assert scorer.mean(score.total) == pytest.approx(plain.mean(), rel=1e-4)


@pytest.mark.slow
def test_sites_may_come_in_any_order():
    questions = questions_of("bart", "logloss")
    scorer = CandidateScorer(questions, SvdCache(questions.model.anatomy))
    sites = [questions.model.anatomy.sites[place] for place in np.random.default_rng(0).permutation(len(questions.model.anatomy.sites))[:8]]
    for site in sites:
        edit = ReduceRank(site, 0.3)
        assert scorer.values((edit,)) == pytest.approx(questions.answers(Plan((edit,))).values.flatten(), rel=1e-4), str(site)


def test_several_edits_at_once():
    questions = questions_of("llama", "logloss")
    scorer = CandidateScorer(questions, SvdCache(questions.model.anatomy))
    edits = (ReduceRank("decoder.1.down", 0.3), ReduceRank("decoder.0.gate", 0.2))
    assert scorer.values(edits) == pytest.approx(questions.answers(Plan(edits)).values.flatten(), rel=1e-4)


def test_metrics_of_the_same_answers_keep_their_scores_apart():
    journal, edit = MemoryJournal(), ReduceRank("decoder.1.down", 0.3)
    found = {}
    for metric in ("accuracy", "logloss", "accuracy"):
        questions = questions_of("llama", metric)
        scorer = CandidateScorer(questions, SvdCache(questions.model.anatomy), workers=Workers(journal=journal))
        found[metric] = scorer.mean(scorer.complete_score(edit).total)
        assert found[metric] == pytest.approx(questions.answers(Plan((edit,))).mean, rel=1e-4)


def test_candidates_are_scored_on_passages_like_on_questions():
    model = LanguageModel.of(pico.build("llama", dtype=torch.float64), pico.tokenizer("llama"), batch_size=2)
    texts = ["one line of text", "and a second, longer line of text", "three"]
    passages, edit = Passages(model, texts), ReduceRank("decoder.0.down", 0.3)
    scorer = CandidateScorer(passages, SvdCache(model.anatomy), purpose="text")
    assert passages.perplexity(scorer.base.sum()) == pytest.approx(model.perplexity(texts))
    with Plan((edit,)).applied(model):
        wanted = model.perplexity(texts)
        assert passages.losses().sum() == pytest.approx(np.log(wanted) * passages.tokens)
    assert passages.perplexity(scorer.values((edit,)).sum()) == pytest.approx(wanted)


def test_an_error_leaves_the_model_as_it_was():
    questions = questions_of("llama", "logloss")
    scorer = CandidateScorer(questions, SvdCache(questions.model.anatomy))
    questions.model.anatomy.write("decoder.0.down", [0], float("nan"))
    before = questions.model.model.state_dict()["model.layers.1.mlp.down_proj.weight"].clone()
    with pytest.raises(NotFinite):
        scorer.values((ReduceRank("decoder.0.down", 0.3),))
    questions.model.anatomy.write("decoder.1.gate", [0], float("nan"))  # answers become NaN, under an edit of another matrix
    with pytest.raises(NotFinite):
        scorer.values((ReduceRank("decoder.1.down", 0.9),))
    assert torch.equal(questions.model.model.state_dict()["model.layers.1.mlp.down_proj.weight"], before)
    assert not [module for module in questions.model.model.modules() if "forward" in module.__dict__]
