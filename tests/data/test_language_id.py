"""Language identification: sure and unsure texts, codes of one language, and text without documents in another language."""

import sys
from itertools import islice

import pytest

from resect.core.errors import InputError, UnknownName
from resect.data.corpus import open_corpus
from resect.data.language_id import (
    MIN_LETTERS,
    LanguageFilter,
    LanguageIdentifier,
    check_supported,
    count_letters,
    is_same_language,
    is_supported,
)

SENTENCES = {
    "en": "The library was closed because the heating had failed during the night.",
    "fr": "La bibliothèque était fermée parce que le chauffage était tombé en panne pendant la nuit.",
    "es": "La biblioteca estaba cerrada porque la calefacción se había estropeado durante la noche.",
    "de": "Die Bücherei war geschlossen, weil die Heizung in der Nacht ausgefallen war.",
    "vi": "Thư viện đóng cửa vì hệ thống sưởi bị hỏng trong đêm.",
    "id": "Perpustakaan itu ditutup karena pemanas ruangan rusak pada malam hari.",
    "ja": "夜の間に暖房が故障したので、図書館は閉まっていました。",
    "zh": "因为暖气在夜里坏了，图书馆关门了。",
    "ru": "Библиотека была закрыта, потому что ночью сломалось отопление.",
}


@pytest.fixture(scope="module")
def identifier():
    return LanguageIdentifier()


@pytest.mark.slow
def test_sentences_are_identified(identifier):
    assert identifier.identify(list(SENTENCES.values())) == list(SENTENCES)
    assert identifier.identify([]) == []


def test_texts_with_too_little_information_are_unsure(identifier):
    assert identifier.identify(["", " \n", "12:30, 50 %!", "😀", "ok", "\ud800", "\x00", "ကျေးဇူးတင်ပါတယ်"]) == [None] * 8


REGIONS = [("en", "en"), ("EN", "en"), ("zh-CN", "zh"), ("zh_Hant", "zh"), ("en_news", "en"), ("fra", "fr"), ("eng-x", "en"), ("cmn", "zh")]
VARIETIES = [("id", "ms"), ("ms", "id"), ("no", "nb"), ("nor", "nn"), ("nn", "nb"), ("hr", "sr"), ("bs", "hr")]


@pytest.mark.parametrize(("code", "identified"), [*REGIONS, *VARIETIES])
def test_codes_of_one_language(code, identified):
    assert is_same_language(code, identified)
    assert is_supported(code)
    check_supported([code, identified])


@pytest.mark.parametrize(
    ("code", "identified"), [("en", "fr"), ("en", None), ("id", "tl"), ("sl", "hr"), ("nb", "da"), ("eno", "en"), ("e", "en")]
)
def test_codes_of_different_languages(code, identified):
    assert not is_same_language(code, identified)


def test_unsupported_languages_are_refused():
    assert not is_supported("tlh") and not is_supported("xx") and not is_supported("english")
    with pytest.raises(UnknownName, match=r"Unknown language 'xx'\..*Known: af, ar, "):
        check_supported(["en", "xx"])
    with pytest.raises(UnknownName, match="'xx'"):
        LanguageFilter(LanguageIdentifier()).filter("xx", [])


class Counted:
    """Documents that count how many were read, and know their share."""

    def __init__(self, documents):
        self.documents, self.read_so_far = documents, 0

    def __iter__(self):
        self.read_so_far = 0
        for document in self.documents:
            self.read_so_far += 1
            yield document

    def share(self):
        return self.read_so_far / len(self.documents)


def test_documents_in_another_language_are_left_out(identifier):
    mixed = [SENTENCES["fr"], SENTENCES["en"], "ok", SENTENCES["es"], "1789", f"{SENTENCES['fr']} Oui."]
    purity = LanguageFilter(identifier)
    french, spanish = purity.filter("fr-CA", mixed), purity.filter("es", mixed)
    assert dict(purity.read) == {"fr-CA": 0, "es": 0}
    assert list(french) == [mixed[0], mixed[2], mixed[4], mixed[5]]
    assert list(spanish) == [mixed[2], mixed[3], mixed[4]]
    assert dict(purity.read) == {"fr-CA": 6, "es": 6} and dict(purity.left_out) == {"fr-CA": 2, "es": 3}
    assert list(french) == list(french)
    assert purity.left_out["fr-CA"] == 2  # of the last iteration, not of all
    assert french.share() is None


def test_short_lines_in_any_other_language_are_left_out(identifier):
    short = "Training a model"
    assert identifier.identify([short]) == [None]  # in any of many languages
    assert identifier.are_in_another_language([short], "ja") == [True] and identifier.are_in_another_language([short], "en-news") == [False]
    assert list(LanguageFilter(identifier).filter("ja", [short, "2024", SENTENCES["ja"]])) == ["2024", SENTENCES["ja"]]


def test_the_most_probable_language_of_a_few_words_is_unsure():
    few = ["is a women.", "use the model.", "use the model as it is", "图书馆门", "Bonjour !"]
    more = ["the model is used as it is here", "图书馆关门了", "Bonjour tout le monde, et à demain."]
    assert [count_letters(text) for text in (*few, *more)] == [8, 11, 17, 16, 7, 24, 24, 27]
    assert LanguageIdentifier(min_confidence=0.0).identify(few[:3]) != ["en"] * 3
    careful = LanguageIdentifier(min_confidence=0.0, min_letters=MIN_LETTERS)
    assert careful.identify(few) == [None] * 5
    assert careful.identify(more) == ["en", "zh", "fr"]


def test_counts_are_of_the_yielded_documents_and_reading_is_not_far_ahead(identifier):
    documents = Counted([SENTENCES["en"], SENTENCES["fr"]] * 500)
    purity = LanguageFilter(identifier)
    filtered = purity.filter("en", documents)
    assert list(islice(filtered, 3)) == [SENTENCES["en"]] * 3
    assert (purity.read["en"], purity.left_out["en"]) == (5, 2)
    assert documents.read_so_far <= 256 and filtered.share() == documents.read_so_far / 1000


def test_a_long_document_is_judged_by_its_middle(identifier):
    menu = "Home | About us | Contact | Terms and conditions of use | Sign in to your account here | "
    document = menu + SENTENCES["vi"] * 20_000 + menu
    assert list(LanguageFilter(identifier).filter("vi", [document, SENTENCES["en"] * 20_000])) == [document]


def test_varieties_of_a_language_remain(identifier):
    malay = "Perpustakaan itu ditutup kerana sistem pemanasan telah rosak pada waktu malam semalam."
    assert identifier.identify([malay]) == ["ms"]
    assert list(LanguageFilter(identifier).filter("id", [malay, SENTENCES["id"]])) == [malay, SENTENCES["id"]]


def test_without_lingua_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(InputError, match=r"pip install 'resect\[languages\]'"):
        LanguageIdentifier()


@pytest.mark.slow
@pytest.mark.real
def test_real_text_is_pure_and_other_text_is_left_out(shared, identifier):
    """The measurements in the docstring of LanguageIdentifier, on fewer lines."""
    texts = shared / "data" / "multilingual_text"
    languages = [language for language in SENTENCES if (texts / language).is_dir()]
    purity = LanguageFilter(identifier)
    for language in languages:
        own = list(islice(open_corpus(str(texts / language / "valid.txt")), 150))
        others = [line for other in languages if other != language for line in islice(open_corpus(str(texts / other / "valid.txt")), 20)]
        long = [line for line in others if len(line) >= 80]
        assert len(list(purity.filter(language, own))) >= 0.99 * len(own)
        assert len(list(purity.filter(language, long))) <= 0.1 * len(long)
