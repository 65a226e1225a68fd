"""The SVD cache: one decomposition for every ρ, stored on disk under the weight's hash, whatever happens to the folder."""

import os
import resource
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import pico
from resect.core.errors import InputError, NotFinite, NotWritable, UnknownName
from resect.edits.matrices import ReduceRank
from resect.edits.svd import Decomposition
from resect.edits.svd_cache import SvdCache, default_folder, effective_rank, weight_digest
from resect.models.anatomy import Anatomy


@pytest.fixture(scope="module")
def anatomy():
    return Anatomy.of(pico.build("llama"))


def same(first: Decomposition, second: Decomposition) -> bool:
    return all(torch.equal(*pair) for pair in zip(vars(first).values(), vars(second).values(), strict=True))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("name", pico.PICO)
def test_a_stored_decomposition_equals_the_computed_one_on_every_layout(name, tmp_path):
    for dtype in (torch.float32, torch.bfloat16) if name in ("llama", "gpt2", "modernbert") else (torch.float32,):
        anatomy = Anatomy.of(pico.build(name, dtype=dtype))
        last = {site.role: site for site in anatomy.sites}
        for site in last.values():
            computed = SvdCache(anatomy, folder=tmp_path).decomposition(site)
            read = SvdCache(anatomy, folder=tmp_path).decomposition(str(site))
            assert same(computed, Decomposition.of(anatomy.weight(site)))
            assert same(computed, read)
            weight = anatomy.weight(site)
            for edit in (ReduceRank(site, 0.4), ReduceRank(site, 0.3, "smallest")):
                assert torch.equal(edit.reduced_from(weight, read), edit.reduced(weight))
    assert files(tmp_path)


def test_only_the_short_side_is_stored_but_everything_in_float64(tmp_path):
    for dtype, limit in ((torch.float32, 24 * 24 * 4 + 1000), (torch.float64, 24 * (24 + 40 + 1) * 8 + 1000)):
        anatomy = Anatomy.of(pico.build("llama", dtype=dtype))
        folder = tmp_path / str(dtype)
        computed = SvdCache(anatomy, folder=folder).decomposition("decoder.0.down")
        assert files(folder)[0].stat().st_size <= limit
        assert same(computed, SvdCache(anatomy, folder=folder).decomposition("decoder.0.down"))


def test_reading_a_file_marks_its_use(anatomy, tmp_path):
    SvdCache(anatomy, folder=tmp_path).decomposition("decoder.0.up")
    (path,) = files(tmp_path)
    os.utime(path, (1e9, 1e9))
    SvdCache(anatomy, folder=tmp_path).decomposition("decoder.0.up")
    assert path.stat().st_mtime > 1e9


def test_the_last_matrix_is_kept_in_memory_by_its_values():
    anatomy = Anatomy.of(pico.build("llama"))
    cache = SvdCache(anatomy)
    first = cache.decomposition("decoder.0.up")
    assert cache.decomposition("decoder.0.up") is first
    with ReduceRank("decoder.0.up", 0.5).applied(anatomy):
        edited = cache.decomposition("decoder.0.up")
        assert edited is not first
        assert edited.values[13] < 1e-6 < first.values[13]
    assert same(cache.decomposition("decoder.0.up"), first)
    np.testing.assert_allclose(cache.singular_values("decoder.0.up"), np.linalg.svd(anatomy.weight("decoder.0.up").double())[1], rtol=1e-6)


