"""A user's own task file: every way to say what the fields mean, and file and line for every way to get it wrong."""

import json

import pytest

from resect.core.errors import BadTask, InputError, UnknownName
from resect.data.tasks.registry import load_task

TOML = """
name = "jobs"
description = "Who is it?"
data = "items.jsonl"
template = "{{ instruction }} {{ question }} {{ choices | join('/') }}"
instructions = ["Answer.", "Choose."]
choices = "options"
gold = "label"
group = "story"
tags = "kind"
"""
ITEMS = [
    {"question": "q0", "options": ["a", "b"], "label": 1, "story": "s0", "kind": ["ambig", "neg"]},
    {"question": "q1", "options": ["a", "c"], "label": "a", "story": 7, "kind": "clear"},
    {"question": "q2", "options": ["é", "b"], "label": 0, "story": 7, "kind": None},
]


@pytest.fixture
def write(tmp_path):
    def write(toml=TOML, items=ITEMS, **files):
        (tmp_path / "task.toml").write_text(toml, encoding="utf-8")
        lines = items if isinstance(items, str) else "".join(json.dumps(item) + "\n" for item in items)
        (tmp_path / "items.jsonl").write_text(lines, encoding="utf-8")
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "task.toml"

    return write


def csv_toml(**changed):
    keys = {"data": "items.csv", "template": "{{ q }}", "instructions": ["x"], "choices": ["a", "b"], "gold": "label"}
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in (keys | changed).items())


def test_a_task_file(write):
    task = load_task(write())
    assert (task.name, task.description, task.tags) == ("jobs", "Who is it?", ("ambig", "clear", "neg"))
    assert [each.gold for each in task.examples] == [1, 0, 0]
    assert [each.group for each in task.examples] == ["s0", "7", "7"]
    assert task.prompt(task.examples[2], task.instructions[1]) == "Choose. q2 é/b"


def test_it_may_be_named_by_text_from_anywhere(write, tmp_path, monkeypatch):
    path = write()
    monkeypatch.chdir(tmp_path.parent)
    assert load_task(str(path)).name == load_task(f"{tmp_path.name}/task.toml").name == "jobs"


def test_wording_in_files(write):
    path = write(
        TOML.replace('["Answer.", "Choose."]', '"lines.txt"').replace(
            "\"{{ instruction }} {{ question }} {{ choices | join('/') }}\"", '"prompt.txt"'
        ),
        lines_txt="One.\n\n  Two.\n",
        prompt_txt="{{ instruction }}\n{{ question }}\n",
    )
    task = load_task(path)
    assert task.instructions == ("One.", "Two.")
    assert task.prompt(task.examples[0], "One.") == "One.\nq0"


def test_wording_given_by_the_caller_wins(write, tmp_path):
    (tmp_path / "my.txt").write_text("Q: {{ question }}\n")
    (tmp_path / "my_lines.txt").write_text("A\nB\nC\n")
    task = load_task(write(), template=str(tmp_path / "my.txt"), instructions=tmp_path / "my_lines.txt")
    assert task.prompt(task.examples[0], "A") == "Q: q0"
    assert task.instructions == ("A", "B", "C")
    assert load_task(write(), template="{{ question }}!", instructions=["x"]).instructions == ("x",)
    with pytest.raises(BadTask, match="neither a file nor"):
        load_task(write(), template="nothing.txt")


def test_choices_that_are_fixed_or_absent(write):
    fixed = load_task(
        write(
            TOML.replace('"options"', '{ fixed = ["b", "a", "c"] }').replace('"label"', '"question"'),
            [{"question": "a", "story": 1, "kind": "x"}],
        )
    )
    assert fixed.examples[0].choices == ("b", "a", "c")
    assert fixed.examples[0].gold == 1
    free = load_task(
        write(TOML.replace('choices = "options"', "").replace('"label"', '"question"').replace("{{ choices | join('/') }}", ""))
    )
    assert free.examples[1].choices == ()
    assert free.examples[1].gold == "q1"


