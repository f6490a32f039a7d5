"""What a check is, which checks a component gets, and what came of them.

A check is a function of a :class:`Subject`. It returns (passed), raises :class:`Failed` with one sentence on what is
wrong and how to mend it, or raises :class:`Skipped` with the reason. Any other exception is a failure too.
"""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from braidbench.errors import MissingPackageError, PluginError, UsageError
from braidbench.registry import Registry, did_you_mean
from braidbench.specs import KINDS

Status = Literal["passed", "failed", "skipped", "expected"]

_MODULES = {
    "datasets": "braidbench.testing.datasets",
    "encoders": "braidbench.testing.components",
    "fusions": "braidbench.testing.components",
    "objectives": "braidbench.testing.pipelines",
    "metrics": "braidbench.testing.metrics",
    "procedures": "braidbench.testing.pipelines",
    "preprocessings": "braidbench.testing.preprocessings",
    "methods": "braidbench.testing.pipelines",
    "corruptions": "braidbench.testing.corruptions",
    "measures": "braidbench.testing.others",
    "executors": "braidbench.testing.others",
    "commands": "braidbench.testing.others",
}
"""Where the checks of each kind stand; imported when they are asked for, because they need torch."""


class Failed(AssertionError):
    """The component breaks its contract; the message says where and how to mend it."""


class Skipped(Exception):
    """The check does not apply, or cannot run here; the message says why."""


@dataclass(frozen=True)
class Check:
    """A check and the checks that must have passed for it to mean anything."""

    name: str
    function: Callable[[Subject], None]
    needs: tuple[str, ...]


_CHECKS: dict[str, dict[str, Check]] = {kind: {} for kind in KINDS}


def check(*kinds: str, needs: tuple[str, ...] = ()) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Declare a check of one kind or more, under its function's name. Checks run in the order of their declaration.

    ``needs`` names checks of the same kind that stand before it: where one of them failed or was skipped, this one is
    skipped, so that one defect is one failure.
    """

    def declare(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        for name in needs:
            assert any(name in _CHECKS[kind] for kind in kinds), f"no check {name!r} stands before this one"
        for kind in kinds:
            _CHECKS[kind][function.__name__] = Check(
                function.__name__, function, tuple(name for name in needs if name in _CHECKS[kind])
            )
        return function

    return declare


def checks_of(kind: str) -> dict[str, Check]:
    """The checks of a kind (plural), by name."""
    importlib.import_module(_MODULES[kind])
    return _CHECKS[kind]


@dataclass(frozen=True)
class Outcome:
    """What came of one check. ``expected`` is a failure that was announced with its reason."""

    check: str
    status: Status
    message: str = ""
    traceback: str = ""
    seconds: float = 0.0
    root: str = ""
    """Of a skipped check: the check before it that failed or was skipped, and so decides."""


@dataclass
class Subject:
    """A component under test.

    ``covered`` collects what checks have really tried of what the spec declares (kinds, tasks, forms);
    ``untried`` says why the rest was not. ``memo`` keeps what several checks share.
    """

    kind: str
    spec: Any
    registry: Registry
    owner: str = ""
    covered: set[str] = field(default_factory=set)
    untried: dict[str, str] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)
    _outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{KINDS[self.kind].kind}:{self.spec.name}"

    def outcome(self, name: str) -> Outcome:
        """Run a check, and before it the ones that it needs; each runs once."""
        if name not in self._outcomes:
            self._outcomes[name] = self._run(checks_of(self.kind)[name])
        return self._outcomes[name]

    def _run(self, chosen: Check) -> Outcome:
        for needed in chosen.needs:
            before = self.outcome(needed)
            if before.status != "passed":
                root = before.root or needed
                why = "failed" if self.outcome(root).status == "failed" else "was skipped"
                return Outcome(chosen.name, "skipped", f"{root} {why}", root=root)
        start = time.perf_counter()
        status: Status = "passed"
        message = trace = ""
        try:
            chosen.function(self)
        except (Skipped, MissingPackageError) as reason:
            status, message = "skipped", str(reason)
        except Failed as error:
            status, message, trace = "failed", str(error), traceback.format_exc()
        except Exception as error:
            # Whatever the component raised is the check's finding, not the kit's crash.
            status, trace = "failed", traceback.format_exc()
            lines = str(error).strip().splitlines()
            message = f"it raised {type(error).__name__}: {lines[0] if lines else 'no message'} ({_place(error)})"
        return Outcome(chosen.name, status, message, trace, time.perf_counter() - start)


def _place(error: BaseException) -> str:
    """Where an exception came from: the deepest frame that is not a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/torch/" not in frame.filename and "/braidbench/" not in frame.filename]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


