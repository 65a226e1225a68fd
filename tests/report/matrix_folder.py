"""A run folder of LASER made by hand, for the tests of reports: its search, its composition, its analyses."""

import copy
import json
import math

from report.run_folder import Plain, changed, measured
from resect.methods.analyses.analysis import exhibits
from resect.methods.laser.analyses.catalogue import ANALYSES
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

RHOS = (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01)
LAYERS = 12
SITES = [f"decoder.{layer}.{role}" for layer in range(LAYERS) for role in ("gate", "down")]
CHOSEN = ("decoder.10.gate", 0.05)
RECIPE = Recipe(method="laser", model="models/tiny", task="counterfact")
PLAN = {
    "schema": 1,
    "model": {"name": "tiny", "family": "llama", "shapes": {"decoder.10.gate": [1024, 256]}, "fingerprint": {}},
    "edits": [{"kind": "reduce_rank", "site": "decoder.10.gate", "rho": 0.05, "keep": "largest"}],
}


def score(site, rho):
    """A landscape: reductions help in upper layers' gates, and do harm below."""
    _, layer, role = site.split(".")
    height = int(layer) / (LAYERS - 1)
    gain = (height - 0.45) * (1 - rho) * (0.12 if role == "gate" else 0.04)
    return 0.61 + gain - (0.1 if rho < 0.02 and role == "down" else 0) + (0.02 if (site, rho) == CHOSEN else 0)


def trial(site, rho, best=0.68):
    found, complete = score(site, rho), score(site, rho) > best - 0.04
    told = found if complete else min(best - 0.002, found + 0.06)
    return {
        "site": site,
        "rho": rho,
        "rank": math.floor(rho * 256 + 1e-9),
        "score": round(told, 4),
        "examples": 128 if complete else 48,
        "complete": complete,
        "seconds": 0.4,
    }


TRIALS = [trial(site, rho) for site in SITES for rho in RHOS]
SELECT = {"metric": "accuracy", "base": 0.61, "chosen": 0.6816, "n_examples": 128, "n_instructions": 1}
STEPS = [
    {"site": None, "rho": None, "rank": None, "select": 0.61, "test": 0.605},
    {"site": "decoder.11.gate", "rho": 0.01, "rank": 2, "select": 0.64, "test": 0.622},
    {"site": "decoder.10.gate", "rho": 0.05, "rank": 12, "select": 0.6816, "test": 0.66},
    {"site": "decoder.7.down", "rho": 0.001, "rank": 0, "select": 0.691, "test": 0.655},
]
COMPARISON = {
    "schema": 1,
    "task": "counterfact",
    "metric": "accuracy",
    "n_examples": 512,
    "n_instructions": 1,
    "n_groups": 400,
    "base": {**measured(0.605, 0.56, 0.65), "by_tag": {}},
    "edited": {**measured(0.668, 0.62, 0.71), "by_tag": {}},
    "control": {**measured(0.601, 0.56, 0.64), "by_tag": {}},
    "baselines": {"cc": None, "dc": None},
    "difference": changed(0.063, 0.03, 0.096, 48, 16),
    "side_effects": {"perplexity": {"base": 12.345, "edited": 12.9, "kind": "perplexity", "text": "a text that ships", "tokens": 15012}},
    "other_metrics": {"select": SELECT},
    "bias_scores": None,
}


def answer(number, base="London", edited="Paris", gold="Paris"):
    told = {"id": f"{number}", "instruction": "", "prompt": f"The capital of country {number} is", "gold": gold, "tags": []}
    return {**told, "base": base, "edited": edited}


EXAMPLES = [*(answer(number) for number in range(48)), *(answer(number, "Paris", "Rome") for number in range(50, 66))]


