"""The recurrent models of chapter 8 and the baselines that it compares them with."""

from __future__ import annotations

from braidbench.specs import Encoder, Fusion, Method, Objective, Part, Preprocessing, Procedure

_HERE = "braidbench_multizoo.fusions.recurrent"

_RMFN = "Liang, Liu, Zadeh & Morency, Multimodal language analysis with recurrent multistage fusion, EMNLP 2018"
_MARN = "Zadeh et al., Multi-attention recurrent network for human communication comprehension, AAAI 2018"
_MFN = "Zadeh et al., Memory fusion network for multi-view sequential learning, AAAI 2018"
_GRAPH = (
    "Zadeh et al., Multimodal language analysis in the wild: CMU-MOSEI dataset and interpretable dynamic fusion graph, "
    "ACL 2018"
)
_MV = "Rajagopalan et al., Extending long short-term memory for multi-view structured learning, ECCV 2016"
_BC = "Poria et al., Context-dependent sentiment analysis in user-generated videos, ACL 2017"
_GME = "Chen et al., Multimodal sentiment analysis with word-level fusion and reinforcement learning, ICMI 2017"
_RAVEN = "Wang et al., Words can shift: dynamically adjusting word representations using nonverbal behaviors, AAAI 2019"
_LSTM = "Hochreiter & Schmidhuber, Long short-term memory, Neural Computation 1997"
_STACKED = "Graves, Mohamed & Hinton, Speech recognition with deep recurrent neural networks, ICASSP 2013"
_BOTH_WAYS = "Schuster & Paliwal, Bidirectional recurrent neural networks, IEEE Trans. Signal Processing 1997"

ENCODERS: tuple[Encoder, ...] = ()

FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        "rmfn",
        f"{_HERE}.rmfn:RMFN",
        summary="hybrid memories that share a code made in stages of highlighting and fusing",
        citation=_RMFN,
        takes="sequences",
    ),
    Fusion(
        "marn",
        f"{_HERE}.marn:MARN",
        summary="hybrid memories that share a code made by several attentions at once",
        citation=_MARN,
        takes="sequences",
    ),
    Fusion(
        "mfn",
        f"{_HERE}.memory:MFN",
        summary="an LSTM each, and a gated memory that attends to how they change",
        citation=_MFN,
        takes="sequences",
    ),
    Fusion(
        "graph-mfn",
        f"{_HERE}.memory:GraphMFN",
        summary="an LSTM each, and a gated memory of a graph over all subsets of modalities",
        citation=_GRAPH,
        modalities=(1, 6),
        takes="sequences",
    ),
    Fusion(
        "mv-lstm",
        f"{_HERE}.multiview:MVLSTM",
        summary="one LSTM partitioned by modality, whose partitions see shares of each other",
        citation=_MV,
        takes="sequences",
    ),
    Fusion(
        "bc-lstm",
        f"{_HERE}.stacked:ContextualLSTM",
        summary="a bidirectional LSTM each, and one over all of them side by side",
        citation=_BC,
        takes="sequences",
    ),
    Fusion(
        "gme-lstm",
        f"{_HERE}.gated:GMELSTM",
        summary="binary gates on each step of a modality, then an LSTM with attention over time",
        citation=_GME,
        takes="sequences",
    ),
    Fusion(
        "raven",
        f"{_HERE}.raven:RAVEN",
        summary="words shifted by what is seen and heard with them, then an LSTM",
        citation=_RAVEN,
        modalities=(2, None),
        takes="sequences",
    ),
    Fusion(
        "ef-lstm",
        f"{_HERE}.stacked:EarlyLSTM",
        summary="inputs side by side at every step, then an LSTM; stacked, bidirectional or both",
        citation=_LSTM,
        takes="sequences",
    ),
)

OBJECTIVES: tuple[Objective, ...] = ()

PROCEDURES: tuple[Procedure, ...] = ()

PREPROCESSINGS: tuple[Preprocessing, ...] = ()


# The papers' sequences have 20 to 50 steps; the bundled recordings are long and read a few steps at a time.
_FRAMES: dict[str, dict[str, object]] = {
    "wrist": {"fusion.frames": 10},
    **{f"sp500-{sector}": {"fusion.frames": 10} for sector in ("food", "health", "tech")},
}

