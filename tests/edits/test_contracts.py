"""The laws of edits and plans, over every edit and every family."""

import pytest

import contracts
import pico

SUBJECTS = [*pico.PICO] + [name if name in pico.FEW_EXPERTS else pytest.param(name, marks=pytest.mark.slow) for name in pico.EXPERTS]
SUBJECTS += [pytest.param(name, marks=pytest.mark.slow) for names in pico.UNLISTED.values() for name in names]


@pytest.fixture(scope="module", params=SUBJECTS)
def on(request):
    return contracts.subject(request.param)


@pytest.mark.parametrize("law", contracts.LAWS_OF_EDITS, ids=lambda law: law.__name__)
def test_law_of_edits(on, law):
    for edit in contracts.some_edits(on.anatomy):
        law(on, edit)


@pytest.mark.parametrize("law", contracts.LAWS_OF_MODELS, ids=lambda law: law.__name__)
def test_law_of_models(on, law):
    law(on)
