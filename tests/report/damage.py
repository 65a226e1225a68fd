"""Damage for the tests of reports: junk in the place of any value of a file."""

from hypothesis import strategies as st

from report.run_folder import HOSTILE

JUNK = st.sampled_from([None, "x", [], {}, [1], {"a": None}, -1, 10**400, 1e308, float("inf"), float("nan"), True, HOSTILE])


def paths(value, here=()):
    """The places of all values in a JSON value, its own first."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*here, key))


def put(value, path, junk):
    """A copy of a value with something else at one place."""
    if not path:
        return junk
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = put(value[path[0]], path[1:], junk)
    return copied