def test_hashes_of_different_weights_differ():
    weight = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    moved = weight.clone()
    moved[5, 9] += 1e-6
    several = [weight, moved, weight.T, weight.bfloat16(), weight.bfloat16().float(), weight.reshape(10, 6)]
    assert len({weight_digest(one) for one in several}) == len(several)
    assert weight_digest(weight) == weight_digest(weight.T.contiguous().T) == weight_digest(weight.clone())
    wide = torch.zeros(3, 2**24 // 4 + 1)  # more than one piece
    assert weight_digest(wide) != weight_digest(wide.index_fill(0, torch.tensor([2]), 1.0))


# -- the folder --------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_file_is_deleted_first(anatomy, tmp_path):
    size = 24 * 24 * 4 + 1100
    cache = SvdCache(anatomy, folder=tmp_path, limit=2 * size)
    sites = ["decoder.0.up", "decoder.0.down", "decoder.0.gate"]
    for place, site in enumerate(sites[:2]):
        cache.decomposition(site)
        newest = max(files(tmp_path), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (1e9 + place, 1e9 + place))
    SvdCache(anatomy, folder=tmp_path).decomposition(sites[0])  # used again: the other one is the oldest now
    kept = {weight_digest(anatomy.weight(site)) for site in (sites[0], sites[2])}
    cache.decomposition(sites[2])
    assert {path.stem for path in files(tmp_path)} == kept
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2 * size


def test_other_files_in_the_folder_are_not_touched(anatomy, tmp_path):
    theirs = [tmp_path / "model.safetensors", tmp_path / ".model.safetensors.x.part"]
    for path in theirs:
        path.write_bytes(b"x" * 9000)
        os.utime(path, (1, 1))
    for site in ("decoder.0.up", "decoder.1.up"):
        SvdCache(anatomy, folder=tmp_path, limit=4000).decomposition(site)
    assert all(path.exists() for path in theirs)
    assert len(files(tmp_path)) == 2  # the other one, and the last of the cache


def test_without_limit_or_folder_nothing_is_stored(anatomy, tmp_path):
    for cache in (SvdCache(anatomy, folder=tmp_path / "none", limit=0), SvdCache(anatomy)):
        cache.decomposition("decoder.0.up")
    assert not (tmp_path / "none").exists()
    SvdCache(anatomy, folder=tmp_path, limit=100).decomposition("decoder.0.up")  # too large to be stored at all
    assert not files(tmp_path)
    with pytest.raises(InputError, match="-1"):
        SvdCache(anatomy, limit=-1)


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "foreign"])
def test_a_damaged_file_is_replaced(anatomy, tmp_path, damage):
    computed = SvdCache(anatomy, folder=tmp_path).decomposition("decoder.0.up")
    (path,) = files(tmp_path)
    content = path.read_bytes()
    flipped = content[:-5] + bytes([content[-5] ^ 64]) + content[-4:]
    foreign = pico.build("llama").state_dict()["lm_head.weight"].numpy().tobytes()
    path.write_bytes({"cut": content[:-100], "empty": b"", "bit": flipped, "foreign": foreign}[damage])
    assert same(SvdCache(anatomy, folder=tmp_path).decomposition("decoder.0.up"), computed)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written_to_is_reported_once_and_not_used(anatomy, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    cache = SvdCache(anatomy, folder=tmp_path / "file")
    with pytest.warns(UserWarning, match="not stored") as reported:
        results = [cache.decomposition(site) for site in ("decoder.0.up", "decoder.0.down")]
    assert len(reported) == 1
    assert same(results[0], Decomposition.of(anatomy.weight("decoder.0.up")))


def test_a_full_disk_is_reported_once_and_not_used(anatomy, tmp_path):
    cache = SvdCache(anatomy, folder=tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.warns(UserWarning, match="not stored") as reported:
            results = [cache.decomposition(site) for site in ("decoder.0.up", "decoder.0.down")]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (len(results), len(reported)) == (2, 1)
    assert not list(tmp_path.iterdir())


def test_several_threads_may_use_one_folder(anatomy, tmp_path):
    sites = [site for site in anatomy.sites if site.role in ("up", "down", "gate")]
    expected = {site: Decomposition.of(anatomy.weight(site)) for site in sites}

    def work(seed: int) -> bool:
        cache = SvdCache(anatomy, folder=tmp_path, limit=3 * (24 * 24 * 4 + 1100))
        order = np.random.default_rng(seed).choice(len(sites), 20)
        return all(same(cache.decomposition(sites[place]), expected[sites[place]]) for place in order)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(4)))
    assert not list(tmp_path.glob(".*"))


def test_old_partial_files_are_deleted(anatomy, tmp_path):
    old, new = tmp_path / f".{'a' * 64}.safetensors.x.part", tmp_path / f".{'b' * 64}.safetensors.y.part"
    for path in (old, new):
        path.write_bytes(b"torn")
    os.utime(old, (1e9, 1e9))
    SvdCache(anatomy, folder=tmp_path).decomposition("decoder.0.up")
    assert not old.exists()
    assert new.exists()


def test_the_default_folder_follows_the_environment(monkeypatch):
    monkeypatch.delenv("RESECT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_folder() == Path.home() / ".cache" / "resect" / "factors"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/resect/factors")
    monkeypatch.setenv("RESECT_CACHE", "~/else")
    assert default_folder() == Path.home() / "else"


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_weights_without_plain_values_are_refused(tmp_path):
    with pytest.raises(NotWritable, match="meta"):
        SvdCache(Anatomy.of(pico.build_on_meta("llama"))).decomposition("decoder.0.up")
    model = pico.build("llama")
    up, down = model.model.layers[0].mlp.up_proj, model.model.layers[1].mlp.down_proj
    up.weight = torch.nn.Parameter(up.weight.to(torch.int8), requires_grad=False)
    down.weight.data[3, 4] = torch.nan
    cache = SvdCache(Anatomy.of(model), folder=tmp_path)
    with pytest.raises(NotWritable, match=r"decoder\.0\.up .*int8"):
        cache.decomposition("decoder.0.up")
    with pytest.raises(NotFinite, match=r"decoder\.1\.down"):
        cache.decomposition("decoder.1.down")
    with pytest.raises(UnknownName, match="moment"):
        cache.decomposition("decoder.0.act")
    with pytest.raises(UnknownName):
        cache.decomposition("encoder.0.up")
    assert not files(tmp_path)


# -- effective rank ----------------------------------------------------------------------------------------------------


def test_the_effective_rank_is_between_1_and_the_rank():
    assert effective_rank(np.ones(12)) == pytest.approx(12)
    assert effective_rank([3.0, 0.0, 0.0]) == 1
    assert effective_rank([0.0, 0.0]) == 0
    assert effective_rank(torch.tensor([2.0, 1.0, 1.0])) == pytest.approx(np.exp(0.5 * np.log(2) + 0.5 * np.log(4)))
    values = np.random.default_rng(0).random(30)
    assert 1 < effective_rank(values) < 30
    assert effective_rank(values) == pytest.approx(effective_rank(100 * values))
