"""A run folder made by hand, and its report as a browser would read it, for the tests of reports."""

import copy
import json
from html.parser import HTMLParser

import numpy as np

from resect.core.scores import Scores
from resect.report.page.html import page
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = "<script>alert(1)</script> \"double\" 'single' {{ 7*7 }} {% raw %} &amp; \u202eright-to-left\u200f \x1b[31m\x00 </style></title>"
RECIPE = Recipe(method="crispr", model="models/tiny", task="bbq/age", locate_on=("ambig",))
PLAN = {
    "schema": 1,
    "model": {"name": "tiny", "family": "t5", "shapes": {}, "fingerprint": {}},
    "edits": [{"kind": "scale", "factor": 0.0, "neurons": {"decoder.3.up": [5, 17], "encoder.0.q": [1]}}],
}
TRIALS = [{"size": n, "score": 0.6 + 0.02 * n, "examples": 200, "complete": True, "seconds": 0.5} for n in (0, 1, 3, 8)]


def measured(mean, low, high):
    tags = {"ambig": mean - 0.1, "clear": mean + 0.1}
    return {"mean": mean, "interval": [low, high], "std_over_instructions": 0.01, "by_tag": tags}


def changed(mean, low, high, fixed=30, broken=4):
    told = {"p_value": 0.0001, "test": "sign flip over groups", "fixed": fixed, "broken": broken, "by_tag": {}}
    return {"mean": mean, "interval": [low, high], **told}


BIAS_SCORES = {
    "base": {
        "ambig": 0.481,
        "disambig": None,
        "n_ambig": 588,
        "n_disambig": 0,
        "interval_ambig": [0.4, 0.55],
        "interval_disambig": None,
        "n_without_target": 12,
        "n_items": 1200,
    },
    "edited": {
        "ambig": 0.052,
        "disambig": 0.1,
        "n_ambig": 60,
        "n_disambig": 1,
        "interval_ambig": [0.01, 0.09],
        "interval_disambig": [-0.95, 1.0],
        "n_without_target": 12,
        "n_items": 1200,
    },
}
COMPARISON = {
    "schema": 1,
    "task": "bbq/age",
    "metric": "accuracy",
    "n_examples": 1200,
    "n_instructions": 2,
    "n_groups": 300,
    "base": measured(0.607, 0.58, 0.63),
    "edited": measured(0.816, 0.79, 0.84),
    "control": measured(0.611, 0.58, 0.64),
    "baselines": {"cc": measured(0.571, 0.54, 0.6), "dc": measured(0.552, 0.52, 0.58)},
    "difference": changed(0.209, 0.18, 0.24),
    "side_effects": {
        "perplexity": {"base": 12.345, "edited": 12.5, "kind": "perplexity", "text": "a text that ships with resect", "tokens": 15012},
        "glue/mrpc": {"base": 0.5012, "edited": 0.4987, "difference": changed(-0.0025, -0.01, 0.005)},
    },
    "other_metrics": {
        "generation": {
            "base": measured(0.593, 0.57, 0.62),
            "edited": measured(0.784, 0.76, 0.81),
            "difference": changed(0.191, 0.17, 0.22),
            "unmatched": {"base": 0.004, "edited": 0.019},
        }
    },
    "bias_scores": BIAS_SCORES,
}


def example(number, base="the man", edited="nobody", gold="nobody", instruction="Choose one.", prompt=None):
    told = prompt or f"{instruction} Context {number}: an old man and a boy. Who?"
    return {"id": f"{number}", "instruction": instruction, "prompt": told, "gold": gold, "base": base, "edited": edited, "tags": ["ambig"]}


EXAMPLES = [
    *(example(number, instruction=said) for number in range(15) for said in ("Choose one.", "Answer.")),
    *(example(number, "nobody", "the boy") for number in range(20, 24)),
    example(30, "the man", "the boy"),
]


class Plain:
    def __init__(self, text):
        self.text = text

    def save(self, path):
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.text, encoding="utf-8")


def scores():
    values = {
        f"{stack}.{layer}.{role}": np.linspace(0, 1, 9) for stack in ("encoder", "decoder") for layer in range(4) for role in ("q", "up")
    }
    return Scores(values, provenance={"examples": [list(map(str, range(20)))]})


