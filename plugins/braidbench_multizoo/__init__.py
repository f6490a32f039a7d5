"""MultiZoo's methods and what they are made of: encoders, fusions, objectives, procedures, methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from braidbench.hookspecs import hookimpl
from braidbench.specs import Encoder, Fusion, Method, Objective, Part, Procedure

_HERE = "braidbench_multizoo"

_HEADS = {
    "av-mnist": {"head.hidden": 100},
    "enrico": {"head.hidden": 0},
    "mimic": {"head.hidden": 40},
    "mm-imdb": {"head.hidden": 0},
    "mosi": {"head.hidden": 512},
}
"""The classifier's hidden layer in MultiBench's examples, by dataset; 0 is a linear classifier."""


@hookimpl
def register_encoders() -> Iterator[Encoder]:
    both: tuple[Literal["vector", "sequence"], ...] = ("vector", "sequence")
    yield Encoder("identity", f"{_HERE}.encoders.dense:Identity", summary="the input itself, flat", gives=both)
    yield Encoder(
        "mlp",
        f"{_HERE}.encoders.dense:MLP",
        summary="linear layers with rectified units between",
        gives=both,
        default_for=("tabular", "set", "force", "proprioception", "environment"),
    )
    yield Encoder(
        "lenet",
        f"{_HERE}.encoders.convolution:LeNet",
        summary="5×5 and 3×3 convolutions that double the channels, then a linear layer",
        citation="LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998",
        kinds=("image", "depth", "audio", "optical_flow"),
        sequences="never",
        default_for=("image", "depth", "optical_flow"),
    )
    yield Encoder(
        "gru",
        f"{_HERE}.encoders.recurrent:GRU",
        summary="a gated recurrent unit's state at the last real step",
        citation="Cho et al., Learning phrase representations using RNN encoder–decoder, EMNLP 2014",
        sequences="only",
        gives=both,
        default_for=("audio", "text", "video", "time_series"),
    )
    yield Encoder(
        "lstm",
        f"{_HERE}.encoders.recurrent:LSTM",
        summary="a long short-term memory's state at the last real step",
        citation="Hochreiter & Schmidhuber, Long short-term memory, Neural Computation 1997",
        sequences="only",
        gives=both,
    )
    yield Encoder(
        "conv1d",
        f"{_HERE}.encoders.convolution:Conv1d",
        summary="temporal convolutions and the mean over the real steps",
        sequences="only",
        gives=both,
    )
    yield Encoder(
        "transformer",
        f"{_HERE}.encoders.attention:Transformer",
        summary="pre-norm self-attention over the real steps and their mean",
        citation="Vaswani et al., Attention is all you need, NeurIPS 2017",
        sequences="only",
        gives=both,
    )


@hookimpl
def register_fusions() -> Iterator[Fusion]:
    yield Fusion("concat", f"{_HERE}.fusions.concatenation:Concat", summary="representations side by side")
    yield Fusion(
        "concat-early", f"{_HERE}.fusions.concatenation:ConcatEarly", summary="inputs side by side, then hidden layers"
    )
    yield Fusion(
        "tensor",
        f"{_HERE}.fusions.tensor:TensorFusion",
        summary="outer product of the representations, each with a constant 1",
        citation="Zadeh et al., Tensor fusion network for multimodal sentiment analysis, EMNLP 2017",
    )
    yield Fusion(
        "low-rank-tensor",
        f"{_HERE}.fusions.tensor:LowRankTensorFusion",
        summary="tensor fusion by a weight of low rank, never forming the tensor",
        citation="Liu et al., Efficient low-rank multimodal fusion with modality-specific factors, ACL 2018",
    )


@hookimpl
def register_objectives() -> Iterator[Objective]:
    yield Objective("supervised", f"{_HERE}.objectives:Supervised", summary="the task's own loss")


@hookimpl
def register_procedures() -> Iterator[Procedure]:
    yield Procedure("supervised", f"{_HERE}.procedures:Supervised", summary="one loop over all parameters at once")


@hookimpl
def register_methods() -> Iterator[Method]:
    survey = "Baltrušaitis, Ahuja & Morency, Multimodal machine learning: a survey and taxonomy, TPAMI 2019"
    yield Method(
        "unimodal",
        summary="each modality on its own: one row a modality",
        citation="Liang et al., MultiBench, NeurIPS Datasets and Benchmarks 2021",
        each_modality=True,
        defaults={**_HEADS, "mm-imdb": {"head.hidden": 512}},
    )
    yield Method(
        "early-fusion",
        summary="inputs side by side, then one model",
        citation=survey,
        fusion="concat-early",
        encoders={"*": "identity"},
        modalities=(2, None),
    )
    yield Method(
        "late-fusion",
        summary="an encoder each, representations side by side, one head",
        citation=survey,
        modalities=(2, None),
        defaults={**_HEADS, "mosi": {"head.hidden": 870}},
        reference=True,
    )
    yield Method(
        "tensor-fusion",
        summary="the outer product of small representations",
        citation="Zadeh et al., Tensor fusion network for multimodal sentiment analysis, EMNLP 2017",
        fusion=Part("tensor", project=16),
        modalities=(2, None),
        # The tensor grows as a power of the number of modalities: with many, each is projected to fewer numbers.
        defaults={
            **_HEADS,
            "numerals": {"fusion.project": 3},
            "sp500-food": {"fusion.project": 6},
            "sp500-health": {"fusion.project": 4},
        },
        proposed_on=("mosi",),
    )
    yield Method(
        "low-rank-tensor-fusion",
        summary="tensor fusion by trained low-rank factors",
        citation="Liu et al., Efficient low-rank multimodal fusion with modality-specific factors, ACL 2018",
        fusion="low-rank-tensor",
        modalities=(2, None),
        defaults={
            "av-mnist": {
                **_HEADS["av-mnist"],
                "fusion.out_dim": 120,
                "fusion.rank": 40,
                "training.lr": 0.05,
                "training.weight_decay": 2e-4,
            },
            "enrico": {**_HEADS["enrico"], "fusion.out_dim": 32, "fusion.rank": 20},
            "mimic": {**_HEADS["mimic"], "fusion.out_dim": 100, "fusion.rank": 40},
            "mm-imdb": {**_HEADS["mm-imdb"], "fusion.out_dim": 512, "fusion.rank": 128},
            "mosi": {**_HEADS["mosi"], "fusion.out_dim": 128, "fusion.rank": 32},
            "vision-touch": {"head.hidden": 128, "fusion.out_dim": 200, "fusion.rank": 40},
        },
        proposed_on=("mosi", "pom", "iemocap"),
    )
