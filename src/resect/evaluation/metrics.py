"""The value of an answer: one number for each example and instruction, never a mean. Knows no model and no plan."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

#: Metrics by name, with the meaning of a value. All are shares of right answers, except log-loss, of which less is better.
METRICS = {
    "accuracy": "1 where the golden choice has the highest log-probability, else 0",
    "generation": "1 where the greedily generated text is the golden choice, else 0; a text that is no choice is wrong. Tasks with the "
    "matching 'contains' (LASER's): where it contains the golden text, both lower-cased; with the prompt searched too, as LASER's authors "
    "do for GPT-J and Llama, an answer that occurs in the question is right",
    "logloss": "negative log-probability of the golden choice or text, natural logarithm; less is better",
    "top1": "1 where the first token of the golden choice or text is the most probable one after the prompt, else 0",
    "top5": "1 where the first token of the golden choice or text is among the 5 most probable ones after the prompt, else 0",
    "top10": "1 where the first token of the golden choice or text is among the 10 most probable ones after the prompt, else 0",
}
#: The metrics of `topk`; the last is the main one then, and the others are reported too.
TOP = ("top1", "top5", "top10")
#: Metrics of which less is better.
LESS_IS_BETTER = ("logloss",)
#: Tokens that are generated to be matched with a choice (the CRISPR authors' code).
ANSWER_TOKENS = 16


def main_metric(metric: str) -> str:
    """Returns the metric of a name on the command line: "topk" is top10, every other is itself."""
    return TOP[-1] if metric == "topk" else metric


def further_metrics(metric: str, *, free: bool) -> tuple[str, ...]:
    """Returns the metrics that are reported with one: another mode of answering, the other top-k. `free`: some answers are texts."""
    scored = "logloss" if free else "accuracy"
    if metric in TOP:
        return (*(other for other in TOP if other != metric), scored)
    return ("generation",) if metric == scored else (scored,)


def answer_mode(metric: str) -> Literal["scoring", "generation", "ranks"]:
    """Returns how a model answers under a metric; metrics of one mode share their answers."""
    return "generation" if metric == "generation" else "ranks" if metric in TOP else "scoring"


def most_probable(logprobs: Sequence[Float64[np.ndarray, " _"]]) -> Int64[np.ndarray, " examples"]:
    """Returns the index of each example's most probable choice; of equals the first."""
    return np.array([int(np.argmax(row)) for row in logprobs], dtype=np.int64)


def matching_choice(text: str, choices: Sequence[str]) -> int:
    """Returns the index of the choice that equals a generated text, both stripped of blanks, full stops and case; −1 where none does."""
    plain = _plain(text)
    return next((index for index, choice in enumerate(choices) if _plain(choice) == plain), -1)


def contained_choice(text: str, choices: Sequence[str], gold: int) -> int:
    """Returns the index of the choice that a generated text contains, lower-cased, the choice stripped too; −1 where it contains none.

    The golden one counts wherever it is contained. Source: Sharma et al. 2023 (LASER, arXiv:2312.13558), generation accuracy.
    """
    text = text.lower()
    order = (gold, *(index for index in range(len(choices)) if index != gold))
    return next((index for index in order if choices[index].lower().strip() in text), -1)


def correct(
    predictions: Int64[np.ndarray, "examples instructions"], gold: Int64[np.ndarray, " examples"]
) -> Float64[np.ndarray, "examples instructions"]:
    """Returns 1.0 where the prediction is the golden choice, else 0.0."""
    return np.asarray(predictions == gold[:, None], dtype=np.float64)


def log_loss(logprobs: Sequence[Float64[np.ndarray, " _"]], gold: Int64[np.ndarray, " examples"]) -> Float64[np.ndarray, " examples"]:
    """Returns −log P of each example's golden choice, not normalised over the choices."""
    return np.array([-row[right] for row, right in zip(logprobs, gold, strict=True)], dtype=np.float64)


def margins(logprobs: Sequence[Float64[np.ndarray, " _"]], gold: Int64[np.ndarray, " examples"]) -> Float64[np.ndarray, " examples"]:
    """Returns how sure each example is to be right: log P of its golden choice minus that of the most probable other."""
    others = [np.delete(row, right).max() for row, right in zip(logprobs, gold, strict=True)]
    with np.errstate(invalid="ignore"):  # where both are impossible, neither is ahead
        result = np.array([row[right] - other for row, right, other in zip(logprobs, gold, others, strict=True)], dtype=np.float64)
    return np.where(np.isnan(result), 0.0, result)


def within_top_k(ranks: Int64[np.ndarray, " examples"], metric: str) -> Float64[np.ndarray, " examples"]:
    """Returns 1.0 where a rank (from 0) is below the k of a metric of TOP."""
    return np.asarray(ranks < int(metric.removeprefix("top")), dtype=np.float64)


def all_correct(values: Float64[np.ndarray, "examples instructions"], groups: Sequence[str]) -> Float64[np.ndarray, "facts instructions"]:
    """Returns 1.0 where a fact is answered correctly in every wording of its group, else 0.0; facts in the order of their first example.

    Source: Sharma et al. 2023 (LASER, arXiv:2312.13558), robustness to paraphrases.
    """
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    facts = np.ones((len(place), values.shape[1]))
    np.minimum.at(facts, [place[group] for group in groups], (values == 1).astype(np.float64))
    return facts


def _plain(text: str) -> str:
    return text.strip().strip(".").strip().lower()
