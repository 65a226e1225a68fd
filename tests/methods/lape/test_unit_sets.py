"""Where language units lie, what languages share, how well the choice holds: against sets of triples, counted one by one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resect.core.address import Neurons
from resect.core.errors import InputError
from resect.methods.lape.unit_sets import jaccard, stability, unit_overlap, units_by_layer

SITES = ("encoder.0.act", "decoder.0.act", "decoder.1.act")
neurons = st.dictionaries(st.sampled_from(SITES), st.lists(st.integers(0, 7), max_size=5), max_size=3).map(Neurons)
choices = st.dictionaries(st.sampled_from(["en", "fr", "ja"]), neurons, max_size=3)


def triples(units):
    return {(language, site, unit) for language, chosen in units.items() for site, places in chosen.items() for unit in places}


@given(choices)
def test_units_are_counted_by_layer_and_add_up(units):
    found = units_by_layer(units, SITES, [8, 8, 8])
    assert (found["sites"], found["width"]) == (list(SITES), [8, 8, 8])
    assert {language: sum(row) for language, row in found["units"].items()} == {name: chosen.count for name, chosen in units.items()}
    for language, row in found["units"].items():
        assert row == [len({unit for name, place, unit in triples(units) if (name, str(place)) == (language, site)}) for site in SITES]
    json.dumps(found)


def test_units_that_lie_elsewhere_and_widths_that_are_missing_are_refused():
    with pytest.raises(InputError, match=r"decoder\.9\.act"):
        units_by_layer({"en": Neurons({"decoder.9.act": [1]})}, SITES, [8, 8, 8])
    with pytest.raises(InputError, match="3 sites and 2 widths"):
        units_by_layer({}, SITES, [8, 8])


@given(choices)
def test_overlap_is_that_of_the_sets(units):
    found = unit_overlap(units)
    sets = {language: {(site, unit) for _, site, unit in triples({language: chosen})} for language, chosen in units.items()}
    assert found["languages"] == list(units)
    for row, one in zip(zip(found["shared"], found["jaccard"], strict=True), units, strict=True):
        for shared, share, other in zip(*row, units, strict=True):
            both, either = sets[one] & sets[other], sets[one] | sets[other]
            assert shared == len(both)
            assert share == (len(both) / len(either) if either else 0.0)
    json.dumps(found)


@given(choices, choices)
def test_jaccard_is_that_of_the_triples(one, other):
    first, second = triples(one), triples(other)
    assert jaccard(one, other) == jaccard(other, one) == (len(first & second) / len(first | second) if first | second else 1.0)
    assert jaccard(one, one) == 1.0


def test_stability_tells_steps_and_halves_language_by_language():
    steps = ({"tokens": (4, 4), "units": 3, "jaccard": None}, {"tokens": [8, 8], "units": 5, "jaccard": 0.6})
    one = {"en": Neurons({SITES[1]: [1, 2]}), "fr": Neurons({SITES[1]: [1]}), "ja": Neurons()}
    other = {"en": Neurons({SITES[1]: [2, 3]}), "fr": Neurons({SITES[1]: [1]}), "ja": Neurons()}
    found = stability(steps, (one, other), ((4, 4, 4), (3, 3, 3)))
    assert found["steps"] == [{"tokens": [4, 4], "units": 3, "jaccard": None}, {"tokens": [8, 8], "units": 5, "jaccard": 0.6}]
    assert found["halves"] == {
        "jaccard": 2 / 4,
        "by_language": {"en": 1 / 3, "fr": 1.0, "ja": None},
        "tokens": [[4, 4, 4], [3, 3, 3]],
    }
    json.dumps(found)
    assert stability((), None) == {"steps": [], "halves": None}
    assert stability((), (one, other))["halves"]["tokens"] is None
