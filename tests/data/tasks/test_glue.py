"""GLUE: every layout gives the same task, labels are the right way round, groups stay together, errors name the place."""

import random
from collections import Counter

import pytest

from record_files import write
from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.glue import SETS, load_glue
from resect.data.tasks.registry import list_tasks, load_task
from resect.data.tasks.splits import SHARES

#: Two texts (the shared one first), the label by name, and the answer to it.
PAIRS = {
    "mrpc": [
        ('He said "no', "He declined.", "paraphrase", "yes"),
        ("It rose 3\u2028%.", "It fell.", "not_paraphrase", "no"),
        ("One.", "Two.", "not_paraphrase", "no"),
    ],
    "rte": [
        ('A man "sleeps.', "A man is asleep.", "entailment", "yes"),
        ('A man "sleeps.', "A man eats.", "not_entailment", "no"),
        ("It’s late.", "It is late.", "entailment", "yes"),
    ],
    "qnli": [
        ("The Ill flows there.", 'Who "won?', "not_entailment", "no"),
        ("Ada was born in 1815.", "When was Ada born?", "entailment", "yes"),
        ("Ada was born in 1815.", "Who was Ada?", "not_entailment", "no"),
    ],
}
#: The class names of nyu-mll/glue, in the order of their numbers.
HUB = {
    "mrpc": ("not_equivalent", "equivalent"),
    "rte": ("entailment", "not_entailment"),
    "qnli": ("entailment", "not_entailment"),
}
NUMBER = {"mrpc": {"not_paraphrase": 0, "paraphrase": 1}, "rte": {"entailment": 0, "not_entailment": 1}}
NUMBER["qnli"] = NUMBER["rte"]


def texts(set_name, pair):
    """The pair under GLUE's names, in GLUE's order."""
    if set_name == "qnli":
        return {"question": pair[1], "sentence": pair[0]}
    return {"sentence1": pair[0], "sentence2": pair[1]}


def rows(set_name, label=lambda set_name, name: name, pairs=None):
    """The records of nyu-mll/glue, but for what `label` makes of the name."""
    pairs = PAIRS[set_name] if pairs is None else pairs
    return [texts(set_name, pair) | {"label": label(set_name, pair[2]), "idx": row} for row, pair in enumerate(pairs)]


def number(set_name, name):
    return NUMBER[set_name][name]


def tsv(path, set_name):
    """GLUE's own file, byte order mark and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if set_name == "mrpc":
        lines = ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        lines += [f"{number(set_name, pair[2])}\t1{row}\t2{row}\t{pair[0]}\t{pair[1]}" for row, pair in enumerate(PAIRS[set_name])]
    else:
        lines = ["\t".join(["index", *SETS[set_name].texts, "label"])]
        lines += [
            "\t".join([str(example["idx"]), *texts(set_name, pair).values(), pair[2]])
            for example, pair in zip(rows(set_name), PAIRS[set_name], strict=True)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


def parquet(path, set_name):
    """The Hub's file: labels as numbers of a named class."""
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    text = datasets.Value("string")
    features = datasets.Features(
        dict.fromkeys(SETS[set_name].texts, text)
        | {"label": datasets.ClassLabel(names=list(HUB[set_name])), "idx": datasets.Value("int32")}
    )
    datasets.Dataset.from_list(rows(set_name, number), features=features).to_parquet(str(path))
    return path


def content(task):
    return [(example.fields, example.gold_text, example.tags, example.group) for example in task.examples]


@pytest.mark.parametrize("set_name", SETS)
def test_every_layout_gives_the_same_examples(tmp_path, set_name):
    named = write(tmp_path / "a" / set_name / "dev.jsonl", rows(set_name))
    numbered = write(tmp_path / "b" / set_name.upper() / "validation.jsonl", rows(set_name, number))
    spelled = write(tmp_path / "c" / "dev.jsonl", rows(set_name, lambda set_name, name: str(number(set_name, name))))
    own = tsv(tmp_path / "d" / set_name.upper() / "dev.tsv", set_name)
    table = parquet(tmp_path / "e" / set_name / "validation-00000-of-00001.parquet", set_name)
    named_as_on_the_hub = write(tmp_path / "f.jsonl", rows(set_name, lambda set_name, name: HUB[set_name][number(set_name, name)]))
    expected = [(texts(set_name, pair), pair[3], (pair[2],)) for pair in PAIRS[set_name]]
    for data in (named, numbered, spelled, own, table, named_as_on_the_hub, own.parent, own.parent.parent, table.parent.parent):
        task = load_task(f"glue/{set_name}", data=data)
        assert [example[:3] for example in content(task)] == expected
        assert content(task) == content(load_task(f"glue/{set_name}", data=named)), "the group too"
        assert set_name == "mrpc" or [example.id for example in task.examples] == [f"{set_name}/{row}" for row in range(3)]


