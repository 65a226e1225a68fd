"""A run folder of LAPE made by hand, for the tests of reports: its matrix, its exhibits, its open questions, its results of steering."""

import copy
import json
import math

import numpy as np

from report.run_folder import Plain, changed
from resect.core.scores import Scores
from resect.methods.lape.exhibits import exhibits
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

LANGUAGES = ("en", "zh", "fr", "es", "vi", "id", "ja")
BASE = (4.078, 4.663, 3.75, 4.066, 4.086, 4.171, 4.154)
UNITS = (29, 54, 23, 20, 26, 20, 45)
DIAGONAL = (0.048, 0.145, 0.038, 0.030, 0.053, 0.020, 0.081)
BESIDE = {("zh", "ja"): 0.043, ("ja", "zh"): 0.035, ("fr", "es"): 0.022, ("es", "fr"): 0.018}
LAYERS, WIDTH = 6, 512
RECIPE = Recipe(
    method="lape",
    model="models/ml7",
    corpus=tuple(f"{name}=text/{name}/train.txt" for name in LANGUAGES),
    valid=tuple(f"{name}=text/{name}/valid.txt" for name in LANGUAGES),
    fraction=0.05,
    corpus_tokens=100_000,
)
MINDS = {
    "en": ("What makes a good friend?", "A good friend listens to you and keeps your secrets."),
    "zh": ("什么是好朋友？", "好朋友会倾听你说话，也会保守你的秘密。"),
    "fr": ("Qu'est-ce qu'un bon ami ?", "Un bon ami vous écoute et garde vos secrets."),
    "es": ("¿Qué es un buen amigo?", "Un buen amigo te escucha y guarda tus secretos."),
    "vi": ("Thế nào là một người bạn tốt?", "Một người bạn tốt lắng nghe bạn và giữ bí mật của bạn."),
    "id": ("Apa itu teman yang baik?", "Teman yang baik mendengarkan Anda dan menyimpan rahasia Anda."),
    "ja": ("良い友人とはどんな人ですか。", "良い友人は話をよく聞き、秘密を守ってくれます。"),
}


def change(mine, theirs):
    """What the units of one language do to the text of another."""
    if mine == theirs:
        return DIAGONAL[LANGUAGES.index(mine)]
    return BESIDE.get((mine, theirs), 0.002 + 0.0007 * ((3 * LANGUAGES.index(mine) + LANGUAGES.index(theirs)) % 7) - 0.001)


def measures(table, spread=None):
    """The two measures of a matrix from its changes of the loss, as the job writes them."""
    rises = [[math.exp(BASE[k]) * math.expm1(value) for k, value in enumerate(row)] for row in table]
    perplexity = {"base": [math.exp(loss) for loss in BASE], "change": rises}
    perplexity["deactivated"] = [[before + rise for before, rise in zip(perplexity["base"], row, strict=True)] for row in rises]
    loss = {"base": list(BASE), "change": table}
    loss["deactivated"] = [[before + rise for before, rise in zip(BASE, row, strict=True)] for row in table]
    if spread is not None:
        loss["interval"] = [[[value - spread, value + spread] for value in row] for row in table]
        perplexity["interval"] = [[[rise - 1, rise + 1] for rise in row] for row in rises]
    return {"perplexity": perplexity, "neg_logprob": loss}


def matrix(languages=LANGUAGES, units=UNITS, spread=0.004):
    """What matrix.json holds."""
    table = [[change(mine, theirs) if number else 0.0 for theirs in LANGUAGES] for mine, number in zip(LANGUAGES, units, strict=True)]
    random = [[0.0006 * ((row + 2 * column) % 5) - 0.0005 for column in range(len(LANGUAGES))] for row in range(len(LANGUAGES))]
    most = {
        name: bool(row.index(max(row)) == place) if number else None
        for place, (name, row, number) in enumerate(zip(languages, table, units, strict=True))
    }
    return {
        "schema": 1,
        "languages": list(languages),
        "selector": "lape",
        "units": list(units),
        "window": 128,
        "windows": [94] * len(languages),
        "tokens": [12_000] * len(languages),
        "kind": "perplexity",
        **measures(table, spread),
        "control": {"draws": 3, **measures(random)},
        "diagonal": {"is_maximum": most, "count": sum(value is True for value in most.values()), "of": len(languages)},
    }


