"""Finds plugins, quarantines broken ones, resolves names, and remembers who provided what.

A plugin that fails to import, misspells a hook or yields a wrong spec is quarantined whole: the other plugins go on,
and every command says so on stderr. A name that two plugins declare is usable by neither until one of them is removed.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.metadata
import math
import os
import re
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

from braidbench import hookspecs, interruption
from braidbench.capture import aside
from braidbench.errors import BraidbenchError, MissingPackageError, PluginError, UsageError
from braidbench.specs import KINDS, Spec


@dataclass
class Plugin:
    """One plugin: who ships it, what it declared, how long its import took, and why it is quarantined if it is."""

    name: str
    module: str
    distribution: str
    version: str
    seconds: float = 0.0
    provides: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None

    @property
    def package(self) -> str:
        """The top-level package that it declares itself in: ``pkg`` of ``pkg.sub:object [extra]``."""
        return re.split(r"[^\w]", self.module, maxsplit=1)[0]

    @property
    def owner(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True)
class Registered:
    """A spec and the plugin that declared it."""

    spec: Any
    plugin: Plugin


class Registry:
    """All specs of all plugins, by kind (plural, as in ``list KIND``) and name."""

    def __init__(self, entry_points: Iterable[importlib.metadata.EntryPoint]) -> None:
        self.plugins: list[Plugin] = []
        self._entries: dict[str, dict[str, list[Registered]]] = {kind: {} for kind in KINDS}
        for entry_point in sorted(entry_points, key=lambda e: (e.name, e.value)):
            self._admit(entry_point)

    def _admit(self, entry_point: importlib.metadata.EntryPoint) -> None:
        distribution = entry_point.dist
        plugin = Plugin(
            name=entry_point.name,
            module=entry_point.value,
            distribution=distribution.name if distribution else "unknown distribution",
            version=distribution.version if distribution else "",
        )
        self.plugins.append(plugin)
        start = time.perf_counter()
        try:
            with _surroundings_kept(), aside():
                found = list(_declarations(entry_point.load(), plugin.name))
        except BaseException as error:
            # Whatever a stranger's module raises must not take the other plugins down.
            if interruption.is_ours(error):
                raise
            plugin.error = one_line(error)
            plugin.traceback = traceback.format_exc()
            found = []
        plugin.seconds = time.perf_counter() - start
        for kind, spec in found:
            self._entries[kind].setdefault(spec.name, []).append(Registered(spec, plugin))
            plugin.provides.setdefault(kind, []).append(spec.name)

    @property
    def quarantined(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.error]

    @property
    def collisions(self) -> list[str]:
        """One sentence for each name that two plugins declare."""
        return [
            _collision(kind, name, owners)
            for kind, names in self._entries.items()
            for name, owners in names.items()
            if len(owners) > 1
        ]

    def all(self, kind: str) -> list[Registered]:
        """Every usable spec of a kind, by name."""
        return [owners[0] for _, owners in sorted(self._entries[kind].items()) if len(owners) == 1]

    def find(self, kind: str, query: str) -> Registered:
        """The spec that a full name, or a bare name while it is unique, means.

        Raises UsageError with the nearest names if there is none, PluginError if two plugins claim it.
        """
        names = self._entries[kind]
        if query not in names:
            matches = sorted(name for name in names if name.rpartition("/")[2] == query)
            if len(matches) > 1:
                raise UsageError(f"{_singular(kind)} {query!r} is ambiguous: write {' or '.join(matches)}")
            if not matches:
                raise UsageError(self._unknown(kind, query))
            query = matches[0]
        owners = names[query]
        if len(owners) > 1:
            raise PluginError(_collision(kind, query, owners))
        return owners[0]

    def find_any(self, query: str) -> tuple[str, Registered]:
        """The kind and spec of a name of any kind (for ``describe``)."""
        hits = []
        for kind in self._entries:
            try:
                hits.append((kind, self.find(kind, query)))
            except UsageError:
                continue
        if not hits:
            names = {name for entries in self._entries.values() for name in entries}
            raise UsageError(f"nothing is called {query!r}.{did_you_mean(query, names)}")
        if len(hits) > 1:
            kinds = ", ".join(f"{_singular(kind)}:{query}" for kind, _ in hits)
            raise UsageError(f"{query!r} names several things: write one of {kinds}")
        return hits[0]

    def load(self, kind: str, query: str) -> Any:
        """The class or function behind a name; its module is imported here and not before."""
        return load_target(self.find(kind, query).spec)

    def _unknown(self, kind: str, query: str) -> str:
        hint = did_you_mean(query, self._entries[kind])
        broken = "".join(
            f" Plugin {p.name!r} is quarantined and may provide it: see 'braidbench plugins'." for p in self.quarantined
        )
        return f"no {_singular(kind)} {query!r}.{hint}{'' if hint else f' See braidbench list {kind}.'}{broken}"


@contextlib.contextmanager
def _surroundings_kept() -> Iterator[None]:
    """A plugin's import leaves the working folder and the umask as they are: what is named on the command line, and
    what is written, are the user's."""
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if os.path.isdir(".") else None
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        yield
    finally:
        os.umask(mask)
        if folder is not None:
            os.fchdir(folder)
            os.close(folder)


def one_line(error: BaseException) -> str:
    """``SyntaxError: invalid syntax (parts.py, line 3)``: an exception's type and the first line of what it says."""
    try:
        message = str(error).strip().splitlines()
    except Exception:
        message = []
    text = "".join(sign if sign.isprintable() else " " for sign in message[0])[:300] if message else "no message"
    return f"{type(error).__name__}: {text}"


