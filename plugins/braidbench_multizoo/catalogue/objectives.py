"""Methods that are defined by what they minimise."""

from __future__ import annotations

from braidbench.specs import Encoder, Fusion, Method, Objective, Part, Preprocessing, Procedure
from braidbench_multizoo.catalogue.heads import HEADS

_HERE = "braidbench_multizoo.losses"

_CITATIONS = {
    "cca": "Sun et al., Learning relationships between text, audio, and video via deep canonical correlation for "
    "multimodal language analysis, AAAI 2020",
    "refnet": "Sankaran et al., Multimodal fusion refiner networks, 2021",
    "mfm": "Tsai et al., Learning factorized multimodal representations, ICLR 2019",
    "mvae": "Wu & Goodman, Multimodal generative models for scalable weakly-supervised learning, NeurIPS 2018",
    "rmfe": "Gat et al., Removing bias in multi-modal classifiers: regularization by maximizing functional entropies, "
    "NeurIPS 2020",
    "agreement": "Ding et al., Cooperative learning for multiview analysis, PNAS 2022",
    "alignment": "Liang et al., Quantifying & modeling multimodal interactions, NeurIPS 2023",
    "contrastive": "Tian, Krishnan & Isola, Contrastive multiview coding, ECCV 2020",
}

ENCODERS: tuple[Encoder, ...] = ()

FUSIONS: tuple[Fusion, ...] = ()

# In a cell that is computed in bfloat16 these keep float32, each for its own reason. Autocast alone does not see to it:
# what it casts, and to what, differs between a CPU and a GPU.
OBJECTIVES: tuple[Objective, ...] = (
    # Cholesky factors, triangular solutions and singular values, for which there are no half-precision kernels.
    Objective(
        "cca", f"{_HERE}.correlation:CCA", summary="canonical correlation between modalities",
        citation=_CITATIONS["cca"], full_precision=True,
    ),
    # 1 − cos of vectors that are nearly parallel: bfloat16 knows nothing between 0.992 and 0.996.
    Objective(
        "refnet", f"{_HERE}.refinement:RefNet", summary="each modality has to be found again in the fused vector",
        citation=_CITATIONS["refnet"], full_precision=True,
    ),
    # A discrepancy is the small difference of means of kernels, an error a sum over thousands of numbers.
    Objective(
        "mfm", f"{_HERE}.factorised:MFM", summary="reconstruction from factors, and their discrepancy from a prior",
        citation=_CITATIONS["mfm"], full_precision=True,
    ),
    # Logarithms and exponentials of variances, and a bound that is a sum over thousands of numbers.
    Objective(
        "mvae", f"{_HERE}.variational:MVAE", summary="joint and unimodal evidence lower bounds",
        citation=_CITATIONS["mvae"], full_precision=True,
    ),
    # A second derivative of a distance that is close to nothing, and the inverse of what comes of it.
    Objective(
        "rmfe", f"{_HERE}.entropies:RMFE", summary="every modality has to change the prediction",
        citation=_CITATIONS["rmfe"], full_precision=True,
    ),
    # Squared differences of probabilities that are nearly equal.
    Objective(
        "agreement", f"{_HERE}.agreement:Agreement", summary="unimodal predictions that agree",
        citation=_CITATIONS["agreement"], full_precision=True,
    ),
    # 1 − cos, as above.
    Objective(
        "alignment", f"{_HERE}.agreement:Alignment", summary="representations that point the same way",
        citation=_CITATIONS["alignment"], full_precision=True,
    ),
    # Cosines over a temperature of 0.1, whose rounding the exponential would blow up tenfold.
    Objective(
        "contrastive", f"{_HERE}.contrastive:Contrastive", summary="modalities recognised as one sample's",
        citation=_CITATIONS["contrastive"], full_precision=True,
    ),
)  # fmt: skip

PROCEDURES: tuple[Procedure, ...] = ()

PREPROCESSINGS: tuple[Preprocessing, ...] = ()

METHODS: tuple[Method, ...] = (
    Method(
        "cca",
        summary="late fusion whose representations are to be correlated",
        citation=_CITATIONS["cca"],
        objective="cca",
        modalities=(2, None),
        defaults={
            **HEADS,
            "av-mnist": {
                "head.hidden": 0, "training.optimizer": "AdamW", "training.lr": 1e-2, "training.epochs": 25,
                "training.batch_size": 800, "objective.weight": 1e-3, "objective.project": 48,
            },
            "mm-imdb": {"head.hidden": 0, "training.lr": 1e-2, "training.batch_size": 800, "objective.weight": 1e-3},
        },
        proposed_on=("mosi", "mosei"),
    ),
    Method(
        "refnet",
        summary="late fusion that has to keep what each modality holds",
        citation=_CITATIONS["refnet"],
        objective="refnet",
        modalities=(2, None),
        defaults={
            **HEADS,
            "av-mnist": {
                "head.hidden": 100, "training.lr": 5e-3, "training.epochs": 15, "training.batch_size": 20,
                "objective.refine": "inputs", "objective.hidden": 1000,
            },
        },
        proposed_on=("mm-imdb", "hateful-memes"),
    ),
    Method(
        "mfm",
        summary="late fusion that has to give the inputs back, with a factor for each modality",
        citation=_CITATIONS["mfm"],
        objective="mfm",
        modalities=(2, None),
        defaults={
            **HEADS,
            "av-mnist": {
                "head.hidden": 40, "training.optimizer": "RMSprop", "training.lr": 1e-3, "training.epochs": 25,
            },
            "mimic": {"head.hidden": 20, "training.optimizer": "RMSprop", "training.lr": 1e-3, "training.epochs": 20},
            "mosi": {"head.hidden": 20, "training.optimizer": "RMSprop", "training.lr": 1e-3, "training.epochs": 200},
        },
        proposed_on=("mosi", "pom", "iemocap"),
    ),
    Method(
        "mvae",
        summary="a shared latent variable, product of Gaussian experts, that generates every modality",
        citation=_CITATIONS["mvae"],
        fusion=Part("product-of-experts", out_dim=64),
        objective="mvae",
        modalities=(2, None),
        defaults={
            "av-mnist": {
                "head.hidden": 40, "fusion.out_dim": 200, "training.optimizer": "RMSprop", "training.lr": 1e-3,
                "training.epochs": 20,
            },
            "mimic": {
                "head.hidden": 20, "fusion.out_dim": 200, "training.optimizer": "Adam", "training.lr": 1e-4,
                "training.epochs": 30,
            },
        },
    ),
    Method(
        "rmfe",
        summary="late fusion in which every modality has to matter",
        citation=_CITATIONS["rmfe"],
        objective="rmfe",
        modalities=(2, None),
        defaults={
            **HEADS,
            "mm-imdb": {
                "head.hidden": 0, "training.lr": 1e-2, "objective.weight": 1e-10, "objective.copies": 10,
            },
        },
    ),
    *(
        Method(name, summary=summary, citation=_CITATIONS[name], objective=name, modalities=(2, None), defaults=HEADS)
        for name, summary in (
            ("agreement", "late fusion with unimodal predictors that agree"),
            ("alignment", "late fusion of representations that point the same way"),
            ("contrastive", "late fusion of representations that are recognised as one sample's"),
        )
    ),
)  # fmt: skip
