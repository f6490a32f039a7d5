"""Pretrained encoders: tiny models of random weights that the tests save, and the weights that a package ships."""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from braidbench.errors import MissingPackageError, UsageError
from braidbench.specs import Modality

transformers = pytest.importorskip("transformers", reason="needs the extra 'pretrained'")

from braidbench_multizoo.encoders.pretrained import (  # noqa: E402
    MINILM,
    HuggingFace,
    HuggingFaceImage,
    Sentence,
    tokenise,
)

TOKENS = Modality("words", "text", (1,), length=12)
FEATURES = Modality("sound", "audio", (5,), length=12)
LENGTHS = torch.tensor([4, 7, 1])


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


def draw(modality: Modality) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if modality is TOKENS:
        return torch.randint(0, 50, (3, 7, 1), generator=generator)
    return torch.randn(3, 7, 5, generator=generator)


@pytest.mark.parametrize("modality", [TOKENS, FEATURES], ids=["tokens", "features"])
@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_each_row_alone_through_the_model_itself(bert: str, modality: Modality, pool: str) -> None:
    encoder = HuggingFace(modality, out_dim=6, model=bert, pool=pool, normalise=True).eval()  # type: ignore[arg-type]
    model = transformers.AutoModel.from_pretrained(bert).eval()
    given = encoder(draw(modality), LENGTHS)
    assert given.shape == (3, encoder.out_dim) == (3, 6)
    for row, length in enumerate(LENGTHS.tolist()):
        one = draw(modality)[row : row + 1, :length]
        read = {"input_ids": one[:, :, 0]} if modality is TOKENS else {"inputs_embeds": encoder.embed(one)}
        states = model(**read).last_hidden_state[0]
        pooled = {"mean": states.mean(0), "first": states[0], "last": states[-1]}[pool]
        torch.testing.assert_close(given[row], encoder.project(pooled / pooled.norm()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modality", [TOKENS, FEATURES], ids=["tokens", "features"])
@pytest.mark.parametrize("form", ["vector", "sequence"])
def test_padding_and_empty_rows(bert: str, modality: Modality, form: str) -> None:
    encoder = HuggingFace(modality, out_dim=6, model=bert, form=form).eval()  # type: ignore[arg-type]
    lengths = torch.tensor([4, 7, 0])
    x = draw(modality)
    given = encoder(x, lengths)
    spoilt = x.clone()
    spoilt[torch.arange(7) >= lengths[:, None]] = 49 if modality is TOKENS else math.nan
    torch.testing.assert_close(encoder(spoilt, lengths), given)
    assert bool(given.isfinite().all())
    if form == "vector":
        torch.testing.assert_close(given[2], encoder.project.bias)
    else:
        assert given.shape == (3, 7, 6)
        assert not given[2].any()
        assert not given[0, 4:].any()
    given.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in encoder.parameters())


def test_frozen_and_not(bert: str) -> None:
    """A frozen model has no dropout in training and no gradient, but what stands before it is trained through it."""
    frozen = HuggingFace(FEATURES, model=bert).train()
    assert torch.equal(frozen(draw(FEATURES), LENGTHS), frozen(draw(FEATURES), LENGTHS))
    frozen(draw(FEATURES), LENGTHS).square().sum().backward()
    assert frozen.embed is not None
    assert frozen.embed.weight.grad is not None
    assert frozen.embed.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in frozen.backbone.parameters())
    assert sum(p.numel() for p in frozen.parameters() if p.requires_grad) == 5 * 8 + 8 + 8 * 64 + 64

    free = HuggingFace(TOKENS, model=bert, frozen=False).train()
    assert not torch.equal(free(draw(TOKENS), LENGTHS), free(draw(TOKENS), LENGTHS))
    free(draw(TOKENS), LENGTHS).square().sum().backward()
    assert free.backbone.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_an_encoder_decoder_gives_its_encoder(tmp_path: Path) -> None:
    config = transformers.T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5Model(config).save_pretrained(tmp_path)
    encoder = HuggingFace(TOKENS, out_dim=0, model=str(tmp_path)).eval()
    assert encoder(draw(TOKENS), LENGTHS).shape == (3, 8) == (3, encoder.out_dim)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("shape", [(1, 20, 28), (3, 16, 16)])
