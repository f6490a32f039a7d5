"""The plain parts, and the methods that everything else is compared with."""

from __future__ import annotations

from typing import Literal

from braidbench.specs import Encoder, Fusion, Method, Objective, Part, Preprocessing, Procedure
from braidbench_multizoo.catalogue.heads import HEADS

_HERE = "braidbench_multizoo"

_BOTH: tuple[Literal["vector", "sequence"], ...] = ("vector", "sequence")

_SURVEY = "Baltrušaitis, Ahuja & Morency, Multimodal machine learning: a survey and taxonomy, TPAMI 2019"

ENCODERS: tuple[Encoder, ...] = (
    Encoder("identity", f"{_HERE}.encoders.dense:Identity", summary="the input itself, flat", gives=_BOTH),
    Encoder(
        "mlp",
        f"{_HERE}.encoders.dense:MLP",
        summary="linear layers with rectified units between",
        gives=_BOTH,
        default_for=("tabular", "set", "force", "proprioception", "environment"),
    ),
    Encoder(
        "lenet",
        f"{_HERE}.encoders.convolution:LeNet",
        summary="5×5 and 3×3 convolutions that double the channels, then a linear layer",
        citation="LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998",
        kinds=("image", "depth", "audio", "optical_flow"),
        sequences="never",
        default_for=("image", "depth", "optical_flow"),
    ),
    Encoder(
        "gru",
        f"{_HERE}.encoders.recurrent:GRU",
        summary="a gated recurrent unit's state at the last real step",
        citation="Cho et al., Learning phrase representations using RNN encoder–decoder, EMNLP 2014",
        sequences="only",
        gives=_BOTH,
        default_for=("audio", "text", "video", "time_series"),
    ),
    Encoder(
        "lstm",
        f"{_HERE}.encoders.recurrent:LSTM",
        summary="a long short-term memory's state at the last real step",
        citation="Hochreiter & Schmidhuber, Long short-term memory, Neural Computation 1997",
        sequences="only",
        gives=_BOTH,
    ),
    Encoder(
        "conv1d",
        f"{_HERE}.encoders.convolution:Conv1d",
        summary="temporal convolutions and the mean over the real steps",
        sequences="only",
        gives=_BOTH,
    ),
    Encoder(
        "transformer",
        f"{_HERE}.encoders.attention:Transformer",
        summary="pre-norm self-attention over the real steps and their mean",
        citation="Vaswani et al., Attention is all you need, NeurIPS 2017",
        sequences="only",
        gives=_BOTH,
    ),
)

FUSIONS: tuple[Fusion, ...] = (
    Fusion("concat", f"{_HERE}.fusions.concatenation:Concat", summary="representations side by side"),
    Fusion(
        "concat-early", f"{_HERE}.fusions.concatenation:ConcatEarly", summary="inputs side by side, then hidden layers"
    ),
    Fusion(
        "tensor",
        f"{_HERE}.fusions.tensor:TensorFusion",
        summary="outer product of the representations, each with a constant 1",
        citation="Zadeh et al., Tensor fusion network for multimodal sentiment analysis, EMNLP 2017",
    ),
    Fusion(
        "low-rank-tensor",
        f"{_HERE}.fusions.tensor:LowRankTensorFusion",
        summary="tensor fusion by a weight of low rank, never forming the tensor",
        citation="Liu et al., Efficient low-rank multimodal fusion with modality-specific factors, ACL 2018",
    ),
)

OBJECTIVES: tuple[Objective, ...] = (
    # The logarithm of a softmax: a CPU's autocast would leave it in bfloat16, a GPU's takes it to float32.
    Objective("supervised", f"{_HERE}.objectives:Supervised", summary="the task's own loss", full_precision=True),
)

PROCEDURES: tuple[Procedure, ...] = (
    Procedure("supervised", f"{_HERE}.procedures:Supervised", summary="one loop over all parameters at once"),
)

PREPROCESSINGS: tuple[Preprocessing, ...] = ()

METHODS: tuple[Method, ...] = (
    Method(
        "unimodal",
        summary="each modality on its own: one row a modality",
        citation="Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021",
        each_modality=True,
        defaults={**HEADS, "mm-imdb": {"head.hidden": 512}},
    ),
    Method(
        "early-fusion",
        summary="inputs side by side, then one model",
        citation=_SURVEY,
        fusion="concat-early",
        encoders={"*": "identity"},
        modalities=(2, None),
    ),
    Method(
        "late-fusion",
        summary="an encoder each, representations side by side, one head",
        citation=_SURVEY,
        modalities=(2, None),
        defaults={**HEADS, "mosi": {"head.hidden": 870}},
        reference=True,
    ),
    Method(
        "tensor-fusion",
        summary="the outer product of small representations",
        citation="Zadeh et al., Tensor fusion network for multimodal sentiment analysis, EMNLP 2017",
        fusion=Part("tensor", project=16),
        modalities=(2, None),
        # The tensor grows as a power of the number of modalities: with many, each is projected to fewer numbers.
        defaults={
            **HEADS,
            "numerals": {"fusion.project": 3},
            "sp500-food": {"fusion.project": 6},
            "sp500-health": {"fusion.project": 4},
        },
        proposed_on=("mosi",),
    ),
    Method(
        "low-rank-tensor-fusion",
        summary="tensor fusion by trained low-rank factors",
        citation="Liu et al., Efficient low-rank multimodal fusion with modality-specific factors, ACL 2018",
        fusion="low-rank-tensor",
        modalities=(2, None),
        defaults={
            "av-mnist": {
                **HEADS["av-mnist"],
                "fusion.out_dim": 120,
                "fusion.rank": 40,
                "training.lr": 0.05,
                "training.weight_decay": 2e-4,
            },
            "enrico": {**HEADS["enrico"], "fusion.out_dim": 32, "fusion.rank": 20},
            "mimic": {**HEADS["mimic"], "fusion.out_dim": 100, "fusion.rank": 40},
            "mm-imdb": {**HEADS["mm-imdb"], "fusion.out_dim": 512, "fusion.rank": 128},
            "mosi": {**HEADS["mosi"], "fusion.out_dim": 128, "fusion.rank": 32},
            "vision-touch": {"head.hidden": 128, "fusion.out_dim": 200, "fusion.rank": 40},
        },
        proposed_on=("mosi", "pom", "iemocap"),
    ),
)