def _declarations(module: Any, name: str) -> list[tuple[str, Spec]]:
    """What one plugin module declares, checked. Raises PluginError for a misspelt hook or a wrong yield."""
    manager = pluggy.PluginManager("braidbench")
    manager.add_hookspecs(hookspecs)
    manager.register(module, name=name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError:
        known = [hook for hook in dir(hookspecs) if hook.startswith("register_")]
        wrong = [caller.name for caller in manager.get_hookcallers(module) or [] if caller.name not in known]
        raise PluginError(f"no hook is called {wrong[0]!r}.{did_you_mean(wrong[0], known)}") from None
    found: list[tuple[str, Spec]] = []
    seen = set()
    for kind, spec_type in KINDS.items():
        for yielded in getattr(manager.hook, f"register_{kind}")():
            for spec in yielded:
                if not isinstance(spec, spec_type):
                    raise PluginError(
                        f"register_{kind} must yield {spec_type.__name__} specs, not {type(spec).__name__}"
                    )
                if (kind, spec.name) in seen:
                    raise PluginError(f"register_{kind} yields {spec.name!r} twice")
                seen.add((kind, spec.name))
                found.append((kind, spec))
    return found


def _singular(kind: str) -> str:
    return KINDS[kind].kind


def _collision(kind: str, name: str, owners: list[Registered]) -> str:
    who = " and ".join(sorted(f"{r.plugin.distribution} ({r.plugin.module})" for r in owners))
    return f"{_singular(kind)} {name!r} is declared by both {who}: uninstall or rename one"


def did_you_mean(query: str, names: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the nearest name, or nothing."""
    pool = {name.lower(): name for name in names}
    for name in list(pool.values()):
        pool.setdefault(name.rpartition("/")[2].lower(), name)
    close = difflib.get_close_matches(query.lower(), pool, n=1, cutoff=0.6)
    return f" Did you mean {pool[close[0]]!r}?" if close else ""


def load_target(spec: Spec) -> Any:
    """Import a spec's target. Raises MissingPackageError or PluginError with the reason, whatever the module raises."""
    module_name, _, attribute = spec.target.partition(":")
    try:
        with aside():
            value = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise PluginError(f"{spec.kind} {spec.name!r}: its target {spec.target!r} does not exist") from None
        raise MissingPackageError(
            f"{spec.kind} {spec.name!r} needs the package {error.name!r}: pip install {error.name}"
        ) from None
    except (BraidbenchError, MemoryError):
        raise
    except BaseException as error:
        if interruption.is_ours(error):
            raise
        raise PluginError(f"{spec.kind} {spec.name!r}: importing {module_name!r} fails ({one_line(error)})") from error
    try:
        for part in attribute.split("."):
            value = getattr(value, part)
    except AttributeError:
        raise PluginError(f"{spec.kind} {spec.name!r}: {module_name!r} has no {attribute!r}") from None
    return value


def check_parameters(
    target: Any,
    given: Mapping[str, Any],
    *,
    what: str,
    reserved: tuple[str, ...] = (),
    supplied: tuple[str, ...] = (),
) -> dict[str, Any]:
    """``given`` validated and converted against the target's signature.

    ``reserved`` are the arguments that the core passes; ``supplied`` those that it fills in where nobody gives them.
    Raises UsageError naming the parameter and what is accepted.
    """
    import inspect
    from typing import get_type_hints

    from pydantic import ConfigDict, TypeAdapter, ValidationError

    call = target.__init__ if inspect.isclass(target) else target
    try:
        hints = get_type_hints(call)
    except NameError:
        hints = {}
    signature = inspect.signature(target)
    accepted = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if name not in reserved and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in accepted:
            described = ", ".join(_describe(p, hints.get(n)) for n, p in accepted.items()) or "no parameters"
            raise UsageError(f"{what} has no parameter {name!r}.{did_you_mean(name, accepted)} It accepts {described}")
        hint = hints.get(name, Any)
        try:
            adapter = TypeAdapter(hint, config=None if _is_model(hint) else ConfigDict(arbitrary_types_allowed=True))
            found = checked[name] = adapter.validate_python(value)
            if isinstance(value, bool) and isinstance(found, int | float) and not isinstance(found, bool):
                described = _describe(accepted[name], hint)
                raise UsageError(f"{what}: parameter {described} got {str(value).lower()}, not a number")
            # Neither an identity nor a result has room for others.
            if (isinstance(found, float) and not math.isfinite(found)) or (
                isinstance(found, int) and abs(found) >= 1 << 63
            ):
                raise UsageError(f"{what}: parameter {name!r} has to be finite and of at most 64 bits")
        except ValidationError as error:
            raise UsageError(
                f"{what}: parameter {_describe(accepted[name], hint)} got {value!r} ({error.errors()[0]['msg']})"
            ) from None
    missing = [name for name, p in accepted.items() if p.default is p.empty and name not in (*checked, *supplied)]
    if missing:
        raise UsageError(f"{what} needs a value for {missing[0]!r}: add --set PART.{missing[0]}=VALUE")
    return checked


def _is_model(hint: Any) -> bool:
    import dataclasses

    return isinstance(hint, type) and (dataclasses.is_dataclass(hint) or hasattr(hint, "model_fields"))


def _describe(parameter: Any, hint: Any) -> str:
    kind = (
        ""
        if hint is None
        else f": {getattr(hint, '__name__', None) if isinstance(hint, type) else hint}".replace("typing.", "")
    )
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}{kind}{default}"


@functools.cache
def registry() -> Registry:
    """The process's registry, from the installed entry points. The only global state."""
    return Registry(importlib.metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP))