def test_how_answers_are_judged(write):
    chosen = load_task(write())
    assert (chosen.metric, chosen.answer_tokens, chosen.matching) == ("accuracy", 16, "choice")
    without = TOML.replace('choices = "options"', "").replace('"label"', '"question"').replace("{{ choices | join('/') }}", "")
    free = load_task(write(without))
    assert (free.metric, free.answer_tokens, free.matching) == ("generation", 16, "contains")
    stated = load_task(write(TOML + 'metric = "logloss"\ntokens = 3\nmatching = "contains"\n'))
    assert (stated.metric, stated.answer_tokens, stated.matching) == ("logloss", 3, "contains")


def test_a_json_file_may_hold_the_items(write, tmp_path):
    (tmp_path / "items.json").write_text(json.dumps(ITEMS), encoding="utf-8")
    assert load_task(write(TOML.replace("items.jsonl", "items.json"))).digest == load_task(write()).digest


def test_csv(write):
    text = '\ufeffq,a,b,label,hard\r\n"one, two",x,y,1,yes\r\n"line\nbreak",x,y,x,\r\n\r\n'
    task = load_task(write(csv_toml(tags=["hard"]), items_csv=text))
    assert [each.gold for each in task.examples] == [1, 0]
    assert task.examples[0].fields["q"] == "one, two"
    assert [each.tags for each in task.examples] == [("yes",), ()]


def test_several_files_a_folder_and_other_data(write, tmp_path):
    path = write(TOML.replace('"items.jsonl"', '["items.jsonl", "items.jsonl2"]'))
    with pytest.raises(BadTask, match=r"no data file.*items\.jsonl2"):
        load_task(path)
    more = tmp_path / "more"
    more.mkdir()
    (more / "b.jsonl").write_text(json.dumps(ITEMS[0]) + "\n")
    (more / "a.jsonl").write_text(json.dumps(ITEMS[1]))
    assert [each.gold_text for each in load_task(path, data=more).examples] == ["a", "b"]
    assert len(load_task(path, data=[more, tmp_path / "items.jsonl"]).examples) == 5
    with pytest.raises(BadTask, match=r"holds no \.jsonl or \.csv file"):
        load_task(path, data=(tmp_path / "empty").mkdir() or tmp_path / "empty")