def estimate(mean):
    tags = {name: loss + mean for name, loss in zip(LANGUAGES, BASE, strict=True)}
    loss = sum(BASE) / len(BASE) + mean
    return {"mean": loss, "interval": [loss - 0.05, loss + 0.05], "std_over_instructions": 0.0, "by_tag": tags}


def scored(base, random, own):
    """A measure of open answers: of the model as it is, with random units off, with each language's own."""
    off = {mine: {theirs: own if mine == theirs else base for theirs in LANGUAGES} for mine in LANGUAGES}
    return {"base": dict.fromkeys(LANGUAGES, base), "random": dict.fromkeys(LANGUAGES, random), "deactivated": off}


QUESTIONS = {
    "n": dict.fromkeys(LANGUAGES, 10),
    "language_accuracy": scored(0.9, 0.8, 0.3),
    "quality": scored(3.51, 3.35, 2.01),
    "unjudged": 2,
    "empty": {"base": dict.fromkeys(LANGUAGES, 0), "random": None, "deactivated": {"fr": {"fr": 7}}},
    "untold": {"base": {"ja": 2}, "random": None, "deactivated": {}},
    "new_tokens": 64,
}
COMPARISON = {
    "schema": 1,
    "task": "its own units off",
    "metric": "logloss",
    "n_examples": 658,
    "n_instructions": 1,
    "n_groups": 658,
    "base": estimate(0.0),
    "edited": estimate(0.059),
    "control": estimate(0.001),
    "baselines": {"cc": None, "dc": None},
    "difference": changed(0.059, 0.05, 0.07, 20, 638),
    "side_effects": {},
    "other_metrics": {},
    "bias_scores": None,
}


def units(layer, language):
    """How many units a language has in a layer: many at the bottom and at the top."""
    weight = (5, 2, 1, 1, 2, 5)
    return round(UNITS[LANGUAGES.index(language)] * weight[layer] / sum(weight))


def plan():
    edits = [
        {
            "kind": "scale",
            "factor": 0.0,
            "neurons": {f"decoder.{n}.act": list(range(k * 60, k * 60 + units(n, name))) for n in range(LAYERS)},
        }
        for k, name in enumerate(LANGUAGES)
    ]
    return {"schema": 1, "model": {"name": "ml7", "family": "llama", "shapes": {}, "fingerprint": {}}, "edits": edits}


def analyses():
    """What the job writes into analyses.json, every part of it."""
    shared = [[UNITS[row] if row == column else (3 if abs(row - column) == 1 else 0) for column in range(7)] for row in range(7)]
    jaccard = [[n / (UNITS[row] + UNITS[column] - n) for column, n in enumerate(line)] for row, line in enumerate(shared)]
    pairs = {f"{a}-{b}": [0.2, 0.5, 0.7, 0.8, 0.75, 0.6, 0.4] for k, a in enumerate(LANGUAGES) for b in LANGUAGES[k + 1 :]}
    return {
        "layers": {
            "sites": [f"decoder.{layer}.act" for layer in range(LAYERS)],
            "width": [WIDTH] * LAYERS,
            "units": {name: [units(layer, name) for layer in range(LAYERS)] for name in LANGUAGES},
        },
        "overlap": {"languages": list(LANGUAGES), "shared": shared, "jaccard": jaccard},
        "similarity": {
            "stack": "decoder",
            "layers": list(range(LAYERS + 1)),
            "mean": [0.21, 0.52, 0.71, 0.802, 0.75, 0.61, 0.42],
            "unrelated": [0.15, 0.4, 0.52, 0.551, 0.56, 0.5, 0.36],
            "pairs": pairs,
            "n_sentences": 200,
            "languages": list(LANGUAGES),
        },
        "stability": {
            "steps": [
                {"tokens": [tokens] * 7, "units": 150 + n, "jaccard": None if n == 0 else 0.6 + 0.07 * n}
                for n, tokens in enumerate((8_192, 16_384, 32_768, 65_536, 100_000))
            ],
            "halves": {
                "jaccard": 0.83,
                "by_language": {**dict.fromkeys(LANGUAGES, 0.8), "id": None},
                "tokens": [[50_000] * 7, [50_000] * 7],
            },
        },
    }


