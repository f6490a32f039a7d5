"""Fusions of vectors that multiply, gate and attend, and the encoders that feed them."""

from __future__ import annotations

from typing import Literal

from braidbench.specs import Encoder, Fusion, Method, Objective, Part, Preprocessing, Procedure
from braidbench_multizoo.catalogue.heads import HEADS

_HERE = "braidbench_multizoo"

_BOTH: tuple[Literal["vector", "sequence"], ...] = ("vector", "sequence")

_PID = "Liang et al., Quantifying & modeling multimodal interactions, NeurIPS 2023"
_JAYAKUMAR = "Jayakumar et al., Multiplicative interactions and where to find them, ICLR 2020"
_PEREZ = "Perez et al., FiLM: visual reasoning with a general conditioning layer, AAAI 2018"
_WANG = "Wang, Tran & Feiszli, What makes training multi-modal classification networks hard?, CVPR 2020"

_PICTURES = ("image", "depth", "audio", "optical_flow")

_WOLF = "Wolf et al., Transformers: state-of-the-art natural language processing, EMNLP Demonstrations 2020"
_LEE = "Lee et al., Multimodal sensor fusion with differentiable filters, IROS 2020"

ENCODERS: tuple[Encoder, ...] = (
    Encoder(
        "vgg",
        f"{_HERE}.encoders.vision:VGG",
        summary="stages of 3×3 convolutions with pooling between, then a linear layer",
        citation="Simonyan & Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015",
        kinds=_PICTURES,
        sequences="never",
    ),
    Encoder(
        "resnet",
        f"{_HERE}.encoders.vision:ResNet",
        summary="residual convolutions, of frames one after the other, their mean or an LSTM over them",
        citation="He et al., Deep residual learning for image recognition, CVPR 2016",
        kinds=("image", "depth", "optical_flow", "video"),
        gives=_BOTH,
    ),
    Encoder(
        "maxout-mlp",
        f"{_HERE}.encoders.maxout:MaxOutMLP",
        summary="normalised maxout layers, then a linear layer",
        citation="Goodfellow et al., Maxout networks, ICML 2013",
    ),
    Encoder(
        "deep-averaging",
        f"{_HERE}.encoders.averaging:DeepAveraging",
        summary="the mean over the real steps, with steps dropped out in training, then a perceptron",
        citation="Iyyer et al., Deep unordered composition rivals syntactic methods for text classification, ACL 2015",
        sequences="only",
    ),
    Encoder(
        "time-series-vae",
        f"{_HERE}.encoders.variational:TimeSeriesVAE",
        summary="mean and log variance of a latent vector, from a gated recurrent unit",
        citation="Kingma & Welling, Auto-encoding variational Bayes, ICLR 2014",
        sequences="only",
    ),
    Encoder(
        "residual-mlp",
        f"{_HERE}.encoders.residual:ResidualMLP",
        summary="a linear layer and residual blocks, on each step of a sequence",
        citation=_LEE,
        gives=_BOTH,
    ),
    Encoder(
        "residual-cnn",
        f"{_HERE}.encoders.residual:ResidualCNN",
        summary="convolutions without pooling and with a residual block, on each frame of a sequence",
        citation=_LEE,
        kinds=("image", "depth", "optical_flow", "video"),
        gives=_BOTH,
    ),
    Encoder(
        "hf",
        f"{_HERE}.encoders.pretrained:HuggingFace",
        summary="any pretrained transformer of sequences, frozen or not, and a linear layer",
        citation=_WOLF,
        kinds=("text", "question", "audio", "video", "time_series"),
        sequences="only",
        gives=_BOTH,
    ),
    Encoder(
        "hf-image",
        f"{_HERE}.encoders.pretrained:HuggingFaceImage",
        summary="any pretrained vision model, frozen or not, and a linear layer",
        citation=_WOLF,
        kinds=_PICTURES,
        sequences="never",
    ),
    Encoder(
        "sentence",
        f"{_HERE}.encoders.pretrained:Sentence",
        summary="all-MiniLM-L6-v2 from the package that ships it: a sentence's vector, and a linear layer",
        citation="Reimers & Gurevych, Sentence-BERT: sentence embeddings using siamese BERT-networks, EMNLP 2019",
        kinds=("text", "question"),
        sequences="only",
        gives=_BOTH,
    ),
)

FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        "mi",
        f"{_HERE}.fusions.interactions:MultiplicativeInteractions",
        summary="one modality scaled and shifted by what the others generate: a matrix, a vector or a scalar",
        citation=_JAYAKUMAR,
        modalities=(2, 3),
    ),
    Fusion(
        "film",
        f"{_HERE}.fusions.interactions:FiLM",
        summary="one modality scaled and shifted feature by feature, by a perceptron of the others",
        citation=_PEREZ,
        modalities=(2, None),
    ),
    Fusion(
        "nl-gate",
        f"{_HERE}.fusions.nonlocal_gate:NonLocalGate",
        summary="one modality's steps attend to the others' steps and add what they find",
        citation=_WANG,
        modalities=(2, None),
        takes="sequences",
    ),
    Fusion("stack", f"{_HERE}.fusions.stacking:Stack", summary="representations as the columns of one matrix"),
    Fusion("product", f"{_HERE}.fusions.stacking:Product", summary="the element-wise product of linear images"),
    Fusion(
        "product-of-experts",
        f"{_HERE}.fusions.experts:ProductOfExperts",
        summary="a Gaussian a modality, multiplied: a sample in training, the mean in evaluation",
        citation="Wu & Goodman, Multimodal generative models for scalable weakly-supervised learning, NeurIPS 2018",
    ),
)

OBJECTIVES: tuple[Objective, ...] = ()

PROCEDURES: tuple[Procedure, ...] = ()

PREPROCESSINGS: tuple[Preprocessing, ...] = ()

# MultiBench's examples set a width for the matrix form alone; the others are as wide as what they modulate.
_MATRIX_WIDTHS = {"av-mnist": 240, "enrico": 32, "mimic": 100, "mm-imdb": 1024}
_MATRIX_TRAINING: dict[str, dict[str, object]] = {"av-mnist": {"training.lr": 0.05, "training.epochs": 20}}

METHODS: tuple[Method, ...] = (
    Method(
        "elementwise-product",
        summary="the element-wise product of the representations' linear images",
        citation=_PID,
        fusion="product",
        modalities=(2, None),
        defaults=HEADS,
    ),
    Method(
        "outer-product",
        summary="low-rank tensor fusion without the constant: products of all modalities alone",
        citation=_PID,
        fusion=Part("low-rank-tensor", constant=False),
        modalities=(2, None),
        defaults=HEADS,
    ),
    Method(
        "mi-matrix",
        summary="a bilinear form of the representations: one of them generates the other's linear layer",
        citation=_JAYAKUMAR,
        fusion=Part("mi", output="matrix"),
        modalities=(2, 3),
        defaults={
            **HEADS,
            **{
                name: {**HEADS[name], "fusion.out_dim": width, **_MATRIX_TRAINING.get(name, {})}
                for name, width in _MATRIX_WIDTHS.items()
            },
        },
    ),
    Method(
        "mi-vector",
        summary="one representation scaled and shifted feature by feature, linearly in another",
        citation=_JAYAKUMAR,
        fusion=Part("mi", output="vector"),
        modalities=(2, 3),
        defaults=HEADS,
    ),
    Method(
        "mi-scalar",
        summary="one representation scaled and shifted by two numbers that another gives",
        citation=_JAYAKUMAR,
        fusion=Part("mi", output="scalar"),
        modalities=(2, 3),
        defaults=HEADS,
    ),
    Method(
        "film",
        summary="one representation scaled and shifted feature by feature, by a perceptron of the others",
        citation=_PEREZ,
        fusion="film",
        modalities=(2, None),
        defaults=HEADS,
        proposed_on=("clevr",),
    ),
    Method(
        "nl-gate",
        summary="the steps of one modality attend to those of the others",
        citation=_WANG,
        fusion="nl-gate",
        modalities=(2, None),
        defaults=HEADS,
        proposed_on=("kinetics400",),
    ),
)