def test_pictures(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    """One channel is repeated, the size is the model's, and mean and deviation are those of its files."""
    torch.manual_seed(0)
    if kind == "vit":
        config: Any = transformers.ViTConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=4
        )
    else:
        config = transformers.ResNetConfig(
            embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic", hidden_act="relu"
        )
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    statistics = '{"do_normalize": true, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}'
    (tmp_path / "preprocessor_config.json").write_text(statistics)
    encoder = HuggingFaceImage(Modality("picture", "image", shape), out_dim=5, model=str(tmp_path)).eval()
    x = torch.rand(2, *shape)
    seen = x.expand(2, 3, *shape[1:])
    if kind == "vit" and shape[1:] != (16, 16):
        seen = torch.nn.functional.interpolate(seen, (16, 16), mode="bilinear", antialias=True)
    seen = torch.stack([(seen[:, c] - m) / s for c, (m, s) in enumerate([(0.5, 0.2), (0.4, 0.25), (0.3, 0.5)])], dim=1)
    states = transformers.AutoModel.from_pretrained(tmp_path).eval()(pixel_values=seen).last_hidden_state
    pooled = states.mean(1) if kind == "vit" else states.mean((2, 3))
    torch.testing.assert_close(encoder(x), encoder.project(pooled), rtol=1e-4, atol=1e-5)
    assert torch.equal(encoder.train()(x), encoder.eval()(x)), "frozen: no running statistics are learned"


def test_refusals(bert: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'long' has up to 17 steps and .* reads 16"):
        HuggingFace(Modality("long", "text", (1,), length=17), model=bert)
    with pytest.raises(UsageError, match="'row' is none: use 'hf-image'"):
        HuggingFace(Modality("row", "text", (3,)), model=bert)
    with pytest.raises(MissingPackageError, match=r"its files are not here .*nothing is downloaded"):
        HuggingFace(TOKENS, model=str(tmp_path / "nothing"))
    with pytest.raises(MissingPackageError, match=r"its files are not here .*nothing is downloaded"):
        HuggingFaceImage(Modality("picture", "image", (3, 8, 8)), model="nobody/no-such-model")
    with pytest.raises(UsageError, match="the installed distribution 'torch' ships no model"):
        HuggingFace(TOKENS, model="torch")


# --- the weights that a package ships ---------------------------------------------------------------------------------


@pytest.fixture
def minilm() -> None:
    try:
        importlib.metadata.distribution(MINILM)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"needs the package {MINILM!r}")


@pytest.mark.usefixtures("minilm")
def test_sentences_of_one_meaning_are_near() -> None:
    texts = ["A man is eating a piece of bread.", "Somebody eats bread.", "The stock market fell on Monday.", "A"]
    ids = tokenise(texts)
    assert [ids[3].tolist(), ids[0].shape[1]] == [[[101], [1037], [102]], 1]
    modality = Modality("words", "text", (1,), length=256)
    encoder = Sentence(modality, out_dim=0).eval()
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in ids], batch_first=True)
    with torch.no_grad():
        found = encoder(padded, torch.tensor([len(one) for one in ids]))
    assert found.shape == (4, 384) == (4, encoder.out_dim)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    same, other = float(found[0] @ found[1]), float(found[0] @ found[2])
    assert same > 0.6
    assert other < 0.2
    assert sum(p.numel() for p in encoder.parameters()) == 22_713_216
    assert not any(p.requires_grad for p in encoder.parameters())
    assert tokenise(["word " * 400])[0].shape == (256, 1)
    assert tokenise([]) == []
