"""The synthetic suites as bundled datasets ``synthetic/NAME``: bitwise functions, Gaussian mixtures, latent vectors."""

from __future__ import annotations

from braidbench.specs import Dataset, Modality, Part, Task, Training
from braidbench_interactions.generators import (
    DIMENSIONS,
    DROPOUT,
    FEATURES,
    GENERATORS,
    SPECIALISED,
    UNSEEN,
    VARIANCE,
    Bitwise,
    Latent,
    Mixture,
    attribute,
)

_CITATION = (
    "Liang, P. P. et al. (2023). Quantifying & Modeling Multimodal Interactions: An Information Decomposition "
    "Framework. NeurIPS."
)
_SPLITS = {"train": 14_000, "valid": 3_000, "test": 3_000}


def _summary(name: str, generator: Bitwise | Mixture | Latent) -> str:
    if isinstance(generator, Bitwise):
        return f"two bits, dithered → their {name.upper()}"
    if isinstance(generator, Mixture):
        seen = "signed length and angle" if generator.polar else "coordinates"
        where = f"‖μ‖ = {generator.norm:g} at {generator.degrees:g}°"
        return f"{seen} of a point of two Gaussians around ±μ, {where} → which of them"
    parts = [
        f"{count} dimensions of {latent}"
        for count, latent in ((generator.from1, "z1"), (generator.from2, "z2"), (generator.shared, "zc"))
        if count
    ]
    table = "3.2" if name not in UNSEEN else "3.5"
    role = f" ({'specialised' if name in SPECIALISED else 'mixed'}, table {table})"
    return f"linear images of (z1, zc) and (z2, zc) → the sign of a noisy sum of {', '.join(parts)}{role}"


def _recipe(generator: Bitwise | Mixture | Latent) -> str:
    if isinstance(generator, Bitwise):
        return (
            "Each of the four inputs equally often. A bit is shown as itself plus uniform noise on (−¼, ¼), so that it "
            "is read off without error and no row stands in two splits."
        )
    if isinstance(generator, Mixture):
        return (
            "y = ±1 with probability ½, (x1, x2) ~ N(y μ, I)."
            + (" Shown as r ∈ ℝ and θ ∈ [0, π) with (x1, x2) = r (cos θ, sin θ)." if generator.polar else "")
        )  # fmt: skip
    return (
        f"z1, z2, zc ~ N(0, {VARIANCE} I) in {DIMENSIONS} dimensions. Each is mapped to {FEATURES} features by a fixed "
        "matrix of entries from U(0, 1); a modality is two such blocks. The score adds up the first "
        f"{generator.from1} dimensions of z1, {generator.from2} of z2 and {generator.shared} of zc, each left out with "
        f"probability {DROPOUT} anew for every sample; the label is 1 where it is positive."
    )


def _dataset(name: str, generator: Bitwise | Mixture | Latent) -> Dataset:
    latent = isinstance(generator, Latent)
    width = 2 * FEATURES if latent else 1
    shown = ("r", "θ") if isinstance(generator, Mixture) and generator.polar else ("x1", "x2")
    return Dataset(
        f"synthetic/{name}",
        f"braidbench_interactions.synthetic:{attribute(name)}",
        summary=_summary(name, generator),
        modalities=tuple(
            Modality(modality, "tabular", (width,), normalise="standard", summary=variable)
            for modality, variable in zip(("first", "second"), shown, strict=True)
        ),
        tasks=(Task("label", "classification", ("accuracy", "macro-f1"), classes=("0", "1")),),
        splits=_SPLITS,
        area="synthetic",
        licence="generated here; Apache-2.0",
        homepage="https://github.com/pliang279/PID",
        encoders={modality: Part("mlp", hidden=(64,), out_dim=32) for modality in ("first", "second")},
        training=Training(epochs=10, batch_size=256),
        citation=_CITATION,
        recipe=_recipe(generator) + " Drawn from a fixed seed when the dataset is prepared; splits are independent.",
    )


DATASETS = tuple(_dataset(name, generator) for name, generator in GENERATORS.items())
"""One dataset a generator, in the order of :data:`braidbench_interactions.generators.GENERATORS`."""
