"""Objectives against closed forms, numpy and cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from braidbench.assembly import build
from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import Head, MultimodalModel, Output
from braidbench.recipe import resolve
from braidbench.registry import registry
from braidbench.specs import Modality, Task
from braidbench_multizoo.fusions.concatenation import Concat
from braidbench_multizoo.losses.agreement import Agreement, Alignment
from braidbench_multizoo.losses.contrastive import Contrastive, info_nce, predicted_similarity
from braidbench_multizoo.losses.correlation import CCA, canonical_correlations
from braidbench_multizoo.losses.entropies import RMFE
from braidbench_multizoo.losses.factorised import MFM
from braidbench_multizoo.losses.reconstruction import mmd, mmd_from_normal, negative_log_likelihood, squared_error
from braidbench_multizoo.losses.refinement import RefNet
from braidbench_multizoo.losses.variational import MVAE, kl_from_normal

CLASSES = Task("c", "classification", ("accuracy",), classes=("a", "b", "c"))
VECTORS = (Modality("one", "tabular", (4,)), Modality("two", "tabular", (3,)))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Linear(nn.Module):
    def __init__(self, size: int, out_dim: int) -> None:
        super().__init__()
        self.layer, self.out_dim = nn.Linear(size, out_dim), out_dim

    def forward(self, x, lengths):
        return self.layer(x if lengths is None else x.mean(1))


def model_of(task: Task = CLASSES, modalities=VECTORS) -> MultimodalModel:
    encoders = {m.name: Linear(m.shape[0], 5) for m in modalities}
    return MultimodalModel(encoders, Concat([5] * len(modalities)), Head(5 * len(modalities), task.width, 0), task)


def batch_of(rows: int = 6, task: Task = CLASSES, modalities=VECTORS, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = {m.name: torch.randn(rows, *m.shape, generator=generator) for m in modalities}
    target = torch.arange(rows) % task.width if task.kind == "classification" else torch.randn(rows, task.width)
    return Batch(inputs, {m.name: None for m in modalities}, target, torch.arange(rows))


def terms_of(objective, model, batch, modalities=VECTORS) -> dict[str, torch.Tensor]:
    objective.bind(model, modalities, model.task)
    return objective(model(batch.inputs, batch.lengths), batch, model)


# --- canonical correlations -------------------------------------------------------------------------------------------


def numpy_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By orthonormal bases of the centred columns (Björck & Golub), another way than the implementation's."""
    q, _ = np.linalg.qr(x - x.mean(0))
    r, _ = np.linalg.qr(y - y.mean(0))
    return np.linalg.svd(q.T @ r, compute_uv=False)


def test_correlations_of_linear_data_are_the_known_ones():
    rng = np.random.default_rng(0)
    known = np.array([0.9, 0.6, 0.2])
    latent = rng.normal(size=(20_000, 3))
    other = known * latent + np.sqrt(1 - known**2) * rng.normal(size=latent.shape)
    x, y = latent @ rng.normal(size=(3, 3)), other @ rng.normal(size=(3, 3))
    found = canonical_correlations(torch.from_numpy(x), torch.from_numpy(y), ridge=1e-9).numpy()
    np.testing.assert_allclose(found, numpy_correlations(x, y), atol=1e-6)
    np.testing.assert_allclose(found, known, atol=0.02)