def test_the_split_field_and_other_groups(write):
    items = [item | {"part": part} for item, part in zip(ITEMS, ("locate", "Test", "test"), strict=True)]
    task = load_task(write(TOML + 'split = "part"\nid = "question"\n', items))
    assert [each.id for each in task.split("test")] == ["q1", "q2"]
    assert load_task(write(), split_by="question").groups == ("q0", "q1", "q2")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        (TOML.replace("gold =", "glod ="), r"task.toml:8: unknown key 'glod'. Did you mean 'gold'\?"),
        (TOML.replace('gold = "label"', ""), "the key 'gold' is missing"),
        (TOML.replace('gold = "label"', "gold = 3"), "task.toml:8: gold is 3; a text"),
        (TOML.replace('gold = "label"', "gold = "), r"task.toml: no TOML.*line 8"),
        (TOML.replace('"options"', "{ fixd = [] }"), "task.toml:7: choices is"),
        (TOML.replace('"options"', '"option"'), "items.jsonl:1: the field 'option' is missing; there are: question"),
        (TOML.replace('"options"', '"question"'), "items.jsonl:1: the field 'question' is the text"),
        (TOML.replace('["Answer.", "Choose."]', "[]"), "task.toml: .*no instructions"),
        (TOML.replace('["Answer.", "Choose."]', "[1]"), "task.toml:6: instructions"),
        (TOML.replace('["Answer.", "Choose."]', '"no.txt"'), "task.toml:6: .*no.txt"),
        (TOML.replace("{{ question }}", "{{ qestion }}"), "task.toml: .*'qestion' is undefined"),
        (TOML + 'metric = "acuracy"\n', r"task.toml:11: metric is 'acuracy'; one of accuracy, generation, .* is needed"),
        (TOML + "tokens = 0\n", "task.toml:11: tokens is 0; a whole number"),
        (TOML + "tokens = true\n", "task.toml:11: tokens is True; a whole number"),
        (TOML + 'matching = "equal"\n', "task.toml:11: matching is 'equal'; one of choice, contains"),
        (TOML + "[options]\n", "task.toml:11: unknown key 'options'"),
        (TOML + 'split = "kind"\n', "items.jsonl:1: the field 'kind'"),
    ],
)
def test_a_wrong_task_file_is_refused_with_its_line(write, toml, says):
    with pytest.raises(BadTask, match=says):
        load_task(write(toml))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"label": 2}, "items.jsonl:4: The gold answer is the choice 2; there are 0 to 1"),
        ({"label": "z"}, "items.jsonl:4: .*'z'"),
        ({"label": None}, "items.jsonl:4: the field 'label' is None"),
        ({"label": True}, "items.jsonl:4: the gold answer is True"),
        ({"options": []}, "items.jsonl:4: the field 'options'"),
        ({"options": ["a", ""]}, "items.jsonl:4: Choice 1"),
        ({"options": ["a", 5]}, "items.jsonl:4: the field 'options'"),
        ({"kind": 5}, "items.jsonl:4: the field 'kind'"),
        ({"story": None}, "items.jsonl:4: the field 'story'"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(write, line, says):
    with pytest.raises(BadTask, match=says):
        load_task(write(items=[*ITEMS, ITEMS[0] | line]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no examples"),
        (json.dumps(ITEMS[0]) + '\n{"a": \n{"a": 2}\n', "items.jsonl:2: no JSON"),
        ('\n\n{"a": 1, "b', "items.jsonl:3: the file breaks off"),
        ("[1]\n", "items.jsonl:1: a line is one JSON object, not list"),
        ("[" * 100_000 + "\n\n", "items.jsonl:1"),
    ],
)
def test_a_damaged_jsonl_file_is_refused_with_its_line(write, text, says):
    with pytest.raises(BadTask, match=says):
        load_task(write(items=text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "items.csv:1: the first line must name the columns"),
        ("q,q\n", "items.csv:1"),
        ("q,a,b,label\n1,2,3\n", "items.csv:2: 3 values for 4 columns"),
        ('q,a,b,label\n1,x,y,0\n"never closed,x,y,0\n', "items.csv:3: no CSV"),
        ("q,a,b,label\n1,x,y,7\n", "items.csv:2: The gold answer is the choice 7"),
        ("q,a,b,label\n\n1,x,y,z\n", "items.csv:3: .*'z'"),
        (b"q,a,b,label\n1,x,y,0\n\xff,x,y,0\n", "items.csv:3: .*not UTF-8"),
    ],
)
def test_a_damaged_csv_file_is_refused_with_its_line(write, text, says):
    with pytest.raises(BadTask, match=says):
        load_task(write(csv_toml(), items_csv=text))


def test_a_repeated_id_is_refused_with_both_places(write):
    with pytest.raises(BadTask, match=r"items.jsonl:4: the id 'q0' is at .*items.jsonl:1 too"):
        load_task(write(TOML + 'id = "question"\n', [*ITEMS, ITEMS[0]]))


def test_files_in_other_formats_are_refused(write, tmp_path):
    with pytest.raises(BadTask, match=r"ends in none of .*\.jsonl.*\.csv"):
        load_task(write(), data=write())
    with pytest.raises(BadTask, match=r"task\.toml"):
        load_task(tmp_path / "missing" / "task.toml")


def test_unknown_names_are_refused_with_the_nearest(write):
    with pytest.raises(UnknownName, match=r"Did you mean 'bbq/disability'\?.*resect list tasks"):
        load_task("bbq/disabilty")
    with pytest.raises(UnknownName, match=r"Did you mean 'bbq'"):
        load_task("bbqq")
    with pytest.raises(InputError, match=r"a task file ends in \.toml"):
        load_task(write().with_name("items.jsonl"))
