"""Examples, prompts and splits: what a task refuses, and what stays the same whatever is around it."""

import pickle
import subprocess
import sys
from collections import Counter

import pytest

from resect.core.errors import BadTask, EmptySplit, UnknownName
from resect.data.tasks.splits import SHARES
from resect.data.tasks.task import Example, Task, split_of

TEMPLATE = "{{ instruction }} {{ question }} Options: {{ choices | join(', ') }} Answer:{{ answer }}"


def example(number=0, **changed):
    return Example(**{"fields": {"question": f"Who {number}?"}, "choices": ("a", "b"), "gold": 0} | changed)


def task(examples, **changed):
    settings = {"name": "t", "examples": examples, "instructions": ("Answer.", "Choose."), "template": TEMPLATE}
    return Task(**settings | changed)


def many(groups=400, one=2):
    return task([example(n, id=f"e{n}", group=f"g{n // one}") for n in range(groups * one)])


def test_gold_is_an_index_or_a_text():
    assert example(gold="b").gold == 1
    assert example(gold=1).gold_text == "b"
    assert example(choices=(), gold="Paris").gold_text == "Paris"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"gold": 2}, "the choice 2; there are 0 to 1"),
        ({"gold": -1}, "-1"),
        ({"gold": "c"}, "'c'; it must be one of the choices 'a', 'b'"),
        ({"gold": True}, "True"),
        ({"choices": ("a", " ")}, "Choice 1 is ' '"),
        ({"choices": (), "gold": 0}, "no choices"),
        ({"choices": (), "gold": ""}, "not empty"),
        ({"choices": ("a", "a"), "gold": 0}, "occurs twice"),
        ({"choices": "ab"}, "the one text"),
        ({"tags": ("",)}, "Tags"),
        ({"id": ""}, "id"),
    ],
)
def test_an_impossible_example_is_refused(changed, says):
    with pytest.raises(BadTask, match=says):
        example(**changed)


def test_two_wrong_choices_may_be_equal():
    assert example(choices=("a", "b", "b"), gold="a").gold == 0


def test_ids_and_groups_are_filled_in():
    result = task([example(), example(id="x", group="g"), example(group="g")])
    assert [one.id for one in result.examples] == ["0", "x", "2"]
    assert [one.group for one in result.examples] == ["example:0", "g", "g"]
    assert result.groups == ("example:0", "g")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"examples": []}, "no examples"),
        ({"instructions": ()}, "no instructions"),
        ({"instructions": "Answer."}, "the one text"),
        ({"instructions": ("a", "a")}, "each once"),
        ({"examples": [example(id="x"), example(id="x")]}, "the id 'x'"),
        ({"examples": [example(id="1"), example()]}, "the id '1'"),
        ({"examples": [example(group="g", split="test"), example(group="g")]}, "two splits"),
        ({"template": "{{ instruction"}, "line 1"),
        ({"template": "a\n{% if %}"}, "line 2"),
        ({"template": "{{ contxt }}"}, "'contxt' is undefined.*There are: answer, choices, instruction, question"),
        ({"template": "{{ question + 1 }}"}, "cannot be rendered"),
        ({"template": "{{ question.__class__.__mro__ }}"}, "unsafe|cannot be rendered|not there"),
    ],
)
def test_an_impossible_task_is_refused(changed, says):
    with pytest.raises(BadTask, match=says):
        task(**{"examples": [example()]} | changed)


def test_a_field_that_only_a_later_example_lacks_names_the_example():
    result = task([example(), example(1, fields={"q": "?"}, id="odd")])
    with pytest.raises(BadTask, match="example odd"):
        result.prompt(result.examples[1], "Answer.")


def test_a_prompt():
    result = task([example()])
    assert result.prompt(result.examples[0], "Answer.") == "Answer. Who 0? Options: a, b Answer:"
    assert result.prompt(result.examples[0], "Answer.", "<mask>").endswith("Answer:<mask>")


def test_nothing_is_escaped_and_the_gold_answer_of_the_data_cannot_slip_in():
    fields = {"question": "a < b & 'c'?", "answer": "b", "instruction": "x", "choices": ["y"]}
    result = task([example(fields=fields)], template="{{ instruction }} {{ question }} {{ choices[1] }}{{ answer }}")
    assert result.prompt(result.examples[0], "Answer.") == "Answer. a < b & 'c'? b"


