"""Human-computer interaction: what a watch on the wrist feels."""

from __future__ import annotations

from braidbench.specs import Dataset, Modality, PackageFile, Part, Task, Training

WRIST = Dataset(
    "wrist",
    "braidbench_multibench.loaders.wrist:load",
    summary="a smartwatch's accelerometer and gyroscope → the shoulder exercise, on unseen people",
    modalities=(
        Modality("accelerometer", "time_series", (3,), length=200, normalise="standard", summary="4 s at 50 Hz"),
        Modality("gyroscope", "time_series", (3,), length=200, normalise="standard", summary="4 s at 50 Hz"),
    ),
    tasks=(
        Task(
            "exercise",
            "classification",
            ("accuracy", "macro-f1"),
            classes=("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"),
        ),
    ),
    splits={"train": 656, "valid": 246, "test": 247},
    area="hci",
    licence="BSD-3-Clause (seglearn)",
    homepage="https://github.com/dmbee/seglearn",
    packages=(PackageFile("seglearn", "seglearn/data/watch_dataset.npy", "seglearn>=1.2.5"),),
    encoders={"accelerometer": Part("conv1d", out_dim=32), "gyroscope": Part("conv1d", out_dim=32)},
    training=Training(epochs=20, batch_size=32),
    citation=(
        "Burns, D. M., Leung, N., Hardisty, M., Whyne, C. M., Henry, P. & McLachlin, S. (2018). Shoulder physiotherapy "
        "exercise recognition: machine learning the inertial signals from a smartwatch. Physiological Measurement "
        "39(7):075007."
    ),
    recipe=(
        "140 recordings, ten people doing seven physiotherapy exercises with either arm, are cut into windows of 200 "
        "steps (four seconds) side by side; the rest at a recording's end is left out. People 1–6 are the training "
        "split, 7 and 8 validation, 9 and 10 test, so no person stands in two. Each channel is standardised with the "
        "training split's mean and deviation."
    ),
)

DATASETS = (WRIST,)