def test_ids_are_pairs_of_ids_or_indices_or_positions(tmp_path):
    assert [example.id for example in load_glue("mrpc", tsv(tmp_path / "dev.tsv", "mrpc")).examples] == [
        "mrpc/10-20",
        "mrpc/11-21",
        "mrpc/12-22",
    ]
    bare = [{name: value for name, value in row.items() if name != "idx"} for row in rows("mrpc")]
    assert [example.id for example in load_glue("mrpc", write(tmp_path / "a.jsonl", bare)).examples] == ["mrpc/0", "mrpc/1", "mrpc/2"]
    several = [write(tmp_path / f"{name}.jsonl", rows("rte")) for name in ("dev", "train")]
    assert [example.id for example in load_glue("rte", several).examples][2:4] == ["rte/dev/2", "rte/train/0"]
    assert len(load_glue("rte", several).groups) == 2


@pytest.mark.parametrize("set_name", SETS)
def test_the_prompt_shows_both_texts_by_name_and_no_label(tmp_path, set_name):
    task = load_task(f"GLUE/{set_name.upper()}", data=write(tmp_path / "dev.jsonl", rows(set_name)))
    assert task.name == f"glue/{set_name}" and len(task.instructions) == 10
    example = task.examples[1]
    first, second = {"mrpc": ("Sentence 1", "Sentence 2"), "rte": ("Premise", "Hypothesis"), "qnli": ("Question", "Sentence")}[set_name]
    one, two = example.fields.values()
    options = "no, yes" if set_name == "mrpc" else "yes, no"
    assert task.prompt(example, "Well?") == f"Well? {first}: {one} {second}: {two} Options: {options} Answer:"
    assert all(instruction.endswith((".", "?")) for instruction in task.instructions)


@pytest.mark.parametrize("set_name", SETS)
def test_a_group_is_a_text_and_depends_on_nothing_else(tmp_path, set_name):
    shuffle = random.Random(0)
    pairs = [(f"Passage {number % 70}.", f"Text {number}?", SETS[set_name].labels[number % 2]) for number in range(200)]
    task = load_glue(set_name, write(tmp_path / "dev.jsonl", rows(set_name, pairs=pairs)))
    assert len(task.groups) == 70
    split = {example.fields[SETS[set_name].shared]: name for name in SHARES for example in task.split(name)}
    assert sum(len(task.split(name)) for name in SHARES) == 200
    for name in SHARES:
        assert all(split[example.fields[SETS[set_name].shared]] == name for example in task.split(name)), "a passage is in two splits"
    shuffle.shuffle(pairs)
    part = load_glue(set_name, write(tmp_path / "part.jsonl", rows(set_name, pairs=pairs[:50])))
    groups = {example.fields[SETS[set_name].shared]: example.group for example in task.examples}
    assert all(groups[example.fields[SETS[set_name].shared]] == example.group for example in part.examples)
    single = load_glue(set_name, tmp_path / "dev.jsonl", split_by="example")
    assert len(single.groups) == 200


def test_copies_of_a_passage_are_one_group_whatever_the_case_and_the_quotes(tmp_path):
    passages = ["It is  late, he said.", '"It is late," he said.', "it is late he said", "It is later, he said.", "…", "!"]
    pairs = [(passage, "Hm.", "entailment") for passage in passages]
    groups = [example.group for example in load_glue("rte", write(tmp_path / "dev.jsonl", rows("rte", pairs=pairs))).examples]
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 4