def analyses():
    """What `resect analyse` writes, every part of it."""
    loss = [[round(1.2 - 3 * (score(site, rho) - 0.61), 4) for rho in RHOS] for site in SITES]
    accuracy = [[round(score(site, rho), 4) for rho in RHOS] for site in SITES]
    values = [round(40 * math.exp(-place / 30) + 2 + 4 * (1 - place / 256) ** 2, 4) for place in range(256)]
    full = [1.0, *RHOS, 0.0]
    rank = {"full": 256, "after": 12}
    spectrum = {"values": values, "effective_rank": {"before": 187.3, "after": 11.2}, "rank": rank, "noise_edge": 8.9}
    answers = [
        {"prompt": f"The capital of country {n} is", "gold": "Paris", "base": "London", "edited": "Paris", "smallest": "the"}
        for n in range(5)
    ]
    return {
        "loss": {
            "sites": SITES,
            "rhos": list(RHOS),
            "loss": loss,
            "accuracy": accuracy,
            "base": {"loss": 1.2, "accuracy": 0.61},
            "n_pairs": 128,
        },
        "spectra": {"decoder.10.gate": spectrum, "decoder.10.down": {**spectrum, "noise_edge": None, "rank": {"full": 256, "after": None}}},
        "reduction": {
            "site": "decoder.10.gate",
            "rhos": full,
            "loss": [1.2, 1.19, 1.18, 1.15, 1.12, 1.08, 1.05, 1.02, 1.07, 1.31],
            "accuracy": [0.61, 0.612, 0.62, 0.63, 0.65, 0.66, 0.67, 0.6816, 0.67, 0.52],
            "without_block": {"loss": 1.9, "accuracy": 0.41},
            "without_layer": {"loss": 2.4, "accuracy": 0.33},
        },
        "components": {
            "site": "decoder.10.gate",
            "kept": [0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0],
            "cosine": [0.12, 0.2, 0.31, 0.42, 0.5, 0.61, 0.58, 0.52, 0.44],
            "n_examples": 37,
            "answers": answers,
        },
        "paraphrases": {"n_facts": 210, "per_fact": 2.4, "base": 0.31, "edited": 0.405, "difference": changed(0.095, 0.04, 0.15)},
        "frequency": {
            "bins": ["< 50", "50–1,000", "> 1,000"],
            "n": [120, 230, 60],
            "base": [0.42, 0.61, 0.8],
            "edited": [0.53, 0.66, 0.81],
            "source": "counts.csv",
        },
        "growth": {
            "site": "decoder.10.gate",
            "rhos": list(RHOS),
            "right": [79, 80, 83, 85, 84, 88, 90, 87],
            "gained": [2, 3, 5, 4, 3, 6, 4, 1],
            "lost": [1, 2, 2, 2, 4, 2, 2, 4],
            "base": 78,
            "n_pairs": 128,
        },
        "perplexity": {
            "window": 1024,
            "stride": 512,
            "tokens": 15012,
            "base": 11.2,
            "edited": 11.6,
            "text": "a text that ships with resect",
        },
        "temperature": {
            "base": {"temperature": 1.4, "before": 1.2, "after": 1.13},
            "edited": {"temperature": 1.9, "before": 1.31, "after": 1.12},
        },
    }


def reduced(folder, comparison=COMPARISON, plan=PLAN, examples=EXAMPLES, trials=TRIALS, recipe=RECIPE, analysed=None):
    """A finished run of LASER, opened to be read. `analysed`: results of analyses, whose exhibits it has."""
    with Run.open(folder, recipe) as run:
        run.keep_comparison(copy.deepcopy(comparison))
        run.keep_plan(Plain(json.dumps(plan)))
        run.keep_examples(examples)
        run.write_trials(trials)
        run.note(device="cpu", dtype="float32", threads=1, seconds=23.1, batch_sizes={"answers": 32})
        if analysed is not None:
            run.keep_exhibits(exhibits(ANALYSES, analysed, plan))
    return Run.load(folder)


def composed(folder, **more):
    """A run that put reductions one on top of the other."""
    edits = [{"kind": "reduce_rank", "site": step["site"], "rho": step["rho"], "keep": "largest"} for step in STEPS[1:]]
    kept = {(step["site"], step["rho"]) for step in STEPS}
    lines = [{**trial(site, rho), "kept": (site, rho) in kept} for site in reversed(SITES) for rho in reversed(RHOS)]
    lines.append({**trial("decoder.7.down", 0.001), "score": 0.691, "complete": True, "kept": True})
    comparison = {**COMPARISON, "other_metrics": {"select": {**SELECT, "chosen": 0.691}, "composition": STEPS}}
    return reduced(folder, comparison, {**PLAN, "edits": edits}, trials=lines, recipe=RECIPE.with_settings(compose=True), **more)
