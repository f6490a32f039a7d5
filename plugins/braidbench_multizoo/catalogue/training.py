"""Methods that are defined by how they train, or by what they do to their inputs first."""

from __future__ import annotations

from braidbench.specs import Encoder, Fusion, Method, Objective, Preprocessing, Procedure
from braidbench_multizoo.catalogue.heads import HEADS

_HERE = "braidbench_multizoo"

_BLEND = "Wang, Tran & Feiszli, What makes training multi-modal classification networks hard?, CVPR 2020"
_ALIGN = "Chen et al., Multimodal sentiment analysis with word-level fusion and reinforcement learning, ICMI 2017"
_ADDITIVE = "Hessel & Lee, Does my multimodal model learn cross-modal interactions?, EMNLP 2020"
_TRANSLATE = "Pham et al., Found in translation: learning robust joint representations, AAAI 2019"
_CTC = "Graves et al., Connectionist temporal classification, ICML 2006"
_SEARCH = "Pérez-Rúa et al., MFAS: multimodal fusion architecture search, CVPR 2019"
_VOTE = "Hansen & Salamon, Neural network ensembles, TPAMI 1990"

ENCODERS: tuple[Encoder, ...] = ()

FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        "searchable", f"{_HERE}.fusions.searchable:Searchable", citation=_SEARCH,
        summary="levels of fusion that each read a chosen stage of every encoder",
    ),
)  # fmt: skip

OBJECTIVES: tuple[Objective, ...] = (
    # Not in full precision as a whole: most of the method's work is the translators', which the objective runs. The
    # errors and the task's loss it takes in float32 itself.
    Objective(
        "mctn", f"{_HERE}.losses.translation:Translation", citation=_TRANSLATE,
        summary="translation into the other modalities, and back",
    ),
    # Sums of products of probabilities along hundreds of steps, in logarithms; half precision has no kernel for it.
    Objective(
        "ctc", f"{_HERE}.ctc:CTC", citation=_CTC, full_precision=True,
        summary="positions in order, by connectionist classification",
    ),
)  # fmt: skip

PROCEDURES: tuple[Procedure, ...] = (
    Procedure("separately", f"{_HERE}.ensembles:Separately", summary="each modality's model alone, one by one"),
    Procedure(
        "gradient-blend", f"{_HERE}.blending:GradientBlend", citation=_BLEND,
        summary="unimodal and multimodal losses weighed by how they generalise and overfit",
    ),
    Procedure(
        "mfas", f"{_HERE}.search:MFAS", citation=_SEARCH,
        summary="progressive search for what to fuse, led by a surrogate, then training of what was found",
    ),
)  # fmt: skip

PREPROCESSINGS: tuple[Preprocessing, ...] = (
    Preprocessing(
        "word-align", f"{_HERE}.alignment:WordAlign", citation=_ALIGN,
        summary="means over each word's time span, by timestamps",
    ),
)  # fmt: skip

METHODS: tuple[Method, ...] = (
    Method(
        "gradient-blend",
        f"{_HERE}.blending:Blended",
        summary="late fusion and unimodal heads, their losses weighed by how they generalise",
        citation=_BLEND,
        procedure="gradient-blend",
        modalities=(2, None),
        defaults={
            **HEADS,
            "av-mnist": {"head.hidden": 100, "training.lr": 0.01, "training.epochs": 300, "procedure.super_epochs": 30},
            "mosi": {"head.hidden": 512, "training.weight_decay": 0.1, "procedure.super_epochs": 5},
        },
        proposed_on=("kinetics400",),
    ),
    Method(
        "mfas",
        f"{_HERE}.search:Searched",
        summary="fusion of encoders' stages by an architecture that is searched for",
        citation=_SEARCH,
        fusion="searchable",
        procedure="mfas",
        head={"hidden": 0},
        modalities=(2, None),
        defaults={
            name: {"fusion.width": 16, "procedure.candidate_epochs": 6} for name in ("av-mnist", "mimic")
        },
        proposed_on=("av-mnist", "mm-imdb"),
    ),
    Method(
        "word-align",
        summary="every modality averaged over each word's time, then one LSTM over the words",
        citation=_ALIGN,
        preprocessing="word-align",
        fusion="ef-lstm",
        encoders={"*": "identity"},
        modalities=(2, None),
        proposed_on=("mosi",),
    ),
    Method(
        "mctn",
        f"{_HERE}.translation:MCTN",
        summary="translation of one modality into the others and back; prediction needs that one alone",
        citation=_TRANSLATE,
        objective="mctn",
        encoders={"*": "identity"},
        modalities=(2, None),
        defaults={
            "mosi": {
                "objective.translation": 0.01, "objective.cycle": 0.01, "objective.regression": "mae",
                "training.lr": 1e-4, "training.epochs": 200, "head.hidden": 64,
            },
        },
        proposed_on=("mosi",),
    ),
    *(
        Method(
            f"ctc-{fusion}", f"{_HERE}.ctc:CTCAligned", summary=f"{fusion} on steps that a learned front aligns",
            citation="Tsai et al., Multimodal transformer for unaligned multimodal language sequences, ACL 2019",
            fusion=fusion, objective="ctc", encoders={"*": "identity"}, modalities=(2, None),
            proposed_on=("mosi", "mosei", "iemocap"),
        )
        for fusion in ("ef-lstm", "raven")
    ),
    Method(
        "additive", f"{_HERE}.ensembles:Ensemble",
        summary="each modality's own logits, added and trained together: no interaction at all",
        citation=_ADDITIVE, modalities=(2, None), defaults=HEADS,
    ),
    *(
        Method(
            f"ensemble-{name}", f"{_HERE}.ensembles:Ensemble", summary=summary, citation=citation,
            procedure="separately", model={"combine": combine}, modalities=(2, None), defaults=HEADS,
        )
        for name, combine, summary, citation in (
            ("additive", "add", "models trained on one modality each, their logits added", _ADDITIVE),
            ("vote", "vote", "models trained on one modality each, a majority vote", _VOTE),
        )
    ),
)  # fmt: skip