@dataclass(frozen=True)
class Report:
    """Every outcome of one component."""

    subject: Subject
    outcomes: tuple[Outcome, ...]

    def of(self, status: Status) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == status]

    @property
    def ran(self) -> int:
        """Checks that came to a verdict."""
        return len(self.outcomes) - len(self.of("skipped"))

    @property
    def passed(self) -> bool:
        """Whether something came to a verdict and nothing failed: what could not be tried has not passed."""
        return self.ran > 0 and not self.of("failed")


# --- which components -------------------------------------------------------------------------------------------------


def find_components(registry: Registry, names: Iterable[str] = (), plugin: str | None = None) -> list[Subject]:
    """The components that names mean (``NAME`` of every kind that has it, or ``KIND:NAME``), or all of a distribution.

    Raises UsageError for a name that nothing has, PluginError for a plugin in quarantine.
    """
    found: list[Subject] = []
    for name in names:
        found += _named(registry, name)
    if plugin is not None:
        found += _provided(registry, plugin)
    return found


def _named(registry: Registry, query: str) -> list[Subject]:
    head, colon, rest = query.partition(":")
    plural = head if head in KINDS else f"{head}s"
    if colon and plural in KINDS:
        return [_subject(registry, plural, rest)]
    found = []
    for kind in KINDS:
        try:
            found.append(_subject(registry, kind, query))
        except UsageError as error:
            if "ambiguous" in str(error):
                raise
    if not found:
        registry.find_any(query)  # raises, with the nearest name
    return found


def _subject(registry: Registry, kind: str, query: str) -> Subject:
    registered = registry.find(kind, query)
    return Subject(kind, registered.spec, registry, registered.plugin.owner)


def _provided(registry: Registry, name: str) -> list[Subject]:
    plugins = [p for p in registry.plugins if name in (p.distribution, p.name, p.module)]
    if not plugins:
        known = {p.distribution for p in registry.plugins} | {p.name for p in registry.plugins}
        raise UsageError(f"no plugin {name!r}.{did_you_mean(name, known)} See braidbench plugins.")
    for plugin in plugins:
        if plugin.error:
            raise PluginError(
                f"plugin {plugin.name!r} is quarantined: {plugin.error} (braidbench plugins --explain {plugin.name})"
            )
    return [
        _subject(registry, kind, component)
        for plugin in plugins
        for kind, components in plugin.provides.items()
        for component in components
    ]


# --- running ----------------------------------------------------------------------------------------------------------


def check_component(subject: Subject, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Every check of a component. ``expected_failures`` maps a check's name to the reason that it fails.

    A failure that is expected is not a failure; one that does not come is. Raises UsageError for an unknown check.
    """
    return Report(subject, tuple(outcomes(subject, expected_failures)))


def outcomes(subject: Subject, expected_failures: Mapping[str, str] | None = None) -> Iterator[Outcome]:
    """The same, one after the other as they end."""
    expected = dict(expected_failures or {})
    refuse_unknown(expected, checks_of(subject.kind))
    for name in checks_of(subject.kind):
        yield judged(subject.outcome(name), expected)


def refuse_unknown(expected: Iterable[str], known: Iterable[str]) -> None:
    """Raises UsageError if a failure is expected of a check that there is not."""
    known = list(known)
    for name in expected:
        if name not in known:
            raise UsageError(f"expected_failures: no check {name!r}.{did_you_mean(name, known)}")


def judged(outcome: Outcome, expected: Mapping[str, str]) -> Outcome:
    """The outcome in the light of what was expected."""
    if outcome.check not in expected:
        return outcome
    reason = expected[outcome.check]
    if outcome.status == "failed":
        return Outcome(outcome.check, "expected", f"{reason} ({outcome.message})", outcome.traceback, outcome.seconds)
    if outcome.status == "passed":
        return Outcome(outcome.check, "failed", f"it passes now: take it out of expected_failures ({reason})")
    return outcome


# --- what check modules share -----------------------------------------------------------------------------------------


def require(condition: object, message: str) -> None:
    """Raise :class:`Failed` unless ``condition`` holds."""
    if not condition:
        raise Failed(message)


def require_covered(subject: Subject, declared: Iterable[str]) -> None:
    """Raise :class:`Failed` if nothing that ran has tried something that the spec declares."""
    for claim in declared:
        if claim not in subject.covered:
            reason = subject.untried.get(claim)
            raise Failed(
                f"it declares that it {claim}, and no check of that could run"
                + (f": {reason}; " if reason else "; ")
                + "make it so, or declare less"
            )
