"""The datasets, metrics and corruptions of MultiBench, and real datasets that installable packages bring.

This module and the declarations it collects import nothing but :mod:`braidbench.specs`; loaders, metrics and
corruptions are imported when they are used.
"""

from __future__ import annotations

from collections.abc import Iterator

from braidbench.hookspecs import hookimpl
from braidbench.specs import Corruption, Dataset, Metric
from braidbench_multibench.datasets import finance, hci, healthcare, multimedia

_METRICS = "braidbench_multibench.metrics"
_CORRUPTIONS = "braidbench_multibench.corruptions"
_CLASSES = ("classification", "multilabel")


@hookimpl
def register_datasets() -> Iterator[Dataset]:
    for area in (multimedia, healthcare, finance, hci):
        yield from area.DATASETS


@hookimpl
def register_metrics() -> Iterator[Metric]:
    yield Metric(
        "accuracy",
        f"{_METRICS}:accuracy",
        summary="share of samples whose most probable class is right",
        tasks=("classification",),
        label="Accuracy",
    )
    yield Metric(
        "macro-f1",
        f"{_METRICS}:macro_f1",
        summary="mean over classes of the F1 score (labels: decided at probability .5)",
        tasks=_CLASSES,
        label="Macro F1",
    )
    yield Metric(
        "micro-f1",
        f"{_METRICS}:micro_f1",
        summary="F1 score of the decisions pooled over classes (labels: decided at probability .5)",
        tasks=_CLASSES,
        label="Micro F1",
    )
    yield Metric(
        "auroc",
        f"{_METRICS}:auroc",
        summary="area under the ROC curve; class 1 of two, else the mean over classes, one against the rest",
        tasks=_CLASSES,
        label="AUROC",
    )
    yield Metric(
        "auprc",
        f"{_METRICS}:auprc",
        summary="average precision; class 1 of two, else the mean over classes, one against the rest",
        tasks=_CLASSES,
        label="AUPRC",
    )
    yield Metric(
        "mse",
        f"{_METRICS}:mse",
        summary="mean squared error",
        direction="lower",
        bounds=(0.0, None),
        tasks=("regression",),
        label="MSE",
    )
    yield Metric(
        "mae",
        f"{_METRICS}:mae",
        summary="mean absolute error",
        direction="lower",
        bounds=(0.0, None),
        tasks=("regression",),
        label="MAE",
    )
    yield Metric(
        "pearson",
        f"{_METRICS}:pearson",
        summary="Pearson's correlation, averaged over outputs",
        bounds=(-1.0, 1.0),
        tasks=("regression",),
        label="Pearson r",
    )


@hookimpl
def register_corruptions() -> Iterator[Corruption]:
    citation = (
        "Liang, P. P. et al. (2021). MultiBench: multiscale benchmarks for multimodal representation learning. "
        "NeurIPS Datasets and Benchmarks."
    )
    yield Corruption(
        "image-noise",
        f"{_CORRUPTIONS}:image_noise",
        summary="Gaussian noise of deviation severity × the value range, clipped to the range",
        kinds=("image",),
        citation=citation,
    )
    yield Corruption(
        "audio-noise",
        f"{_CORRUPTIONS}:audio_noise",
        summary="white Gaussian noise at severity × each recording's root mean square (0 dB at 1)",
        kinds=("audio",),
        citation=citation,
    )
    yield Corruption(
        "series-drop",
        f"{_CORRUPTIONS}:series_drop",
        summary="every time step is zero with probability severity",
        kinds=("time_series",),
        removes=True,
        citation=citation,
    )
    yield Corruption(
        "tabular-drop",
        f"{_CORRUPTIONS}:tabular_drop",
        summary="every feature is zero, the mean when standardised, with probability severity",
        kinds=("tabular",),
        removes=True,
        citation=citation,
    )
    yield Corruption(
        "missing-modality",
        f"{_CORRUPTIONS}:missing_modality",
        summary="a sample's whole modality is absent (zeros) with probability severity",
        removes=True,
        citation=citation,
    )
