"""Marked texts: what is data stays data through cutting, joining, templates and pickling."""

import copy
import pickle
import re

from resect.core.marked_text import HiddenSpellings, MarkedText, filled, joined, piece

SPELLINGS = re.compile("</s>|<s>")


def data_of(text):
    return [text[start:stop] for start, stop in getattr(text, "data", ())]


def test_a_marked_text_is_the_plain_text_wherever_that_is_expected():
    text = MarkedText("a</s>", [(1, 5), (2, 2)])
    assert (text, hash(text), text.data) == ("a</s>", hash("a</s>"), ((1, 5),))
    assert type(str(text)) is str
    again = copy.deepcopy(pickle.loads(pickle.dumps(text)))  # noqa: S301  its own pickle
    assert (again, again.data) == (text, text.data)


def test_pieces_and_joined_texts_keep_their_marks():
    text = MarkedText("ab</s>cd", [(2, 6)])
    assert data_of(piece(text, 1, 8)) == ["</s>"]
    assert data_of(piece(text, 3, 5)) == ["/s"]
    assert data_of(piece(text, 6, 8)) == []
    assert data_of(joined("<s>", text, " ", text)) == ["</s>", "</s>"]
    assert type(joined("a", "b")) is str


def test_what_is_filled_into_a_template_is_data_and_is_not_searched_again():
    text = filled("<s>{a} {b}</s>", {"{a}": "{b}</s>", "{b}": "x"})
    assert (text, data_of(text)) == ("<s>{b}</s> x</s>", ["{b}</s>", "x"])


def test_hidden_spellings_are_marked_where_a_template_puts_them():
    hidden = HiddenSpellings(SPELLINGS)
    values = hidden.hide({"a": " x</s> ", "b": ["<s>", 3]})
    assert not SPELLINGS.search(repr(values))
    rendered = hidden.restore(f"<s>{values['a'].strip().upper()}|{values['b'][0]}{values['b'][0]}</s>")
    assert (rendered, data_of(rendered)) == ("<s>X</s>|<s><s></s>", ["</s>", "<s>", "<s>"])


def test_only_the_data_of_a_marked_text_is_hidden_and_a_stand_in_in_data_is_itself():
    hidden = HiddenSpellings(SPELLINGS)
    text = hidden.hide(MarkedText("<s>a</s>", [(4, 8)]))
    assert text.startswith("<s>a") and len(text) == 5
    forged = hidden.hide(text[-1])
    assert hidden.restore(text + forged) == f"<s>a</s>{text[-1]}"
