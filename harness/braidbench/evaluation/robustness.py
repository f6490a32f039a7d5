"""Score against severity: what a corruption of one modality does to a trained model.

Source: *Foundations of Multisensory AI*, 7.3 (after MultiBench): relative robustness is the area under the curve,
effective robustness the gain over late fusion. Both are oriented here so that higher is better whatever the metric;
the released code inverts only one family of datasets. Effective robustness compares rows, so it is computed where rows
meet (:mod:`braidbench.summary`), on the curves that this module measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from braidbench.data import Split
from braidbench.determinism import NondeterministicKernelError, named
from braidbench.errors import PluginError, StorageError
from braidbench.evaluation.curves import SEVERITIES, relative_robustness
from braidbench.evaluation.scores import score
from braidbench.failures import kind_of, reason_of
from braidbench.interruption import is_ours
from braidbench.registry import Registry, load_target
from braidbench.results import Curve, FailedCurve
from braidbench.sources import source_hash
from braidbench.specs import Corruption, Metric, Modality, Task
from braidbench.training import predict


def applicable(registry: Registry, modality: Modality) -> list[Corruption]:
    """Corruptions that are written for the modality's kind, or for any."""
    specs = [registered.spec for registered in registry.all("corruptions")]
    return [spec for spec in specs if not spec.kinds or modality.kind in spec.kinds]


_Row = TypeVar("_Row", Curve, FailedCurve)


@dataclass(frozen=True)
class Robust:
    """What corruptions do to one trained model."""

    curves: list[Curve]
    failures: list[FailedCurve]


def source_of(corruption: Corruption) -> str:
    """What decides whether a stored curve is the one that would be measured now."""
    return f"{corruption.version}-{source_hash(corruption.target)}"


def measure(
    registry: Registry,
    model: torch.nn.Module,
    split: Split,
    raw: Mapping[str, Modality],
    task: Task,
    metrics: Mapping[str, Metric],
    *,
    seed: int,
    batch_size: int,
    severities: Sequence[float] = SEVERITIES,
    preprocessing: Callable[[Split], Split] = lambda split: split,
    known: Sequence[Curve] = (),
    failed: Sequence[FailedCurve] = (),
    stage: Callable[[str, str], None] = lambda corruption, modality: None,
    keep: Callable[[Robust], object] = lambda found: None,
) -> Robust:
    """Every applicable corruption of every modality that the model reads, scored at each severity.

    ``split`` and ``raw`` are as they were prepared and declared: a method's ``preprocessing`` comes after the
    corruption, and the channels of an observation mask are left as they are. Severity 0 must change nothing; a
    corruption that does is refused. Whatever a corruption raises is a failed curve; the others are measured all the
    same.

    Curves of ``known`` that are current are not measured again, and what ``failed`` before comes last: it may end this
    process once more. ``stage`` is told the corruption and the modality before each is begun, ``keep`` what there is
    after each.
    """
    clean, target = predict(model, preprocessing(split), task, batch_size)
    untouched = score(metrics, clean, target).values
    pairs = [(modality, corruption) for modality in split.modalities for corruption in applicable(registry, modality)]
    place = {(corruption.name, modality.name): rank for rank, (modality, corruption) in enumerate(pairs)}
    sources = {at: source_of(corruption) for at, (_, corruption) in zip(place, pairs, strict=True)}
    # What there is already is kept from the first moment, for this may end at any other one; a curve of a corruption's
    # former code until there is the new one, a curve of a corruption that is not installed any more for good.
    found = Robust(list(known), [failure for failure in failed if (failure.corruption, failure.modality) in place])
    measured = {
        (curve.corruption, curve.modality)
        for curve in known
        if sources.get((curve.corruption, curve.modality)) == curve.source
    }
    before = {(failure.corruption, failure.modality) for failure in found.failures}
    for modality, corruption in sorted(pairs, key=lambda pair: (pair[1].name, pair[0].name) in before):
        at = corruption.name, modality.name
        if at in measured:
            continue
        stage(corruption.name, modality.name)

        def predicted(changed: Tensor, name: str = modality.name) -> NDArray[Any]:
            return predict(model, preprocessing(split.with_input(name, changed)), task, batch_size)[0]

        inputs = corrupted(corruption, split, modality, raw[modality.name], seed, severities)
        try:
            with named():
                points = [
                    score(metrics, predicted(changed), target).values if severity else untouched
                    for severity, changed in zip(severities, inputs, strict=True)
                ]
        except (StorageError, NondeterministicKernelError):
            raise
        except BaseException as error:
            if is_ours(error):
                raise
            found = Robust(found.curves, [*_others(found.failures, at), failed_curve(registry, *at, error)])
        else:
            curves = _curves(corruption, modality, metrics, severities, points, seed, sources[at])
            found = Robust([*_others(found.curves, at), *curves], _others(found.failures, at))
        keep(found)
    last = len(place)
    return Robust(
        sorted(found.curves, key=lambda curve: place.get((curve.corruption, curve.modality), last)),
        sorted(found.failures, key=lambda failure: place[failure.corruption, failure.modality]),
    )


def _others(rows: Sequence[_Row], at: tuple[str, str]) -> list[_Row]:
    return [row for row in rows if (row.corruption, row.modality) != at]


def corrupted(
    corruption: Corruption,
    split: Split,
    modality: Modality,
    raw: Modality,
    seed: int,
    severities: Sequence[float],
) -> Iterator[Tensor]:
    """The modality's values (N, …) at each severity.

    A corruption does not see the channels of an observation mask. What one that removes has taken away is no longer
    observed, also where the number that stood there was zero already: which places it takes is asked of ones.
    """
    values = split.columns[modality.name].all()
    measured = raw.shape[-1] if raw.missing == "mask" else None
    body = values if measured is None else values[..., :measured]
    function = load_target(corruption)

    def changed(x: Tensor, severity: float) -> Tensor:
        # A copy: a corruption that works in place would otherwise change what every later curve is measured on.
        result: Tensor = function(x.clone(), severity, torch.Generator().manual_seed(seed))
        if result.shape != x.shape:
            raise PluginError(f"corruption {corruption.name!r} changes the shape of {modality.name!r}")
        return result

    for severity in severities:
        new = changed(body, severity)
        if severity == 0:
            if not torch.equal(new, body):
                raise PluginError(f"corruption {corruption.name!r} changes the values at severity 0")
            new = body
        if measured is not None:
            mask = values[..., measured:]
            if corruption.removes and severity:
                gone = (new == 0) & ((body != 0) | (changed(torch.ones_like(body), severity) == 0))
                mask = mask.masked_fill(gone, 0.0)
            new = torch.cat([new, mask], dim=-1)
        yield new


def _curves(
    corruption: Corruption,
    modality: Modality,
    metrics: Mapping[str, Metric],
    severities: Sequence[float],
    points: Sequence[Mapping[str, float | None]],
    seed: int,
    source: str,
) -> Iterator[Curve]:
    for name, metric in metrics.items():
        scores = [point[name] for point in points]
        yield Curve(
            corruption=corruption.name,
            modality=modality.name,
            metric=name,
            direction=metric.direction,
            severities=list(severities),
            scores=scores,
            relative=relative_robustness(severities, scores, metric.sign),
            seed=seed,
            source=source,
        )


def failed_curve(registry: Registry, corruption: str, modality: str, error: BaseException) -> FailedCurve:
    """The row of a curve that could not be measured."""
    return FailedCurve(
        corruption=corruption,
        modality=modality,
        failure=kind_of(error),
        reason=reason_of(error),
        plugin=registry.find("corruptions", corruption).plugin.owner,
    )
