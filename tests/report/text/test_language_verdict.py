"""What the matrix of a run on corpora by language says, and how careful it is about it."""

import copy

import pytest

from report.language_folder import LANGUAGES, UNITS, matrix
from resect.report.readers.language_matrix import LanguageMatrix
from resect.report.text.language_verdict import language_verdict
from resect.runs.schemas.languages import MatrixFile
from resect.runs.schemas.parts import read_tolerantly


def effects_of(found):
    """The matrix of the object of matrix.json."""
    return LanguageMatrix.of(MatrixFile.model_validate(found))


def changed_matrix(**cells):
    """The matrix with some changes of the loss put in their places, by names such as zh_ja, and nothing said of what is the largest."""
    found = matrix()
    del found["diagonal"]
    for name, value in cells.items():
        row, column = (LANGUAGES.index(part) for part in name.split("_"))
        found["neg_logprob"]["change"][row][column] = value
        found["neg_logprob"]["interval"][row][column] = [value - 0.004, value + 0.004]
    return found


@pytest.mark.parametrize(
    ("found", "word", "says"),
    [
        (changed_matrix(), "Specific", ("for all 7 languages", "come nearest for id, +0.020 against -0.001")),
        (changed_matrix(ja_zh=0.09), "Partly specific", ("for 6 of 7 languages", "not for ja (zh suffers more)")),
        (
            changed_matrix(id_id=0.0055),
            "Partly specific",
            ("For id, the interval of the own change reaches down to the text that suffers",),
        ),
        (changed_matrix(fr_fr=0.05, ja_en=0.07), "Specific by row, not by column", ("en's text suffers more from ja's units (+0.070)",)),
        ({**matrix(), "selector": "random"}, "Random units", ("drawn at random", "a chance of 1 in 7", "of 7 languages about 1 would")),
        (changed_matrix(id_id=0.001, id_en=0.0), "Partly specific", ("Not beyond chance: id",)),
        (matrix(units=(0, *UNITS[1:])), "Specific", ("for all 6 languages", "en has no units: its row is that of the model")),
        (matrix(units=(0, 0, *UNITS[2:])), "Specific", ("en and zh have no units: their rows are",)),
        (matrix(units=(0,) * 7), "No units", ("nothing was deactivated",)),
        ({**matrix(), "control": None}, "Specific, without a control", ("+0.006 on average", "there is no control")),
        ({**matrix(), "neg_logprob": {**matrix()["neg_logprob"], "interval": None}}, "Not sure", ("Without an interval: en, zh",)),
        (
            {**matrix(), "control": {"neg_logprob": {"change": [[0.9] * 7] * 7}}},
            "No more than random units do",
            ("random units do as much",),
        ),
    ],
)
def test_the_verdict_follows_the_numbers(found, word, says):
    told = language_verdict(effects_of(found))
    assert told.word == word
    for expected in says:
        assert expected in told.sentence, told.sentence
    assert told.is_clear == (word == "Specific")


def test_what_follows_from_the_matrix():
    found = effects_of(changed_matrix(ja_zh=0.09))
    assert found.own == tuple(found.loss.change[place][place] for place in range(7))
    assert [found.languages[place] for place in found.strongest] == [*LANGUAGES[:6], "zh"]
    assert found.specific == LANGUAGES[:6] and found.with_units == LANGUAGES
    assert found.others[0] == ("ja", "zh", 0.09) and len(found.others) == 42
    assert all(one[2] >= other[2] for one, other in zip(found.others, found.others[1:], strict=False))
    assert found.next_to("zh") == ("ja", 0.043)


def test_a_language_is_sure_where_nothing_reaches_its_interval():
    found = matrix()
    assert effects_of(found).sure == LANGUAGES
    random = copy.deepcopy(found)
    random["control"]["neg_logprob"]["change"][2][2] = found["neg_logprob"]["interval"][2][2][0]
    assert effects_of(random).near_random == ("fr",) and effects_of(random).as_random == () and "fr" not in effects_of(random).sure
    other = copy.deepcopy(random)
    other["control"]["neg_logprob"]["change"][2] = [
        0.0 if place == 2 else 9.0 for place in range(7)
    ]  # other texts' draws say nothing of fr
    assert effects_of(other).sure == LANGUAGES
    column = effects_of(changed_matrix(zh_zh=0.145, ja_en=0.06))
    assert column.hurt_more == (("en", "ja", 0.06, 0.048),) and "ja" in column.sure


def test_a_tie_is_no_largest():
    found = changed_matrix(en_en=0.05, en_fr=0.05)
    assert "en" not in effects_of(found).specific


def test_a_change_follows_from_before_and_after_where_it_is_not_told():
    found = matrix()
    del found["neg_logprob"]["change"]
    for mine, row in zip(effects_of(matrix()).loss.change, effects_of(found).loss.change, strict=True):
        assert row == pytest.approx(mine)


@pytest.mark.parametrize("damage", [{"languages": []}, {"languages": ["en", "en"]}, {"languages": None}, {"neg_logprob": 3}])
def test_a_matrix_without_a_language_or_a_change_is_none(damage):
    found, damages = read_tolerantly(MatrixFile, {**matrix(), **damage}, "matrix.json")
    assert found is None and any(str(each).startswith(tuple(damage)) for each in damages)


@pytest.mark.parametrize("table", [[[0.1]], "x", None, [[0.1] * 7] * 3])
def test_a_table_of_another_shape_is_left_out(table):
    found = matrix()
    found["neg_logprob"]["change"] = table
    read, damages = read_tolerantly(MatrixFile, found, "matrix.json")
    assert len(LanguageMatrix.of(read).loss.change) == 7 and LanguageMatrix.of(read).own[1] == pytest.approx(0.145)
    assert table is None or table == [[0.1]] or "neg_logprob.change" in str(damages[0])
