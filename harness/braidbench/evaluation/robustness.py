"""Score against severity: what a corruption of one modality does to a trained model.

Source: *Foundations of Multisensory AI*, 7.3 (after MultiBench): relative robustness is the area under the curve,
effective robustness the gain over late fusion. Both are oriented here so that higher is better whatever the metric;
the released code inverts only one family of datasets. Effective robustness compares rows, so it is computed where rows
meet (:mod:`braidbench.summary`), on the curves that this module measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from braidbench.data import Split
from braidbench.errors import PluginError
from braidbench.evaluation.scores import score
from braidbench.registry import Registry, load_target
from braidbench.results import Curve
from braidbench.sources import source_hash
from braidbench.specs import Corruption, Metric, Modality, Task
from braidbench.training import predict

SEVERITIES = tuple(step / 10 for step in range(11))
"""The grid of the published protocol: 0, 0.1, …, 1."""


def applicable(registry: Registry, modality: Modality) -> list[Corruption]:
    """Corruptions that are written for the modality's kind, or for any."""
    specs = [registered.spec for registered in registry.all("corruptions")]
    return [spec for spec in specs if not spec.kinds or modality.kind in spec.kinds]


def curves(
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
) -> list[Curve]:
    """Every applicable corruption of every modality that the model reads, scored at each severity.

    ``split`` and ``raw`` are as they were prepared and declared: a method's ``preprocessing`` comes after the
    corruption, and the channels of an observation mask are left as they are. Severity 0 must change nothing; a
    corruption that does is refused.
    """
    clean, target = predict(model, preprocessing(split), task, batch_size)
    found: list[Curve] = []
    for modality in split.modalities:
        values = split.columns[modality.name].all()
        measured = raw[modality.name].shape[-1] if raw[modality.name].missing == "mask" else None
        for corruption in applicable(registry, modality):
            function = load_target(corruption)
            points: list[dict[str, float | None]] = []
            for severity in severities:
                generator = torch.Generator().manual_seed(seed)
                body = values if measured is None else values[..., :measured]
                changed = function(body, severity, generator)
                if changed.shape != body.shape or (severity == 0 and not torch.equal(changed, body)):
                    raise PluginError(f"corruption {corruption.name!r} changes the shape, or the values at severity 0")
                if measured is not None:
                    mask = values[..., measured:]
                    if corruption.removes:
                        mask = mask.masked_fill((changed == 0) & (body != 0), 0.0)
                    changed = torch.cat([changed, mask], dim=-1)
                if severity == 0:
                    points.append(score(metrics, clean, target))
                    continue
                prediction, _ = predict(
                    model, preprocessing(split.with_input(modality.name, changed)), task, batch_size
                )
                points.append(score(metrics, prediction, target))
            source = f"{corruption.version}-{source_hash(corruption.target)}"
            for name, metric in metrics.items():
                scores = [point[name] for point in points]
                found.append(
                    Curve(
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
                )
    return found


def relative_robustness(severities: Sequence[float], scores: Sequence[float | None], sign: int) -> float | None:
    """Area under ``sign`` × score over the severity range, divided by the range (trapezoids). None if a score is."""
    if any(value is None for value in scores) or len(scores) < 2:
        return None
    area = np.trapezoid(np.asarray(scores, np.float64), np.asarray(severities, np.float64))
    return float(sign * area / (severities[-1] - severities[0]))