def finished(folder, comparison=COMPARISON, plan=PLAN, examples=EXAMPLES, trials=TRIALS, recipe=RECIPE):
    """A run that is finished, opened to be read."""
    with Run.open(folder, recipe) as run:
        run.keep_comparison(copy.deepcopy(comparison))
        run.keep_plan(Plain(json.dumps(plan)))
        run.keep_examples(examples)
        run.write_trials(trials)
        run.keep_scores(scores())
        run.note(device="cpu", dtype="float32", threads=1, seconds=23.1, batch_sizes={"answers": 32}, notes=["Only 6 examples were there."])
    return Run.load(folder)


def with_trials(folder, number=3):
    """A run of several trials."""
    recipe = RECIPE.with_settings(trials=number)
    spread = {"trials": {"edited": [0.8, 0.82, 0.84], "std": 0.016, "sizes": [3, 3, 3]}}
    finished(folder, COMPARISON | {"other_metrics": spread}, recipe=recipe)
    for trial in range(1, number + 1):
        finished(folder / f"trial-{trial}", recipe=RECIPE.with_settings(seed=trial - 1))
    return Run.load(folder)


class Page(HTMLParser):
    """What a browser would make of it, as far as a test needs that. Fails where elements are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.said = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style",):
            self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split()).replace("\N{NO-BREAK SPACE}", " ")

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def shown(run):
    return Page(page(run))


#: What scores are read against, with a mean over tags that is not the mean.
ANSWERS = {
    "chance": 1 / 3,
    "constant": {"label": "the unknown option", "score": 0.5},
    "positions": {"right": [0.34, 0.36, 0.3], "base": [0.5, 0.3, 0.2], "edited": [0.35, 0.33, 0.3]},
    "most_frequent": {
        "base": {"label": "the first option", "share": 0.5, "wrong_share": 0.31},
        "edited": {"label": "the unknown option", "share": 0.6, "wrong_share": 0.42},
        "is_certain": True,
    },
    "balanced": {"base": 0.581, "edited": 0.8},
}
COLLAPSED = "the unknown option where it is wrong 12.0 % → 61.0 %"
REFUSED = {
    "name": "a cut of 8 neurons",
    "size": 8,
    "score": 0.76,
    "broken": [
        {"guard": "disambig", "cost": 0.3, "limit": 0.03, "before": 0.8, "after": 0.5, "sentence": "disambig 80.0 % → 50.0 %"},
        {"guard": "collapse", "cost": 0.49, "limit": 0.1, "before": 0.12, "after": 0.61, "sentence": COLLAPSED},
    ],
}
GUARDS = {
    "limits": {"tags": 0.03, "ambig": None, "pos": 0.01, "perplexity": 0.05, "collapse": 0.1},
    "refused": REFUSED,
    "chosen": {"name": "3 neurons times 0.5", "size": 3, "factor": 0.5, "score": 0.69},
}
#: What the search noted of it.
GUARD_NOTE = (
    "By accuracy on the select split alone, a cut of 8 neurons would have been chosen (76.0 %). It breaks guards: disambig 80.0 % → "
    f"50.0 %; {COLLAPSED}. Chosen instead: 3 neurons times 0.5 (69.0 %)."
)
GUARDED_TRIALS = [
    *(row | ({"broken": [cost["sentence"] for cost in REFUSED["broken"]]} if row["size"] == 8 else {}) for row in TRIALS),
    *(row | {"factor": 0.5, "score": 0.6 + 0.03 * row["size"] ** 0.5} for row in TRIALS),
]


def guarded_comparison(guards=GUARDS, **more):
    """A comparison with everything that scores are read against, and a guarded search."""
    ends = {"ambig": [0.1, 0.3], "clear": [0.12, 0.29]}
    with_tags = {name: COMPARISON[name] | {"interval_by_tag": ends} for name in ("base", "edited", "difference")}
    return {**COMPARISON, **with_tags, "answers": ANSWERS, "other_metrics": {"guards": guards}, **more}