def answers(per_language=6):
    """The lines of answers.jsonl: an answer in English where the own units are off."""
    rows = []
    for name, (question, said) in MINDS.items():
        for number in range(per_language):
            asked = {"id": f"{name}/{number}", "language": name, "prompt": f"Q: {question}\nA:"}
            for off in (None, name, "random"):
                own = off == name and name != "en"
                told = {
                    "answer": "The friend of the the friend." if own else said,
                    "identified": "en" if own else name,
                    "quality": 2 if own else 4,
                }
                rows.append({**asked, "deactivated": off, **told})
    return rows


def steered(to="fr", source="en", number=4):
    """A file of `resect steer`."""
    rows = [
        {
            "prompt": f"{MINDS['en'][0]} ({n})",
            "before": MINDS["en"][1],
            "after": MINDS[to][1] if n else "",
            "identified": {"before": "en", "after": to if n else None},
            "quality": {"before": 4, "after": 3} if n else None,
        }
        for n in range(number)
    ]
    return {
        "to": to,
        "from": source,
        "mode": "set",
        "strength": 1.0,
        "n": number,
        "empty": {"before": 0, "after": 1},
        "language_accuracy": {"before": 0.0, "after": 0.75, "interval": [0.4, 0.9] if number >= 20 else None},
        "quality": {"before": 4.0, "after": 3.0},
        "plan": plan(),
        "answers": rows,
    }


def choice(chosen, by_accuracy, limit=0.1):
    """How a strength was chosen among 2 and 8."""
    tried = [
        {"strength": 2.0, "language_accuracy": 0.5, "repetition": 0.1, "most_frequent": 0.2, "empty": 0, "breaks": []},
        {"strength": 8.0, "language_accuracy": 0.75, "repetition": 0.9, "most_frequent": 0.2, "empty": 0, "breaks": ["repetition is high"]},
    ]
    unsteered = {"strength": None, "language_accuracy": 0.0, "repetition": 0.0, "most_frequent": 0.2, "empty": 1, "breaks": []}
    return {"n": 5, "limit": limit, "unsteered": unsteered, "tried": tried, "chosen": chosen, "by_accuracy": by_accuracy}


def spoken(folder, recipe=RECIPE, found=None, comparison=COMPARISON, analysed=None, asked=None, steerings=()):
    """A finished run of LAPE, opened to be read. `found`: what matrix.json holds; `asked`: the lines of answers.jsonl."""
    with Run.open(folder, recipe) as run:
        run.keep_matrix(copy.deepcopy(matrix() if found is None else found))
        run.keep_comparison(copy.deepcopy(comparison))
        run.keep_plan(Plain(json.dumps(plan())))
        run.keep_plans(
            {name: Plain(json.dumps({**plan(), "edits": [edit]})) for name, edit in zip(LANGUAGES, plan()["edits"], strict=True)}
        )
        values = {f"decoder.{layer}.act": np.linspace(0, 1, WIDTH) for layer in range(LAYERS)}
        run.keep_scores(Scores(values, meaning="high: fires in few of the languages"))
        if analysed is not None:
            run.keep_analyses(analysed)
            run.keep_exhibits(exhibits(analysed))
        if asked is not None:
            run.keep_answers(asked)
        for name, held in steerings:
            run.keep_steered(name, held)
        run.note(device="cpu", dtype="float32", threads=1, seconds=74.2, batch_sizes={"text": 32}, notes=["3 tokens of zh are left over."])
    return Run.load(folder)


def whole(folder, **more):
    """A run with everything that there can be in one."""
    comparison = {**COMPARISON, "other_metrics": {"open_questions": QUESTIONS}}
    results = [("fr-from-en-set", steered()), ("ja-set", steered("ja", None))]
    return spoken(folder, comparison=comparison, analysed=analyses(), asked=answers(), steerings=results, **more)
