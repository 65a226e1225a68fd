"""Effective ranks of spectra that are known, and what the plan leaves of them."""

import pytest
import torch

from methods.analyses.studies import model_of, study_of
from resect.core.execution import MemoryJournal, Workers
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import effective_rank
from resect.methods.laser.analyses.spectra import spectra
from resect.methods.laser.marchenko_pastur import noise_edge


def planted(values):
    """A model of which one matrix has these singular values, and the matrix."""
    model = model_of()
    site = model.anatomy.check("decoder.1.down")
    out, inside = model.anatomy.shape(site)
    left, _ = torch.linalg.qr(torch.randn(out, out, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(inside, inside, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    spectrum = torch.zeros(min(out, inside), dtype=torch.float64)
    spectrum[: len(values)] = torch.tensor(values, dtype=torch.float64)
    model.anatomy.write(site, None, (left[:, : len(spectrum)] * spectrum) @ right[: len(spectrum)])
    return model, site, spectrum.numpy()


def test_a_known_spectrum_is_found():
    model, site, values = planted([3.0] * 12)
    found = spectra(study_of(model, plan=Plan((ReduceRank(site, 0.25),))))[str(site)]
    assert found["values"] == pytest.approx(values, abs=1e-9)
    assert found["effective_rank"] == {"before": pytest.approx(12.0), "after": pytest.approx(6.0)}
    assert found["rank"] == {"full": 24, "after": 6}


def test_the_smallest_are_what_is_left_where_they_are_kept():
    model, site, values = planted([float(24 - n) for n in range(24)])
    found = spectra(study_of(model, plan=Plan((ReduceRank(site, 0.25, "smallest"),))))[str(site)]
    assert found["effective_rank"]["after"] == pytest.approx(effective_rank(values[-6:]))
    assert found["noise_edge"] == pytest.approx(noise_edge(values, model.anatomy.shape(site)))


def test_the_authors_approximation_is_measured_as_it_comes_out():
    model, site, _ = planted([float(24 - n) for n in range(24)])
    found = spectra(study_of(model, plan=Plan((ReduceRank(site, 0.25, variant="official", seed=0),))))[str(site)]
    reduced = ReduceRank(site, 0.25, variant="official", seed=0).reduced(model.anatomy.weight(site))
    assert found["effective_rank"]["after"] == pytest.approx(effective_rank(torch.linalg.svdvals(reduced).numpy()), rel=1e-3)


def test_the_plans_matrices_come_first_and_all_that_were_searched_after_them():
    model = model_of()
    sites = study_of(model).sites
    found = spectra(study_of(model, plan=Plan((ReduceRank("decoder.1.q", 0.5),))))
    assert list(found) == ["decoder.1.q", *map(str, sites)]
    assert all(each["effective_rank"]["after"] is None for each in list(found.values())[1:])


def test_what_was_decomposed_is_kept():
    journal = MemoryJournal()
    once = spectra(study_of(workers=Workers(journal=journal)))
    assert spectra(study_of(workers=Workers(journal=journal))) == once