def test_the_sum_is_the_trace_of_the_matrix_root_and_not_of_the_elementwise_one():
    """The released code takes the latter: another number, and NaN gradients at negative entries."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 4))
    y[:, :2] -= x[:, :2]

    def root(v):
        return scipy.linalg.sqrtm(np.linalg.inv(np.cov(v.T) + 1e-3 * np.eye(4)))

    t = root(x) @ (x - x.mean(0)).T @ (y - y.mean(0)) / 39 @ root(y)
    total = canonical_correlations(torch.from_numpy(x), torch.from_numpy(y)).sum().item()
    assert total == pytest.approx(np.trace(scipy.linalg.sqrtm(t.T @ t)).real, abs=1e-8)
    assert total != pytest.approx(np.sqrt(np.abs(t.T @ t)).trace(), abs=1e-2)
    assert (t.T @ t).min() < 0


def test_its_gradient_is_right_and_stays_finite_where_correlations_coincide():
    x = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: canonical_correlations(a, b).sum(), (x, y))
    assert torch.autograd.gradcheck(lambda a, b: canonical_correlations(a, b)[:1].sum(), (x, y))
    canonical_correlations(x, x).sum().backward()
    assert x.grad.isfinite().all(), "all correlations are equal here"


@pytest.mark.parametrize("x", [torch.randn(1, 3), torch.ones(5, 3), torch.randn(2, 3)], ids=["one", "constant", "few"])
def test_small_batches_and_constant_features_are_defined(x):
    x = x.clone().requires_grad_()
    found = canonical_correlations(x, torch.randn(len(x), 2))
    assert found.isfinite().all()
    assert (found >= -1e-6).all()
    assert (found <= 1).all()
    found.sum().backward()
    assert x.grad.isfinite().all()
    if x.std() == 0 or len(x) == 1:
        assert found.abs().max() < 1e-6


@pytest.mark.parametrize("count", [2, 3])
def test_cca_is_minus_the_mean_over_all_pairs(count):
    modalities = tuple(Modality(name, "tabular", (6,)) for name in ("one", "two", "three"))[:count]
    model, batch = model_of(modalities=modalities), batch_of(50, modalities=modalities)
    terms = terms_of(CCA(weight=0.5, project=None, top=2, ridge=1e-9), model, batch, modalities)
    z = [v.detach().double().numpy() for v in model(batch.inputs, batch.lengths).representations.values()]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    expected = -0.5 * np.mean([numpy_correlations(z[i], z[j])[:2].sum() for i, j in pairs])
    assert terms["correlation"].item() == pytest.approx(expected, abs=1e-4)
    assert set(terms) == {"task", "correlation"}


# --- refinement, agreement, alignment, contrast -----------------------------------------------------------------------


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_refnet_by_hand():
    model, batch = model_of(), batch_of()
    objective = RefNet(weight=0.3)
    terms = terms_of(objective, model, batch)
    output = model(batch.inputs, batch.lengths)
    fused = output.fused.detach().numpy()
    expected = 0.0
    for g, z in zip(objective.auxiliary, output.representations.values(), strict=True):
        refined = g(z).detach().numpy()
        expected += np.mean([1 - cosine(a, b) for a, b in zip(fused, refined, strict=True)])
    assert terms["refinement"].item() == pytest.approx(0.3 * expected, rel=1e-5)


def test_refnet_on_inputs_leaves_padding_out():
    modalities = (Modality("still", "tabular", (3,)), Modality("series", "time_series", (2,), length=4))
    model = model_of(modalities=modalities)
    batch = Batch(
        {"still": torch.randn(2, 3), "series": torch.randn(2, 3, 2)},
        {"still": None, "series": torch.tensor([3, 1])},
        torch.tensor([0, 1]),
        torch.arange(2),
    )
    objective = RefNet(weight=1.0, refine="inputs", hidden=6)
    objective.bind(model, modalities, CLASSES)
    fused = torch.randn(2, 10)
    output = Output(torch.randn(2, 3), fused, {})
    found = objective.terms(output, batch, model)["refinement"].item()
    refined = objective.auxiliary(fused).detach().numpy()
    x = batch.inputs["series"].numpy()
    expected = 1 - np.mean([cosine(refined[i, :3], batch.inputs["still"][i].numpy()) for i in range(2)])
    expected += 1 - np.mean([cosine(refined[i, 3 : 3 + 2 * n], x[i, :n].ravel()) for i, n in enumerate((3, 1))])
    assert found == pytest.approx(expected, rel=1e-5)


def test_agreement_by_hand_and_with_a_gradient():
    model, batch = model_of(), batch_of()
    objective = Agreement(weight=2.0, unimodal=0.5)
    terms = terms_of(objective, model, batch)
    z = list(model(batch.inputs, batch.lengths).representations.values())
    logits = [g(v).detach().numpy() for g, v in zip(objective.predictors, z, strict=True)]
    said = [scipy.special.softmax(v, axis=1) for v in logits]
    assert terms["agreement"].item() == pytest.approx(2 * ((said[0] - said[1]) ** 2).sum(1).mean(), rel=1e-5)
    losses = [-np.log(p[np.arange(6), batch.target.numpy()]).mean() for p in said]
    assert terms["unimodal"].item() == pytest.approx(0.5 * np.mean(losses), rel=1e-5)
    terms["agreement"].backward()
    assert all(float(e.layer.weight.grad.abs().sum()) > 0 for e in model.encoders.values()), "the released one is cut"


def test_alignment_by_hand_and_towards_each_other():
    model, batch = model_of(), batch_of()
    objective = Alignment(weight=0.7, project=4)
    objective.bind(model, VECTORS, CLASSES)
    optimizer = torch.optim.SGD([*model.parameters(), *objective.parameters()], lr=0.5)
    values = []
    for _ in range(20):
        output = model(batch.inputs, batch.lengths)
        term = objective.terms(output, batch, model)["alignment"]
        if not values:
            views = [
                g(z).detach().numpy()
                for g, z in zip(objective.projections, output.representations.values(), strict=True)
            ]
            expected = 0.7 * np.mean([1 - cosine(a, b) for a, b in zip(*views, strict=True)])
            assert term.item() == pytest.approx(expected, rel=1e-5)
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
        values.append(term.item())
    assert values[-1] < 0.5 * values[0], "the released sign pushes them apart"


def test_info_nce_by_hand():
    x, y = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    scores = np.array([[cosine(a, b) for b in y.numpy()] for a in x.numpy()]) / 0.2
    rows = -np.mean(np.diag(scores) - scipy.special.logsumexp(scores, axis=1))
    columns = -np.mean(np.diag(scores) - scipy.special.logsumexp(scores, axis=0))
    assert info_nce(x, y, 0.2).item() == pytest.approx((rows + columns) / 2, rel=1e-9)
    assert info_nce(x[:1], y[:1], 0.2).item() == 0.0
    assert info_nce(torch.eye(4), torch.eye(4), 0.01).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(torch.ones(8, 3), torch.ones(8, 3), 1.0).item() == pytest.approx(math.log(8))


def test_without_negatives_the_target_is_fixed():
    p, t = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    loss = predicted_similarity(p, t)
    expected = 1 - np.mean([cosine(a, b) for a, b in zip(p.detach().numpy(), t.detach().numpy(), strict=True)])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert p.grad.abs().sum() > 0
    assert t.grad is None
    terms = terms_of(Contrastive(negatives=False), model_of(), batch_of())
    assert 0 < terms["contrast"].item() < 0.2


# --- reconstruction and priors ----------------------------------------------------------------------------------------


def test_mmd_of_equal_samples_is_nought_and_of_gaussians_is_the_closed_form():
    x = torch.randn(50, 3, dtype=torch.float64)
    assert mmd(x, x.clone(), 3.0).item() == pytest.approx(0, abs=1e-12)
    rng = np.random.default_rng(0)
    shift, v, size = np.array([0.8, 0.0, -0.5]), 2.0, 3
    one, other = (torch.from_numpy(rng.normal(size=(4000, 3)) + s) for s in (shift, 0.0))
    # E k of N(μ, 2I) differences: (v / (v + 2))^(D/2) exp(−‖μ‖² / (2 (v + 2))).
    within = (v / (v + 2)) ** (size / 2)
    expected = 2 * within * (1 - np.exp(-(shift @ shift) / (2 * (v + 2))))
    # The biased statistic counts each point with itself.
    bias = 2 * (1 - within) / 4000
    assert mmd(one, other, v).item() == pytest.approx(expected + bias, abs=0.006)


def test_discrepancy_from_the_normal_is_that_of_a_large_sample_of_it():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(0.5 * rng.normal(size=(200, 4)) + 0.3)
    normal = torch.from_numpy(rng.normal(size=(8000, 4)))
    bias = (1 - (4 / 6) ** 2) / 8000
    assert mmd_from_normal(x).item() == pytest.approx(mmd(x, normal, 4.0).item() - bias, abs=0.004)
    assert mmd_from_normal(normal).item() == pytest.approx(bias, abs=1e-4)


def test_likelihoods_against_torch_distributions_and_without_padding():
    image, series = Modality("i", "image", (1, 2, 2)), Modality("s", "time_series", (2,), length=3)
    x, decoded = torch.rand(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    expected = nn.functional.binary_cross_entropy(decoded.sigmoid(), x, reduction="none").flatten(1).sum(1)
    torch.testing.assert_close(negative_log_likelihood(image, decoded, x, None), expected)
    x, decoded, lengths = torch.randn(2, 3, 2), torch.randn(2, 3, 2), torch.tensor([3, 1])
    found = negative_log_likelihood(series, decoded, x, lengths)
    normal = torch.distributions.Normal(decoded, 1.0)
    constant = 0.5 * math.log(2 * math.pi)
    nll = (-normal.log_prob(x) - constant).sum(2)
    torch.testing.assert_close(found, torch.stack([nll[0].sum(), nll[1, 0]]))
    x[1, 1:] = torch.nan
    assert squared_error(decoded, x, lengths).isfinite().all(), "whatever stands in the padding"


def test_mfm_adds_up():
    model, batch = model_of(), batch_of()
    objective = MFM(reconstruction=0.5, prior=2.0, factor=3)
    terms = terms_of(objective, model, batch)
    output = model(batch.inputs, batch.lengths)
    reconstruction, priors = 0.0, [mmd_from_normal(output.fused).item()]
    for m, layer, decoder in zip(VECTORS, objective.factors, objective.decoders, strict=True):
        z = layer(output.representations[m.name])
        priors.append(mmd_from_normal(z).item())
        decoded = decoder(torch.cat([z, output.fused], 1))
        reconstruction += ((decoded - batch.inputs[m.name]) ** 2).mean().item()
    assert terms["reconstruction"].item() == pytest.approx(0.5 * reconstruction, rel=1e-5)
    assert terms["prior"].item() == pytest.approx(2 * np.mean(priors), rel=1e-4)


def test_kl_is_that_of_torch():
    mean, logvar = torch.randn(4, 3), torch.randn(4, 3)
    there = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(there, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_from_normal(mean, logvar), expected)


def test_mvae_is_the_sum_of_joint_and_unimodal_bounds():
    recipe = resolve(registry(), "cohort", "mvae", {"objective.weight": 1.0, "fusion.out_dim": 6})
    torch.manual_seed(0)
    model, objective = build(recipe)
    static, labs = recipe.modalities
    inputs = {static.name: torch.randn(3, *static.shape), labs.name: torch.randn(3, 4, *labs.shape)}
    batch = Batch(
        inputs, {static.name: None, labs.name: torch.tensor([4, 2, 1])}, torch.tensor([0, 1, 0]), torch.arange(3)
    )
    output = model(batch.inputs, batch.lengths)
    torch.manual_seed(7)
    found = objective(output, batch, model)["elbo"].item()
    torch.manual_seed(7)
    z = list(output.representations.values())
    total = torch.zeros(3)

    def bound(draw, mean, logvar, which):
        value = -kl_from_normal(mean, logvar)
        for index in which:
            m = recipe.modalities[index]
            decoded = objective.decoders[index](draw, 4 if m.is_sequence else None)
            value = value - negative_log_likelihood(m, decoded, batch.inputs[m.name], batch.lengths[m.name])
        return value

    total = bound(output.fused, *model.fusion.posterior(z), (0, 1))
    for index, (mean, logvar) in enumerate(model.fusion.experts(z)):
        # With the standard normal prior as one more factor.
        precision = 1 + (-logvar).exp()
        own_mean, own_logvar = mean * (-logvar).exp() / precision, -precision.log()
        draw = own_mean + (0.5 * own_logvar).exp() * torch.randn_like(own_mean)
        total = total + bound(draw, own_mean, own_logvar, (index,))
    size = static.size + labs.size
    assert found == pytest.approx(-float(total.detach().mean()) / size, rel=1e-4)


def test_mvae_needs_its_fusion():
    with pytest.raises(UsageError, match="product-of-experts"):
        MVAE().bind(model_of(), VECTORS, CLASSES)


# --- functional entropies ---------------------------------------------------------------------------------------------


class Known(nn.Module):
    """A prediction that is linear in two scalar inputs: (B, 1) = a · x + b · y."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([a, b]))

    def forward(self, inputs, lengths):
        value = self.weights[0] * inputs["x"] + self.weights[1] * inputs["y"]
        return Output(value, value, {})


