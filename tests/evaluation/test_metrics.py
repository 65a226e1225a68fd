"""One number an example, by hand."""

import numpy as np

from resect.data.tasks.task import METRICS
from resect.evaluation import metrics


def test_the_most_probable_choice_is_the_first_of_equals() -> None:
    rows = [np.array([-1.0, -0.5]), np.array([-2.0, -2.0, -3.0])]
    assert metrics.most_probable(rows).tolist() == [1, 0]


def test_a_text_is_matched_without_blanks_full_stops_and_case() -> None:
    choices = ("The old man", "Not known")
    assert metrics.matching_choice(" the OLD man. ", choices) == 0
    assert metrics.matching_choice("not known", choices) == 1
    assert metrics.matching_choice("the old man or the boy", choices) == -1
    assert metrics.matching_choice("", choices) == -1


def test_accuracy_and_log_loss() -> None:
    gold = np.array([1, 0])
    assert metrics.correct(np.array([[1, 0], [-1, 0]]), gold).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert metrics.log_loss([np.array([-1.0, -0.5]), np.array([-2.0, -3.0])], gold).tolist() == [0.5, 2.0]


def test_a_text_holds_an_answer_lower_cased_and_the_golden_one_counts_first() -> None:
    choices = ("Paris", " old York ")
    assert metrics.contained_choice("it is PARIS, or Old York.", choices, 1) == 1
    assert metrics.contained_choice("it is PARIS.", choices, 1) == 0
    assert metrics.contained_choice("it is pari s", choices, 1) == -1


def test_ranks_are_counted_from_zero() -> None:
    ranks = np.array([0, 1, 4, 5, 9, 10])
    assert [int(metrics.within_top_k(ranks, metric).sum()) for metric in metrics.TOP] == [1, 3, 5]


def test_a_margin_is_the_lead_over_the_best_other() -> None:
    rows = [np.array([-1.0, -0.5, -3.0]), np.array([-1.0, -0.5]), np.array([-np.inf, -np.inf]), np.array([-1.0, -np.inf])]
    assert metrics.margins(rows, np.array([0, 1, 0, 1])).tolist() == [-0.5, 0.5, 0.0, -np.inf]


def test_a_fact_is_right_where_all_of_its_wordings_are() -> None:
    values = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert metrics.all_correct(values, ["a", "b", "a", "b"]).tolist() == [[0, 1], [1, 0]]
    assert metrics.all_correct(values, list("abcd")).tolist() == values.tolist()


def test_what_a_task_can_be_reported_by_is_what_there_is() -> None:
    assert set(METRICS) == set(metrics.METRICS)


def test_top_k_on_the_command_line_is_all_of_them() -> None:
    assert metrics.main_metric("topk") == "top10"
    assert metrics.main_metric("accuracy") == "accuracy"
    assert metrics.further_metrics("top10", free=True) == ("top1", "top5", "logloss")
    for metric in metrics.METRICS:
        for free in (False, True):
            assert set(metrics.further_metrics(metric, free=free)) <= {*metrics.METRICS} - {metric}
            assert not free or "accuracy" not in metrics.further_metrics(metric, free=free)
