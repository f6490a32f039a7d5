"""The kit as pytest tests: one test a check, with an id of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from braidbench.errors import UsageError
from braidbench.registry import Registry, registry
from braidbench.testing.kit import Subject, checks_of, find_components, judged, refuse_unknown


def parametrize_conformance(
    *names: str,
    plugin: str | None = None,
    expected_failures: Mapping[str, str] | None = None,
    found: Registry | None = None,
) -> Callable[..., None]:
    """A pytest test function with one case a check of the named components (or of all that ``plugin`` ships).

    A name is ``NAME``, of every kind that has it, or ``KIND:NAME``. ``expected_failures`` maps a check's name, or
    ``KIND:NAME-check`` for one component of several, to the reason: such a case is an expected failure, and fails when
    it passes. ``found`` is the registry to look in, the installed plugins' by default. Raises UsageError for a name or
    a check that there is not, when the test file is collected.
    """
    import pytest

    subjects = find_components(found or registry(), names, plugin)
    if not subjects:
        raise UsageError("parametrize_conformance: name a component, or plugin=DISTRIBUTION")
    cases = [(subject, name) for subject in subjects for name in checks_of(subject.kind)]
    ids = [f"{subject.label}-{name}" for subject, name in cases]
    expected = dict(expected_failures or {})
    refuse_unknown(expected, [*ids, *(name for _, name in cases)])

    @pytest.mark.parametrize(
        ("subject", "check"), [pytest.param(*case, id=id_) for case, id_ in zip(cases, ids, strict=True)]
    )
    def test_conformance(subject: Subject, check: str) -> None:
        own = {key.removeprefix(f"{subject.label}-"): reason for key, reason in expected.items()}
        outcome = judged(subject.outcome(check), own)
        if outcome.status == "skipped":
            pytest.skip(outcome.message)
        if outcome.status == "expected":
            pytest.xfail(outcome.message)
        if outcome.status == "failed":
            pytest.fail(f"{subject.label}: {outcome.message}", pytrace=False)

    return test_conformance
