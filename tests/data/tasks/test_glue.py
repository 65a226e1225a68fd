"""GLUE's pair tasks: every layout says the same, labels the right way round, groups that hold together, errors that say where."""

import json
import random
from collections import Counter

import pytest

from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.base import SHARES
from resect.data.tasks.glue import MEMBERS, load_glue
from resect.data.tasks.registry import list_tasks, load_task

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


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The caches of the two packages, empty, in a folder of the test."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path / "hub"


def texts(member, pair):
    """The pair under GLUE's names, in GLUE's order."""
    if member == "qnli":
        return {"question": pair[1], "sentence": pair[0]}
    return {"sentence1": pair[0], "sentence2": pair[1]}


def rows(member, label=lambda member, name: name, pairs=None):
    """The records of nyu-mll/glue, but for what `label` makes of the name."""
    pairs = PAIRS[member] if pairs is None else pairs
    return [texts(member, pair) | {"label": label(member, pair[2]), "idx": row} for row, pair in enumerate(pairs)]


def number(member, name):
    return NUMBER[member][name]


def jsonl(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    return path


def tsv(path, member):
    """GLUE's own file, byte order mark and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if member == "mrpc":
        lines = ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        lines += [f"{number(member, pair[2])}\t1{row}\t2{row}\t{pair[0]}\t{pair[1]}" for row, pair in enumerate(PAIRS[member])]
    else:
        lines = ["\t".join(["index", *MEMBERS[member].texts, "label"])]
        lines += [
            "\t".join([str(each["idx"]), *texts(member, pair).values(), pair[2]])
            for each, pair in zip(rows(member), PAIRS[member], strict=True)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


def parquet(path, member):
    """The Hub's file: labels as numbers of a named class."""
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    text = datasets.Value("string")
    features = datasets.Features(
        dict.fromkeys(MEMBERS[member].texts, text) | {"label": datasets.ClassLabel(names=list(HUB[member])), "idx": datasets.Value("int32")}
    )
    datasets.Dataset.from_list(rows(member, number), features=features).to_parquet(str(path))
    return path


def asked(task):
    return [(each.fields, each.gold_text, each.tags, each.group) for each in task.examples]


@pytest.mark.parametrize("member", MEMBERS)
def test_every_layout_gives_the_same_examples(tmp_path, member):
    named = jsonl(tmp_path / "a" / member / "dev.jsonl", rows(member))
    numbered = jsonl(tmp_path / "b" / member.upper() / "validation.jsonl", rows(member, number))
    spelled = jsonl(tmp_path / "c" / "dev.jsonl", rows(member, lambda member, name: str(number(member, name))))
    own = tsv(tmp_path / "d" / member.upper() / "dev.tsv", member)
    table = parquet(tmp_path / "e" / member / "validation-00000-of-00001.parquet", member)
    named_as_on_the_hub = jsonl(tmp_path / "f.jsonl", rows(member, lambda member, name: HUB[member][number(member, name)]))
    wanted = [(texts(member, pair), pair[3], (pair[2],)) for pair in PAIRS[member]]
    for data in (named, numbered, spelled, own, table, named_as_on_the_hub, own.parent, own.parent.parent, table.parent.parent):
        task = load_task(f"glue/{member}", data=data)
        assert [each[:3] for each in asked(task)] == wanted
        assert asked(task) == asked(load_task(f"glue/{member}", data=named)), "the group too"
        assert member == "mrpc" or [each.id for each in task.examples] == [f"{member}/{row}" for row in range(3)]


def test_ids_are_pairs_of_ids_or_indices_or_positions(tmp_path):
    assert [each.id for each in load_glue("mrpc", tsv(tmp_path / "dev.tsv", "mrpc")).examples] == ["mrpc/10-20", "mrpc/11-21", "mrpc/12-22"]
    bare = [{name: value for name, value in row.items() if name != "idx"} for row in rows("mrpc")]
    assert [each.id for each in load_glue("mrpc", jsonl(tmp_path / "a.jsonl", bare)).examples] == ["mrpc/0", "mrpc/1", "mrpc/2"]
    several = [jsonl(tmp_path / f"{name}.jsonl", rows("rte")) for name in ("dev", "train")]
    assert [each.id for each in load_glue("rte", several).examples][2:4] == ["rte/dev/2", "rte/train/0"]
    assert len(load_glue("rte", several).groups) == 2


@pytest.mark.parametrize("member", MEMBERS)
def test_the_prompt_shows_both_texts_by_name_and_no_label(tmp_path, member):
    task = load_task(f"GLUE/{member.upper()}", data=jsonl(tmp_path / "dev.jsonl", rows(member)))
    assert task.name == f"glue/{member}" and len(task.instructions) == 10
    example = task.examples[1]
    first, second = {"mrpc": ("Sentence 1", "Sentence 2"), "rte": ("Premise", "Hypothesis"), "qnli": ("Question", "Sentence")}[member]
    one, two = example.fields.values()
    options = "no, yes" if member == "mrpc" else "yes, no"
    assert task.prompt(example, "Well?") == f"Well? {first}: {one} {second}: {two} Options: {options} Answer:"
    assert all(instruction.endswith((".", "?")) for instruction in task.instructions)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_group_is_a_text_and_depends_on_nothing_else(tmp_path, member):
    shuffle = random.Random(0)
    pairs = [(f"Passage {number % 70}.", f"Text {number}?", MEMBERS[member].labels[number % 2]) for number in range(200)]
    whole = load_glue(member, jsonl(tmp_path / "dev.jsonl", rows(member, pairs=pairs)))
    assert len(whole.groups) == 70
    split = {example.fields[MEMBERS[member].shared]: name for name in SHARES for example in whole.split(name)}
    assert sum(len(whole.split(name)) for name in SHARES) == 200
    for name in SHARES:
        assert all(split[example.fields[MEMBERS[member].shared]] == name for example in whole.split(name)), "a passage stands in two splits"
    shuffle.shuffle(pairs)
    part = load_glue(member, jsonl(tmp_path / "part.jsonl", rows(member, pairs=pairs[:50])))
    groups = {example.fields[MEMBERS[member].shared]: example.group for example in whole.examples}
    assert all(groups[example.fields[MEMBERS[member].shared]] == example.group for example in part.examples)
    single = load_glue(member, tmp_path / "dev.jsonl", split_by="example")
    assert len(single.groups) == 200


def test_copies_of_a_passage_are_one_group_whatever_the_case_and_the_quotes(tmp_path):
    passages = ["It is  late, he said.", '"It is late," he said.', "it is late he said", "It is later, he said.", "…", "!"]
    pairs = [(passage, "Hm.", "entailment") for passage in passages]
    groups = [each.group for each in load_glue("rte", jsonl(tmp_path / "dev.jsonl", rows("rte", pairs=pairs))).examples]
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 4


def test_of_a_folder_the_dev_file_is_taken_and_nothing_is_guessed(tmp_path):
    train = jsonl(tmp_path / "train.jsonl", rows("rte")[:1])
    assert len(load_glue("rte", tmp_path).examples) == 1, "the only one there is"
    hidden = jsonl(tmp_path / "test.jsonl", rows("rte", lambda member, name: -1))
    with pytest.raises(BadTask, match=r"holds test\.jsonl, train\.jsonl: name the one"):
        load_glue("rte", tmp_path)
    dev = jsonl(tmp_path / "dev.jsonl", rows("rte"))
    jsonl(tmp_path / "dev_ids.jsonl", [{}])
    assert len(load_glue("rte", tmp_path).examples) == 3
    assert load_glue("rte", [train]).examples == load_glue("rte", train).examples
    with pytest.raises(BadTask, match=r"test\.jsonl:1: the label is -1: GLUE hides"):
        load_glue("rte", hidden)
    jsonl(tmp_path / "validation.jsonl", rows("rte"))
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
def test_a_wrong_record_says_where(tmp_path, changed, says):
    records = rows("rte")
    records[1] |= changed
    with pytest.raises(BadTask, match=rf"dev\.jsonl:2: .*{says}"):
        load_glue("rte", jsonl(tmp_path / "dev.jsonl", records))


def test_a_file_of_another_set_is_not_read_the_wrong_way_round(tmp_path):
    for name in ("rte", "qnli", "RTE"):
        with pytest.raises(BadTask, match="another set"):
            load_glue("mrpc", jsonl(tmp_path / name / "dev.jsonl", rows("rte", number)))
    with pytest.raises(BadTask, match=r"dev\.jsonl:1: the field 'question' is missing; there are: sentence1.*reads"):
        load_glue("qnli", jsonl(tmp_path / "dev.jsonl", rows("rte")))


def test_tables_say_where_they_are_wrong(tmp_path):
    own = tsv(tmp_path / "dev.tsv", "qnli")
    own.write_text(own.read_text(encoding="utf-8") + "3\tonly this\n", encoding="utf-8")
    with pytest.raises(BadTask, match=r"dev\.tsv:5: 2 values for 4 columns"):
        load_glue("qnli", own)
    own.write_bytes(b"index\tquestion\tsentence\tlabel\n0\t\xff\tb\t0\n")
    with pytest.raises(BadTask, match=r"dev\.tsv is not UTF-8"):
        load_glue("qnli", own)
    own.write_text("index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\ta\tb\n", encoding="utf-8")
    with pytest.raises(BadTask, match=r"dev\.tsv:2: the field 'label' is missing.*its test files have no labels"):
        load_glue("mrpc", own)
    (tmp_path / "validation.parquet").write_bytes(b"PAR1 no more PAR1")
    with pytest.raises(BadTask, match=r"could not be read"):
        load_glue("mrpc", tmp_path / "validation.parquet")


def test_what_is_no_data_says_what_is_read(tmp_path):
    for data in (tmp_path / "nowhere", tmp_path, tmp_path / "a.txt"):
        (tmp_path / "a.txt").write_text("x", encoding="utf-8")
        with pytest.raises(BadTask, match=r"glue/qnli reads \.jsonl, .*\.parquet files with question, sentence and label"):
            load_glue("qnli", data)
    with pytest.raises(BadTask, match="two have one name"):
        load_glue("rte", [jsonl(tmp_path / name / "dev.jsonl", rows("rte")) for name in ("a", "b")])


def test_names_that_do_not_exist(tmp_path):
    assert {f"glue/{member}" for member in MEMBERS} <= set(list_tasks())
    with pytest.raises(UnknownName, match=r"Did you mean 'glue/mrpc'"):
        load_task("glue/mrcp")
    with pytest.raises(UnknownName, match=r"glue/qnli"):
        load_task("glue")
    with pytest.raises(UnknownName, match="Did you mean 'rte'"):
        load_glue("rta")
    with pytest.raises(UnknownName, match=r"'story'.*example, text"):
        load_task("glue/rte", data=tmp_path, split_by="story")


@pytest.mark.parametrize("member", MEMBERS)
def test_without_data_the_validation_part_of_the_hub_is_read(cache, member):
    with pytest.raises(BadTask, match=r"could not be fetched.*--data.*dev or validation"):
        load_task(f"glue/{member}")
    table = parquet(cache / "datasets--nyu-mll--glue" / "snapshots" / ("3" * 40) / member / "validation-00000-of-00001.parquet", member)
    assert load_task(f"glue/{member}").digest == load_task(f"glue/{member}", data=table).digest


#: SOURCE.md of each folder.
COUNTS = {
    "mrpc/dev": {"paraphrase": 279, "not_paraphrase": 129},
    "mrpc/train": {"paraphrase": 2474, "not_paraphrase": 1194},
    "mrpc/test": {"paraphrase": 1147, "not_paraphrase": 578},
    "rte/dev": {"entailment": 146, "not_entailment": 131},
    "rte/train": {"entailment": 1249, "not_entailment": 1241},
    "qnli/dev": {"entailment": 2702, "not_entailment": 2761},
}


@pytest.mark.real
@pytest.mark.parametrize("part", COUNTS)
def test_the_real_files(shared, part):
    member, name = part.split("/")
    task = load_task(f"glue/{member}", data=shared / "data" / member / f"{name}.jsonl")
    assert Counter(tag for each in task.examples for tag in each.tags) == COUNTS[part]
    yes = {"paraphrase", "entailment"}
    assert all((each.gold_text == "yes") == (each.tags[0] in yes) for each in task.examples)
    passages = {split: {each.fields[MEMBERS[member].shared] for each in task.split(split)} for split in SHARES}
    assert len(set.union(*passages.values())) == sum(map(len, passages.values())), "a passage stands in two splits"
    if name == "dev":
        for data in (shared / "data", shared / "data" / member):
            assert load_task(f"glue/{member}", data=data).digest == task.digest