# MultiBench's order of MOSI and MOSEI: vision, audio, text.
_LANGUAGE = {"mosi": {"fusion.language": 2}, "mosei": {"fusion.language": 2}}

# The stages' work grows with the square of all widths together, and sp500 has many samples.
_NARROW = {
    f"sp500-{sector}": {"fusion.frames": 10, "fusion.hidden": 16, "fusion.fuse": 16, "fusion.code": 16}
    for sector in ("food", "health", "tech")
}

# Of the authors' search over configurations, the one of the best mean absolute error.
_BEST_MFN = {
    "mosi": {
        "fusion.hidden": (16, 48, 88),
        "fusion.memory": 128,
        "training.optimizer": "Adam",
        "training.lr": 0.01,
        "training.weight_decay": 0.0,
        "training.batch_size": 128,
    }
}

_IDENTITY = {"*": "identity"}
"""The models read the modalities as they are, word by word in the papers."""

METHODS: tuple[Method, ...] = (
    Method(
        "rmfn",
        summary="recurrent multistage fusion network",
        citation=_RMFN,
        fusion="rmfn",
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults={**_FRAMES, **_NARROW},
        proposed_on=("mosi", "iemocap", "pom"),
    ),
    Method(
        "marn",
        summary="multi-attention recurrent network",
        citation=_MARN,
        fusion="marn",
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults=_FRAMES,
        proposed_on=("mosi", "iemocap", "pom"),
    ),
    Method(
        "mfn",
        summary="memory fusion network",
        citation=_MFN,
        fusion="mfn",
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults={**_FRAMES, **_BEST_MFN},
        proposed_on=("mosi", "iemocap", "pom"),
    ),
    Method(
        "graph-mfn",
        summary="memory fusion network with a dynamic fusion graph",
        citation=_GRAPH,
        fusion="graph-mfn",
        encoders=_IDENTITY,
        modalities=(2, 6),
        defaults=_FRAMES,
        proposed_on=("mosei",),
    ),
    Method(
        "mv-lstm",
        summary="multi-view LSTM, fully connected",
        citation=_MV,
        fusion="mv-lstm",
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults=_FRAMES,
    ),
    Method(
        "bc-lstm",
        summary="contextual bidirectional LSTMs over the sample's steps",
        citation=_BC,
        fusion="bc-lstm",
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults=_FRAMES,
        proposed_on=("mosi", "iemocap"),
    ),
    Method(
        "gme-lstm",
        summary="gated multimodal embedding, LSTM and temporal attention",
        citation=_GME,
        fusion="gme-lstm",
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults={**_FRAMES, **_LANGUAGE},
        proposed_on=("mosi",),
    ),
    Method(
        "raven",
        summary="recurrent attended variation embedding network",
        citation=_RAVEN,
        fusion="raven",
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults={**_FRAMES, **_LANGUAGE},
        proposed_on=("mosi", "iemocap"),
    ),
    Method(
        "ef-lstm",
        summary="inputs side by side at every step, one LSTM",
        citation=_LSTM,
        fusion="ef-lstm",
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults=_FRAMES,
    ),
    Method(
        "ef-slstm",
        summary="inputs side by side at every step, stacked LSTMs",
        citation=_STACKED,
        fusion=Part("ef-lstm", layers=2),
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults=_FRAMES,
    ),
    Method(
        "ef-blstm",
        summary="inputs side by side at every step, a bidirectional LSTM",
        citation=_BOTH_WAYS,
        fusion=Part("ef-lstm", bidirectional=True),
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults=_FRAMES,
    ),
    Method(
        "ef-sblstm",
        summary="inputs side by side at every step, stacked bidirectional LSTMs",
        citation=_STACKED,
        fusion=Part("ef-lstm", layers=2, bidirectional=True),
        encoders=_IDENTITY,
        modalities=(2, None),
        defaults=_FRAMES,
    ),
    Method(
        "lf-lstm",
        summary="an LSTM each, their last outputs side by side",
        citation=_LSTM,
        encoders={"*": Part("lstm", out_dim=32)},
        modalities=(2, None),
    ),
)
