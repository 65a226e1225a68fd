"""Sites, globs and sets of neurons: what is written can be read, and set algebra is set algebra."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resect.core.address import ROLES, STACKS, Neurons, Site, expand, path_role, role_order, select
from resect.core.errors import BadAddress, UnknownName

PATHS = ("mixer.in_proj", "self_attn.kv_a_proj_with_mqa", "layers.0.Wqkv", "block.fc1", "block.up.proj")
SITES = st.builds(Site, st.sampled_from(STACKS), st.integers(0, 99), st.sampled_from((*ROLES, *PATHS)), st.none() | st.integers(0, 9))
UNITS = st.dictionaries(SITES, st.sets(st.integers(0, 50), max_size=6), max_size=5).map(Neurons)


@given(SITES)
def test_what_a_site_prints_it_parses(site: Site) -> None:
    assert Site.parse(str(site)) == site == Site.of(str(site)) == Site.of(site)


@pytest.mark.parametrize("text", ["", "decoder", "decoder.up", "decoder.-1.up", "decoder.1.up.extra", "decoder.x.up"])
def test_text_that_is_no_site_is_refused(text: str) -> None:
    with pytest.raises(BadAddress, match=r"decoder\.3\.up"):
        Site.parse(text)


@pytest.mark.parametrize("path", ["fc1", "up", "up.proj", "q.0", "expert3.up", "mixer.in_proj", "Wqkv"])
def test_the_path_of_a_module_is_a_role_that_is_no_other_one(path: str) -> None:
    role = path_role(path)
    site = Site.parse(f"decoder.1.{role}")
    assert (site.role, site.expert, site.is_moment) == (role, None, False)
    assert role not in ROLES
    assert role.removeprefix("block.") == path


def test_paths_come_after_roles_and_globs_select_them() -> None:
    sites = [Site("decoder", 0, role) for role in ("up", "post", "attn.q_proj", "mixer.in_proj")]
    assert sorted([*sites[2:], *sites[:2]], key=lambda site: site.model_order) == sites
    assert select("*.mixer.*", sites) == (sites[-1],)
    assert select("decoder.*.{up,attn.q_proj}", sites) == (sites[0], sites[2])


def test_a_wrong_name_in_a_site_gets_the_nearest_right_one() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'down'"):
        Site.parse("decoder.0.dwn")
    with pytest.raises(UnknownName, match="Did you mean 'decoder'"):
        Site.parse("decodr.0.down")


def test_globs_cross_dots_unite_and_keep_the_order_of_the_model() -> None:
    sites = [Site.parse(f"{stack}.{layer}.{role}") for stack in STACKS for layer in range(12) for role in ("q", "up", "down")]
    assert select("*", sites) == tuple(sites)
    assert [str(site) for site in select("*.{1-2}.{up,down}", sites)][:2] == ["encoder.1.up", "encoder.1.down"]
    assert len(select("*.{9-11}.up", sites)) == 6
    assert select(["decoder.3.up", "encoder.*.q"], sites) == tuple(
        site for site in sites if str(site) == "decoder.3.up" or (site.stack == "encoder" and site.role == "q")
    )


@pytest.mark.parametrize("glob", ["decoder.*.gate", "decoder.{3-1}.up", "decoder.{1,2.up"])
def test_a_glob_that_matches_nothing_or_is_broken_is_refused(glob: str) -> None:
    with pytest.raises(BadAddress):
        select(glob, [Site.parse("decoder.1.up")])


def test_ranges_count_whole_numbers() -> None:
    assert expand("a{8-11}b") == ("a8b", "a9b", "a10b", "a11b")


@given(UNITS, UNITS, UNITS)
def test_set_algebra(a: Neurons, b: Neurons, c: Neurons) -> None:
    assert (a | b) == (b | a)
    assert (a | b) | c == a | (b | c)
    assert a & (a | b) == a
    assert (a - b) | (a & b) == a
    assert not (a - b) & b
    assert (a | b).count == a.count + b.count - (a & b).count


@given(UNITS)
def test_neurons_survive_json_and_are_frozen_values(a: Neurons) -> None:
    again = Neurons.from_json(a.to_json())
    assert again == a
    assert hash(again) == hash(a)
    assert list(a) == sorted(
        a, key=lambda site: (STACKS.index(site.stack), site.layer, -1 if site.expert is None else site.expert, role_order(site.role))
    )
    with pytest.raises(TypeError):
        a[Site.parse("decoder.0.up")] = (1,)


def test_neurons_take_text_for_sites_and_drop_repeats_and_empty_sites() -> None:
    neurons = Neurons({"decoder.3.up": [17, 5, 5], "decoder.1.up": []})
    assert neurons["decoder.3.up"] == (5, 17)
    assert "decoder.3.up" in neurons
    assert "decoder.1.up" not in neurons
    assert (neurons.count, len(neurons)) == (2, 1)


@pytest.mark.parametrize("index", [-1, True])
def test_what_is_no_unit_is_refused(index: object) -> None:
    with pytest.raises(BadAddress, match=r"decoder\.0\.up"):
        Neurons.from_json({"decoder.0.up": [index]})