def test_splits_are_disjoint_by_group_and_near_their_shares():
    result = many(2000)
    parts = {name: result.split(name) for name in SHARES}
    groups = [{one.group for one in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 2000
    for (_, share), members in zip(SHARES.items(), groups, strict=True):
        assert abs(len(members) / 2000 - share) < 4 * (share * (1 - share) / 2000) ** 0.5
    assert [one.id for part in parts.values() for one in part] != [one.id for one in result.examples]


def test_a_groups_split_depends_on_nothing_else():
    here, there = many(), many(100)
    other = Task("another name", tuple(reversed(there.examples)), ("x",), "{{ question }}")
    assert {one.id: split_of(one) for one in other.examples}.items() <= {one.id: split_of(one) for one in here.examples}.items()


def test_the_split_of_a_group_never_changes_between_versions():
    """With another salt, what an old run located on, a new one would test on."""
    result = {f"g{n}": split_of(example(group=f"g{n}")) for n in range(12)}
    assert "".join(part[0] for part in result.values()) == "ttstststttlt"


def test_the_data_may_say_the_split():
    result = task([example(n, split="select") for n in range(9)])
    assert len(result.split("select")) == 9
    with pytest.raises(EmptySplit, match=r"'locate'.*9 groups"):
        result.split("locate")
    with pytest.raises(UnknownName, match="Did you mean 'test'"):
        result.split("tests")


@pytest.mark.parametrize("n", [1, 3, 10, 40, 799, 800, 5000])
def test_a_limited_task_keeps_splits_order_and_shares(n):
    result = many()
    less = result.limited(n)
    kept = min(n, 800)
    assert len(less.examples) == kept
    assert less.examples == result.limited(n).examples
    names = [one.id for one in result.examples]
    assert [names.index(one.id) for one in less.examples] == sorted(names.index(one.id) for one in less.examples)
    assert {(one.id, split_of(one)) for one in less.examples} <= {(one.id, split_of(one)) for one in result.examples}
    counts = Counter(split_of(one) for one in less.examples)
    if 3 <= n < 800:
        assert all(counts[name] >= 1 for name in SHARES)
        assert all(abs(counts[name] - share * kept) <= 60 for name, share in SHARES.items())


def test_a_limit_cuts_at_most_one_group_of_a_split():
    sizes = Counter(one.group for one in many().limited(41).examples)
    assert sum(size < 2 for size in sizes.values()) <= 3
    with pytest.raises(BadTask, match="0"):
        many().limited(0)


def test_tags():
    result = task([example(tags=("b", "a")), example(1, tags=["a"])])
    assert result.tags == ("a", "b")
    assert [one.id for one in result.with_tags(["b", "a"]).examples] == ["0"]
    with pytest.raises(UnknownName, match="tag 'ambi'"):
        result.with_tags(["ambi"])
    with pytest.raises(BadTask, match="all of the tags"):
        task([example(tags=("a",)), example(1, tags=("b",))]).with_tags(["a", "b"])


def test_other_words_leave_the_examples():
    result = many()
    other = result.with_wording("Q: {{ question }}", ["Please."])
    assert other.examples == result.examples
    assert other.prompt(other.examples[0], other.instructions[0]) == "Q: Who 0?"
    assert result.with_wording() == result


def test_how_answers_are_judged():
    plain = task([example()])
    assert (plain.metric, plain.tokens_for("llama"), plain.matching) == ("accuracy", 16, "choice")
    generated = task([example()], metric="generation", answer_tokens=1, answer_tokens_by={"llama": 10}, matching="contains")
    assert [generated.tokens_for(family) for family in ("llama", "gptj")] == [10, 1]
    assert generated.digest == plain.digest, "the prompts are the same"
    assert generated.limited(1).tokens_for("llama") == 10
    assert hash(generated) == hash(task([example()], metric="generation", answer_tokens=1, matching="contains"))


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"metric": "acuracy"}, UnknownName, "Did you mean 'accuracy'"),
        ({"answer_tokens": 0}, BadTask, "generates 0 tokens"),
        ({"answer_tokens": True}, BadTask, "generates True tokens"),
        ({"answer_tokens_by": {"llama": -1}}, BadTask, "generates -1 tokens"),
    ],
)
def test_a_way_to_judge_that_does_not_exist_is_refused(changed, error, says):
    with pytest.raises(error, match=says):
        task([example()], **changed)


def test_the_digest_is_of_examples_and_prompts():
    result = many(4)
    assert result.digest == many(4).digest
    assert result.digest == task(result.examples, name="other", description="d").digest
    different = [result.with_wording("{{ question }}"), result.with_wording(None, ["x"]), many(5), result.limited(7)]
    assert len({result.digest, *(one.digest for one in different)}) == 5


def test_the_digest_and_the_splits_are_the_same_in_another_process():
    program = (
        "from resect.data.tasks.task import Example, Task, split_of\n"
        "t = Task('t', [Example({'q': 'é', 'n': {'b': 1, 'a': 2}}, ('a', 'b'), 1, group='g')], ('x',), '{{ q }}')\n"
        "print(t.digest, split_of(t.examples[0]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_task_can_be_sent_to_another_process():
    result = many(3)
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - our own bytes
    assert len({hash(one) for one in result.examples}) == 6
