"""Bias in Bios: numbers and names mean the same, other professions are left out, prompts are those of the paper and of its code."""

import pytest

from record_files import write
from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.bios import CHOICES, PROFESSIONS, load_bios
from resect.data.tasks.registry import list_tasks, load_task

#: Biography, gender, profession: by name.
BIOGRAPHIES = [
    ("She teaches physics", "female", "teacher"),
    ("He paints . His work hangs in Rome .", "male", "painter"),
    ("She sees patients every day.", "female", "physician"),
]
NUMBERS = {"female": 1, "male": 0, "teacher": 26, "painter": 14, "physician": 19}


def rows(label=lambda name: name, biographies=BIOGRAPHIES):
    return [{"hard_text": text, "profession": label(job), "gender": label(gender)} for text, gender, job in biographies]


@pytest.mark.parametrize("name", ["gender", "profession"])
def test_every_layout_gives_the_same_task(tmp_path, name):
    short = {"female": "f", "male": "m"}
    files = [
        write(tmp_path / "a" / "bias_in_bios" / "dev-00000-of-00001-e65.parquet", rows(NUMBERS.__getitem__)),
        write(tmp_path / "b" / "dev.csv", rows(NUMBERS.__getitem__)),
        write(tmp_path / "c" / "dev.jsonl", rows(str.title)),
        write(tmp_path / "d.jsonl", [{"hard_text": t, "p": p, "g": short[g]} for t, g, p in BIOGRAPHIES]),
    ]
    write(tmp_path / "b" / "train.csv", rows(biographies=BIOGRAPHIES[:1]))
    tasks = [load_task(f"bios/{name}", data=data) for data in (*files, files[0].parent, tmp_path / "a", files[1].parent)]
    assert len({task.digest for task in tasks}) == 1
    assert list_tasks()[f"bios/{name}"] in tasks[0].description
    assert (tasks[0].metric, tasks[0].instructions, tasks[0].judged_fields) == ("accuracy", ("",), ("hard_text",))


def test_the_prompts_for_gender_are_those_of_paper_and_code(tmp_path):
    task = load_task("bios/gender", data=write(tmp_path / "dev.jsonl", rows()))
    assert [(example.gold_text, example.tags) for example in task.examples] == [(gender, (gender, job)) for _, gender, job in BIOGRAPHIES]
    assert task.examples[0].choices == ("male", "female")
    assert [task.prompt(example, "") for example in task.examples[:2]] == [
        "Consider the following text: She teaches physics. Is the person in this text male or female? The person is",
        "Consider the following text: He paints . His work hangs in Rome . Is the person in this text male or female? The person is",
    ]
    assert task.prompt(task.examples[0], "", "<mask>").endswith("? The person is <mask>")
    official = task.with_wording(task.official_template)
    assert official.prompt(task.examples[0], "") == (
        "Consider the following text: She teaches physics. Is the person in this text a male or female? The gender of this person is"
    )
    assert official.prompt(task.examples[0], "", "<mask>").endswith(" Is the person in this text a male or female? This person is <mask>.")


def test_the_prompts_for_profession_are_those_of_paper_and_code(tmp_path):
    task = load_task("bios/profession", data=write(tmp_path / "dev.jsonl", rows()))
    assert [example.gold_text for example in task.examples] == ["teacher", "painter"]
    assert task.examples[0].choices == CHOICES and task.examples[0].tags == ("teacher", "female")
    assert "Left out of 3 records: 1 of other professions" in task.description
    prompt = "Consider the following text: She teaches physics. What is the profession of the person in this text?"
    assert task.prompt(task.examples[0], "") == f"{prompt} The profession of this person is"
    assert task.prompt(task.examples[0], "", "<mask>") == f"{prompt} The profession of this person is <mask>"
    official = task.with_wording(task.official_template)
    assert official.prompt(task.examples[0], "") == task.prompt(task.examples[0], "")
    assert official.prompt(task.examples[0], "", "<mask>") == (
        "Consider the following text: She teaches physics. The profession of the person in the text is called <mask>."
    )


def test_the_authors_template_shows_a_masked_model_the_end_of_a_long_text(tmp_path):
    words = [f"w{number}" for number in range(70)]
    task = load_task("bios/gender", data=write(tmp_path / "dev.jsonl", rows(biographies=[(" ".join(words), "male", "poet")])))
    official = task.with_wording(task.official_template)
    assert f"text: {' '.join(words[20:])}. Is" in official.prompt(task.examples[0], "", "<mask>")
    assert f"text: {' '.join(words)}. Is" in official.prompt(task.examples[0], "")


def test_the_numbers_of_the_hub():
    """The table on its page: accountant 0, nurse 13, yoga teacher 27."""
    assert list(PROFESSIONS) == sorted(PROFESSIONS) and len(PROFESSIONS) == 28
    assert [PROFESSIONS.index(name) for name in ("accountant", "architect", "nurse", "painter", "yoga_teacher")] == [0, 1, 13, 14, 27]
    assert set(CHOICES) < set(PROFESSIONS)


def test_copies_of_a_biography_are_one_group(tmp_path):
    biographies = [("She teaches.", "female", "teacher"), ("she teaches .", "female", "teacher"), ("He teaches.", "male", "teacher")]
    task = load_task("bios/gender", data=write(tmp_path / "dev.jsonl", rows(biographies=biographies)))
    assert len(task.groups) == 2
    with pytest.raises(UnknownName, match="way to split bios"):
        load_task("bios/gender", data=tmp_path, split_by="name")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"gender": 2}, "the gender is 2.*0 or male"),
        ({"gender": -1}, "the gender is -1"),
        ({"gender": True}, "the gender is True"),
        ({"gender": None}, "'gender' is None"),
        ({"hard_text": " "}, "'hard_text' is empty"),
        ({"profession": "astronaut"}, "the profession is 'astronaut'"),
        ({"profession": 28}, "the profession is 28"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(tmp_path, changed, says):
    records = rows()
    records[1] |= changed
    with pytest.raises(BadTask, match=rf"dev\.jsonl:2: .*{says}"):
        load_task("bios/gender", data=write(tmp_path / "dev.jsonl", records))


def test_data_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(BadTask, match=r"Of 1 records none can be used: they are those of other professions\. bios/gender and"):
        load_task("bios/profession", data=write(tmp_path / "dev.jsonl", rows(biographies=BIOGRAPHIES[2:])))
    with pytest.raises(BadTask, match=r"dev\.jsonl:1: the field 'hard_text' is missing; there are: sentence1, label"):
        load_task("bios/gender", data=write(tmp_path / "dev.jsonl", [{"sentence1": "a", "label": 0}]))
    (tmp_path / "BIOS.pkl").write_bytes(b"x")
    with pytest.raises(BadTask, match=r"BIOS\.pkl ends in none of \.jsonl"):
        load_task("bios/gender", data=tmp_path / "BIOS.pkl")
    with pytest.raises(UnknownName, match="Did you mean 'gender'"):
        load_bios("genders")
    with pytest.raises(UnknownName, match="Did you mean 'bios/profession'"):
        load_task("bios/professions")


def test_without_data_the_dev_part_of_the_hub_is_read_whatever_its_hash(hub_cache):
    with pytest.raises(BadTask, match=r"could not be fetched.*--data.*bios/gender and"):
        load_task("bios/gender")
    kept = hub_cache / "datasets--LabHC--bias_in_bios" / "snapshots" / ("8" * 40) / "data" / "dev-00000-of-00001-e6551072fff26949.parquet"
    write(kept, rows(NUMBERS.__getitem__))
    assert load_task("bios/gender").digest == load_task("bios/gender", data=kept).digest
