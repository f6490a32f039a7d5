"""The multimodal transformer, its ablations, and the early- and late-fusion transformers."""

from __future__ import annotations

from braidbench.specs import Encoder, Fusion, Method, Objective, Preprocessing, Procedure

_HERE = "braidbench_multizoo.fusions.attention"

_MULT = "Tsai et al., Multimodal transformer for unaligned multimodal language sequences, ACL 2019"
_SELF = "Vaswani et al., Attention is all you need, NeurIPS 2017"

ENCODERS: tuple[Encoder, ...] = ()

FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        "mult",
        f"{_HERE}.mult:MulT",
        summary="every modality attends to every other one, then to itself",
        citation=_MULT,
        modalities=(2, None),
        takes="sequences",
    ),
    Fusion(
        "mult-of-vectors",
        f"{_HERE}.mult:MulTOfVectors",
        summary="the same where no modality is a sequence: each vector is one step",
        citation=_MULT,
        modalities=(2, None),
        takes="sequences",
    ),
    Fusion(
        "early-fusion-transformer",
        f"{_HERE}.baselines:EarlyFusionTransformer",
        summary="one self-attention transformer over all steps of all modalities",
        citation=_SELF,
        takes="sequences",
    ),
    Fusion(
        "late-fusion-transformer",
        f"{_HERE}.baselines:LateFusionTransformer",
        summary="a self-attention transformer each, their last steps side by side",
        citation=_SELF,
        takes="sequences",
    ),
)

OBJECTIVES: tuple[Objective, ...] = ()

PROCEDURES: tuple[Procedure, ...] = ()

PREPROCESSINGS: tuple[Preprocessing, ...] = ()

# Sequences as they are: the fusion's own convolution embeds them. What is no sequence keeps its dataset's encoder.
_AS_THEY_ARE = {kind: "identity" for kind in ("audio", "text", "video", "time_series", "force", "proprioception")}

_SECTORS = ("food", "health", "tech")

# Long recordings are embedded a sixth of a second, or a month of trading days, at a time.
_MONTHS: dict[str, object] = {"fusion.kernel": 21, "fusion.stride": 20, "fusion.width": 16, "fusion.heads": 2}
_STRIDES: dict[str, dict[str, object]] = {
    "wrist": {"fusion.kernel": 15, "fusion.stride": 8},
    **{f"sp500-{sector}": _MONTHS for sector in _SECTORS},
}

_MULTIBENCH: dict[str, object] = {"fusion.width": 9, "fusion.heads": 3, "fusion.layers": 3}
"""The width, heads and layers that MultiBench has where an example says nothing."""

_PAPER: dict[str, object] = {"fusion.width": 40, "fusion.heads": 8, "fusion.layers": 4, "fusion.out_dropout": 0.1}

METHODS: tuple[Method, ...] = (
    Method(
        "mult",
        summary="multimodal transformer: crossmodal attention between every two modalities",
        citation=_MULT,
        fusion="mult",
        encoders=_AS_THEY_ARE,
        head={"hidden": 0},
        modalities=(2, None),
        # MultiBench's example for mosi; the paper's table 5 for mosei and iemocap.
        defaults={
            **_STRIDES,
            # Up to twenty pairs of stocks.
            **{f"sp500-{sector}": {**_MONTHS, "fusion.layers": 1} for sector in _SECTORS},
            "digits": {"fusion.kernel": (1, 5), "fusion.stride": (1, 2)},
            "mosi": {
                **_PAPER,
                "fusion.embed_dropout": 0.2,
                "training.lr": 1e-3,
                "training.weight_decay": 0.01,
                "training.clip": 1.0,
            },
            "mosei": {**_PAPER, "fusion.embed_dropout": 0.3, "training.lr": 1e-3, "training.clip": 1.0},
            "iemocap": {
                **_PAPER,
                "fusion.heads": 10,
                "fusion.dropout": 0.25,
                "fusion.embed_dropout": 0.2,
                "training.lr": 2e-3,
                "training.clip": 0.8,
            },
            "push": {**_MULTIBENCH, "fusion.width": 64, "fusion.heads": 4, "fusion.embed_dropout": 0.25},
            **{f"stocks-{sector}": {**_MULTIBENCH, "fusion.embed_dropout": 0.25} for sector in _SECTORS},
        },
        proposed_on=("mosi", "mosei", "iemocap"),
    ),
    Method(
        "mult-of-vectors",
        summary="multimodal transformer where each modality is one step",
        citation=_MULT,
        fusion="mult-of-vectors",
        head={"hidden": 0},
        modalities=(2, None),
    ),
    Method(
        "early-fusion-transformer",
        summary="one transformer over all modalities' steps, one after the other",
        citation=_MULT,
        fusion="early-fusion-transformer",
        encoders=_AS_THEY_ARE,
        modalities=(2, None),
        defaults={
            **_STRIDES,
            "mosi": {
                "fusion.join": "features",
                "fusion.width": 300,
                "fusion.heads": 5,
                "fusion.layers": 5,
                "head.hidden": 128,
                "training.lr": 1e-4,
            },
            **{f"stocks-{sector}": {**_MULTIBENCH, "fusion.join": "features"} for sector in _SECTORS},
        },
    ),
    Method(
        "late-fusion-transformer",
        summary="a transformer each, their last steps side by side",
        citation=_MULT,
        fusion="late-fusion-transformer",
        encoders=_AS_THEY_ARE,
        modalities=(2, None),
        defaults={
            **_STRIDES,
            "mosi": {
                "fusion.heads": 5,
                "fusion.layers": 5,
                "fusion.width": 300,
                "head.hidden": 256,
                "training.lr": 1e-4,
            },
            **{f"stocks-{sector}": _MULTIBENCH for sector in _SECTORS},
        },
    ),
    Method(
        "unimodal-transformer",
        summary="a self-attention transformer on one modality: one row a modality",
        citation=_MULT,
        fusion="late-fusion-transformer",
        encoders=_AS_THEY_ARE,
        each_modality=True,
        defaults=_STRIDES,
    ),
)