def test_fisher_informations_of_a_linear_regression_by_hand():
    """f = ½ + (a Δx + b Δy)², so ∂f/∂x = 2a (a Δx + b Δy), and I_x : I_y = a² : b²."""
    task = Task("t", "regression", ("mse",))
    modalities = (Modality("x", "tabular", (1,)), Modality("y", "tabular", (1,)))
    model = Known(2.0, 0.5)
    objective = RMFE(weight=3.0, noise=0.7, copies=4000)
    objective.bind(model, modalities, task)
    x = torch.tensor([[-1.0], [1.0]])
    batch = Batch({"x": x, "y": 2 * x}, {"x": None, "y": None}, torch.zeros(2, 1), torch.arange(2))
    torch.manual_seed(0)
    output = model(batch.inputs, batch.lengths)
    found = objective.informations(output, batch, model)
    rng = np.random.default_rng(0)
    # Deviations over the batch are 1 and 2.
    d = 2.0 * 0.7 * rng.normal(size=400_000) + 0.5 * 0.7 * 2 * rng.normal(size=400_000)
    expected = np.mean((2 * 2.0 * d) ** 2 / (0.5 + d**2))
    assert found["x"].item() == pytest.approx(expected, rel=0.03)
    assert (found["x"] / found["y"]).item() == pytest.approx(16, rel=1e-4)
    torch.manual_seed(0)
    term = objective.terms(output, batch, model)["functional-entropy"]
    x_information, y_information = found["x"].item(), found["y"].item()
    assert term.item() == pytest.approx(3 * math.hypot(1 / x_information, 1 / y_information), rel=1e-4)
    term.backward()
    assert model.weights.grad[1] < 0, "the neglected modality is to count more"