def test_of_a_folder_the_dev_file_is_read_and_nothing_is_guessed(tmp_path):
    train = write(tmp_path / "train.jsonl", rows("rte")[:1])
    assert len(load_glue("rte", tmp_path).examples) == 1, "the only one there is"
    hidden = write(tmp_path / "test.jsonl", rows("rte", lambda set_name, name: -1))
    with pytest.raises(BadTask, match=r"holds test\.jsonl, train\.jsonl: name the one"):
        load_glue("rte", tmp_path)
    dev = write(tmp_path / "dev.jsonl", rows("rte"))
    write(tmp_path / "dev_ids.jsonl", [{}])
    assert len(load_glue("rte", tmp_path).examples) == 3
    assert load_glue("rte", [train]).examples == load_glue("rte", train).examples
    with pytest.raises(BadTask, match=r"test\.jsonl:1: the label is -1: GLUE hides"):
        load_glue("rte", hidden)
    write(tmp_path / "validation.jsonl", rows("rte"))
    with pytest.raises(BadTask, match=r"holds dev\.jsonl, validation\.jsonl: name the one"):
        load_glue("rte", tmp_path)
    assert len(load_glue("rte", dev).examples) == 3


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"label": 2}, "the label is 2.*0 or entailment, 1 or not_entailment"),
        ({"label": "paraphrase"}, "the label is 'paraphrase'"),
        ({"label": True}, "the label is True"),
        ({"label": None}, "'label' is None"),
        ({"sentence1": None}, "'sentence1' is None; a text"),
        ({"sentence2": " "}, "'sentence2' is empty"),
        ({"idx": 0}, r"dev\.jsonl:1 too"),
        ({"idx": 1.5}, "'idx' is 1.5"),
        ({"id1": "7", "id2": "8"}, "MRPC's"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(tmp_path, changed, says):
    records = rows("rte")
    records[1] |= changed
    with pytest.raises(BadTask, match=rf"dev\.jsonl:2: .*{says}"):
        load_glue("rte", write(tmp_path / "dev.jsonl", records))


def test_a_file_of_another_set_is_not_read_the_wrong_way_round(tmp_path):
    for name in ("rte", "qnli", "RTE"):
        with pytest.raises(BadTask, match="another set"):
            load_glue("mrpc", write(tmp_path / name / "dev.jsonl", rows("rte", number)))
    with pytest.raises(BadTask, match=r"dev\.jsonl:1: the field 'question' is missing; there are: sentence1.*reads"):
        load_glue("qnli", write(tmp_path / "dev.jsonl", rows("rte")))


def test_tables_say_where_they_are_wrong(tmp_path):
    own = tsv(tmp_path / "dev.tsv", "qnli")
    own.write_text(own.read_text(encoding="utf-8") + "3\tonly this\n", encoding="utf-8")
    with pytest.raises(BadTask, match=r"dev\.tsv:5: 2 values for 4 columns"):
        load_glue("qnli", own)
    own.write_bytes(b"index\tquestion\tsentence\tlabel\n0\t\xff\tb\t0\n")
    with pytest.raises(BadTask, match=r"dev\.tsv:2: .*not UTF-8"):
        load_glue("qnli", own)
    own.write_text("index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\ta\tb\n", encoding="utf-8")
    with pytest.raises(BadTask, match=r"dev\.tsv:2: the field 'label' is missing.*its test files have no labels"):
        load_glue("mrpc", own)
    (tmp_path / "validation.parquet").write_bytes(b"PAR1 no more PAR1")
    with pytest.raises(BadTask, match=r"could not be read"):
        load_glue("mrpc", tmp_path / "validation.parquet")


def test_what_is_no_data_is_refused_with_what_is_read(tmp_path):
    for data in (tmp_path / "nowhere", tmp_path, tmp_path / "a.txt"):
        (tmp_path / "a.txt").write_text("x", encoding="utf-8")
        with pytest.raises(BadTask, match=r"glue/qnli reads \.jsonl, .*\.parquet files with question, sentence and label"):
            load_glue("qnli", data)
    with pytest.raises(BadTask, match="two have one name"):
        load_glue("rte", [write(tmp_path / name / "dev.jsonl", rows("rte")) for name in ("a", "b")])


def test_unknown_names_are_refused_with_the_nearest(tmp_path):
    assert {f"glue/{set_name}" for set_name in SETS} <= set(list_tasks())
    with pytest.raises(UnknownName, match=r"Did you mean 'glue/mrpc'"):
        load_task("glue/mrcp")
    with pytest.raises(UnknownName, match=r"glue/qnli"):
        load_task("glue")
    with pytest.raises(UnknownName, match="Did you mean 'rte'"):
        load_glue("rta")
    with pytest.raises(UnknownName, match=r"'story'.*example, text"):
        load_task("glue/rte", data=tmp_path, split_by="story")


@pytest.mark.parametrize("set_name", SETS)
def test_without_data_the_validation_part_of_the_hub_is_read(hub_cache, set_name):
    with pytest.raises(BadTask, match=r"could not be fetched.*--data.*dev or validation"):
        load_task(f"glue/{set_name}")
    table = parquet(
        hub_cache / "datasets--nyu-mll--glue" / "snapshots" / ("3" * 40) / set_name / "validation-00000-of-00001.parquet", set_name
    )
    assert load_task(f"glue/{set_name}").digest == load_task(f"glue/{set_name}", data=table).digest


#: SOURCE.md of example folder.
COUNTS = {
    "mrpc/dev": {"paraphrase": 279, "not_paraphrase": 129},
    "mrpc/train": {"paraphrase": 2474, "not_paraphrase": 1194},
    "mrpc/test": {"paraphrase": 1147, "not_paraphrase": 578},
    "rte/dev": {"entailment": 146, "not_entailment": 131},
    "rte/train": {"entailment": 1249, "not_entailment": 1241},
    "qnli/dev": {"entailment": 2702, "not_entailment": 2761},
}


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("part", COUNTS)
def test_the_real_data(shared, part):
    set_name, name = part.split("/")
    task = load_task(f"glue/{set_name}", data=shared / "data" / set_name / f"{name}.jsonl")
    assert Counter(tag for example in task.examples for tag in example.tags) == COUNTS[part]
    yes = {"paraphrase", "entailment"}
    assert all((example.gold_text == "yes") == (example.tags[0] in yes) for example in task.examples)
    passages = {split: {example.fields[SETS[set_name].shared] for example in task.split(split)} for split in SHARES}
    assert len(set.union(*passages.values())) == sum(map(len, passages.values())), "a passage is in two splits"
    if name == "dev":
        for data in (shared / "data", shared / "data" / set_name):
            assert load_task(f"glue/{set_name}", data=data).digest == task.digest