def test_all_modalities_count_and_an_ignored_one_is_finite():
    modalities = (*VECTORS, Modality("three", "tabular", (2,)))
    model, batch = model_of(modalities=modalities), batch_of(modalities=modalities)
    objective = RMFE()
    objective.bind(model, modalities, CLASSES)
    with torch.no_grad():
        model.encoders["three"].layer.weight.zero_()
    found = objective.informations(model(batch.inputs, batch.lengths), batch, model)
    assert list(found) == ["one", "two", "three"]
    assert found["three"].item() == 0
    assert found["one"].item() > 0
    assert objective.terms(model(batch.inputs, batch.lengths), batch, model)["functional-entropy"].isfinite()


def test_integers_cannot_be_perturbed():
    objective = RMFE()
    objective.bind(model_of(), VECTORS, CLASSES)
    batch = Batch({"x": torch.ones(2, 3, dtype=torch.int64)}, {"x": None}, torch.zeros(2), torch.arange(2))
    with pytest.raises(UsageError, match="integers"):
        objective.terms(
            Output(torch.zeros(2, 3), torch.zeros(2, 3), {}), batch, lambda *_: Output(torch.zeros(6, 3), None, {})
        )


# --- all of them ------------------------------------------------------------------------------------------------------

OBJECTIVES = ("cca", "refnet", "mfm", "rmfe", "agreement", "alignment", "contrastive")


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("rows", [1, 2])
def test_a_batch_of_one_and_of_one_class_are_finite(name, rows):
    model = model_of()
    batch = batch_of(rows)
    batch = Batch(batch.inputs, batch.lengths, torch.zeros(rows, dtype=torch.int64), batch.index)
    terms = terms_of(registry().load("objectives", name)(), model, batch)
    total = torch.stack(tuple(terms.values())).sum()
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ["cca", "agreement", "alignment", "contrastive"])
def test_one_modality_is_refused_with_the_reason(name):
    skip = registry().load("objectives", name).skip
    assert "two modalities or more" in skip(VECTORS[:1], CLASSES)
    assert skip(VECTORS, CLASSES) is None


@pytest.mark.parametrize("name", ["cca", "refnet", "mfm", "mvae", "rmfe", "agreement", "alignment", "contrastive"])
def test_every_method_builds_on_official_declarations_too(name):
    model, _ = build(resolve(registry(), "av-mnist", name, {}))
    assert isinstance(model.objective, nn.Module)
    assert any(key.startswith("objective.") for key in model.state_dict()) == (name != "rmfe")
