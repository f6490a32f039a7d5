"""Multimodal fusion architecture search: which layers to fuse, found by training small candidates on cached stages."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from braidbench.data import Column, Split, TrainingData
from braidbench.errors import PluginError, UsageError
from braidbench.model import Head, MultimodalModel, Output, out_dim
from braidbench.precision import in_full_precision
from braidbench.specs import Modality, Task
from braidbench.training import WORST, Settings, train
from braidbench_multizoo.ensembles import Single
from braidbench_multizoo.fusions.searchable import ACTIVATIONS, Architecture, Level, Searchable

POOL = 5000
"""Most candidates that the surrogate looks at in one step; of more, a random sample."""

# --- the search -------------------------------------------------------------------------------------------------------


class Surrogate(Protocol):
    """What predicts an architecture's score from those that were measured."""

    def fit(self, architectures: Sequence[Architecture], scores: NDArray[np.float64]) -> None:
        """Learn from all that were measured so far."""

    def predict(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """A score each, higher for better."""


@dataclass(frozen=True)
class Schedule:
    """How long the search goes on, and how greedy it becomes.

    Each of ``iterations`` rounds goes through ``levels`` steps, with ``samples`` architectures measured in each.
    """

    levels: int
    iterations: int
    samples: int
    initial_temperature: float
    final_temperature: float
    decay: float

    def temperature(self, iteration: int, level: int) -> float:
        """T = T_final + (T_initial − T_final) · exp(−((s + 1) / decay)²) at step s = iteration · levels + level, all
        counted from 0. The released MultiBench code multiplies by the number of iterations in place of the levels."""
        step = iteration * self.levels + level
        share = math.exp(-(((step + 1) / self.decay) ** 2))
        return self.final_temperature + (self.initial_temperature - self.final_temperature) * share


def search(
    choices: Sequence[int],
    measure: Callable[[Architecture], float],
    surrogate: Surrogate,
    schedule: Schedule,
    random: np.random.Generator,
) -> dict[Architecture, float]:
    """Every architecture that was measured → its score (higher is better), by progressive search with a surrogate.

    ``choices`` are the numbers of stages of each modality, and of activations. The first step measures the
    architectures of one level, all of them if there are no more than four times ``samples``. Each later step takes the
    ones chosen before with every possible further level (in a new round: those of one level again), lets the surrogate
    predict their scores and draws ``samples`` of them without replacement, with chances ∝ exp(z / T), z the
    standardised prediction and T the step's temperature. What was measured once is not measured again.

    Source: Pérez-Rúa et al. (2019), algorithm 1; there the chances are ∝ accuracy^(1/T), which has no meaning for a
    metric that can be negative or is better when lower.
    """
    measured: dict[Architecture, float] = {}
    parents: list[Architecture] = []
    for iteration in range(schedule.iterations):
        for level in range(schedule.levels):
            candidates = _grown(parents if level else [()], choices, random)
            count = schedule.samples
            if measured:
                predicted = surrogate.predict(candidates)
                chances = _chances(predicted, schedule.temperature(iteration, level))
            else:
                count = len(candidates) if len(candidates) <= 4 * count else count
                chances = np.full(len(candidates), 1 / len(candidates))
            count = min(count, int(np.count_nonzero(chances)))
            chosen = random.choice(len(candidates), size=count, replace=False, p=chances)
            parents = [candidates[index] for index in chosen]
            for architecture in parents:
                if architecture not in measured:
                    measured[architecture] = measure(architecture)
            surrogate.fit(list(measured), np.array(list(measured.values())))
    return measured


def _grown(parents: Sequence[Architecture], choices: Sequence[int], random: np.random.Generator) -> list[Architecture]:
    """Each parent with each possible further level, or a random sample of them where they are too many."""
    each = math.prod(choices)
    total = each * len(parents)
    if total <= POOL:
        return [(*parent, level) for parent in parents for level in product(*map(range, choices))]
    drawn = {
        (*parents[int(random.integers(len(parents)))], tuple(int(random.integers(count)) for count in choices))
        for _ in range(POOL)
    }
    return sorted(drawn)


def _chances(predicted: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    spread = predicted.std()
    scaled = (predicted - predicted.max()) / (spread if spread > 0 else 1.0) / temperature
    weights = np.exp(scaled)
    result: NDArray[np.float64] = weights / weights.sum()
    return result


class Recurrent(nn.Module):
    """A surrogate: an LSTM over an architecture's levels and a linear layer, fitted to the standardised scores.

    A level's choices, one-hot, are mapped to ``width`` numbers. Each :meth:`fit` goes on from the weights before. It is
    on the CPU and in float32, wherever and in whatever precision the candidates are trained.

    Source: Pérez-Rúa et al. (2019), 3.3: an LSTM of 100 units, Adam with 0.001, 50 epochs.
    """

    def __init__(self, choices: Sequence[int], seed: int, width: int = 100, epochs: int = 50) -> None:
        super().__init__()
        self.choices, self.epochs = tuple(choices), epochs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Linear(sum(choices), width)
            self.lstm = nn.LSTM(width, width, batch_first=True)
            self.give = nn.Linear(width, 1)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)

    def fit(self, architectures: Sequence[Architecture], scores: NDArray[np.float64]) -> None:
        """Full-batch steps on the squared error."""
        finite = np.isfinite(scores)
        if not finite.any():
            return
        kept = [architecture for architecture, good in zip(architectures, finite, strict=True) if good]
        values = scores[finite]
        spread = values.std()
        target = torch.tensor((values - values.mean()) / (spread if spread > 0 else 1.0), dtype=torch.float32)
        encoded, last = self._encoded(kept)
        with in_full_precision(target.device):
            for _ in range(self.epochs):
                self.optimizer.zero_grad()
                loss = functional.mse_loss(self(encoded, last), target)
                loss.backward()
                self.optimizer.step()

    @torch.no_grad()
    def predict(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Standardised scores."""
        with in_full_precision(self.embed.weight.device):
            result: NDArray[np.float64] = self(*self._encoded(architectures)).double().numpy()
        return result

    def forward(self, encoded: Tensor, last: Tensor) -> Tensor:
        """One-hot levels (N, L, choices) and each architecture's last level (N,) → (N,)."""
        states, _ = self.lstm(torch.relu(self.embed(encoded)))
        final = states[torch.arange(len(last)), last]
        result: Tensor = self.give(final).squeeze(1)
        return result

    def _encoded(self, architectures: Sequence[Architecture]) -> tuple[Tensor, Tensor]:
        longest = max(len(architecture) for architecture in architectures)
        encoded = torch.zeros(len(architectures), longest, sum(self.choices))
        starts = np.cumsum([0, *self.choices[:-1]])
        for index, architecture in enumerate(architectures):
            for level, row in enumerate(architecture):
                encoded[index, level, torch.from_numpy(starts + np.array(row))] = 1.0
        return encoded, torch.tensor([len(architecture) - 1 for architecture in architectures])


# --- the model --------------------------------------------------------------------------------------------------------


def stage_dims(encoder: nn.Module, name: str) -> list[int]:
    """Widths of what an encoder shows on its way; of one that shows nothing, its output's."""
    if not hasattr(encoder, "stages"):
        return [out_dim(encoder, f"the encoder of {name!r}")]
    sizes = getattr(encoder, "stage_dims", None)
    if not sizes:
        raise PluginError(f"the encoder of {name!r} has stages(), so it needs stage_dims, the width of each")
    return list(sizes)


class Searched(MultimodalModel):
    """A multimodal model whose fusion reads the encoders' stages: every hidden layer and the output.

    The fusion is ``searchable``. It starts with the architecture that is given to it; the procedure ``mfas`` finds one.

    Source: Pérez-Rúa et al. (2019), MFAS, 3.1. Raises UsageError for another fusion.
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], fusion: nn.Module, head: Head, task: Task, takes: str = "vectors"
    ) -> None:
        if not isinstance(fusion, Searchable):
            raise UsageError(
                f"this model searches the fusion 'searchable'; it got {type(fusion).__name__}: leave fusion as it is"
            )
        wide = fusion.over([stage_dims(encoder, name) for name, encoder in encoders.items()])
        super().__init__(encoders, wide, head, task, takes)
        self.fusion: Searchable = wide

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> Output:
        """``representations`` are the encoders' outputs."""
        found = self.stages(inputs, lengths)
        fused = self.fusion(list(found.values()))
        return Output(self.head(fused), fused, {name: stages[-1] for name, stages in found.items()})

    def stages(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> dict[str, list[Tensor]]:
        """Modality → (B, stage_dims[i]) each."""
        found = {}
        encoder: Any
        for name, encoder in zip(self.names, self.encoders.values(), strict=True):
            if hasattr(encoder, "stages"):
                found[name] = encoder.stages(inputs[name], lengths[name])
            else:
                found[name] = [encoder(inputs[name], lengths[name])]
        return found


class _Candidate(nn.Module):
    """A fusion and a head over cached stages, as a model that can be trained."""

    def __init__(self, names: Sequence[str], fusion: Searchable, head: nn.Module, task: Task) -> None:
        super().__init__()
        self.names, self.task = tuple(names), task
        self.fusion, self.head = fusion, head

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> Output:
        counts = [len(sizes) for sizes in self.fusion.stage_dims]
        found = {
            name: [inputs[_column(name, stage)] for stage in range(count)]
            for name, count in zip(self.names, counts, strict=True)
        }
        fused = self.fusion(list(found.values()))
        return Output(self.head(fused), fused, {name: stages[-1] for name, stages in found.items()})


def _column(name: str, stage: int) -> str:
    return f"{name}:{stage}"


@torch.no_grad()
def cached(model: Searched, split: Split, batch_size: int) -> Split:
    """The split with every stage of every encoder, in evaluation mode, in place of the inputs."""
    model.eval()
    device = next(model.parameters()).device
    parts: dict[str, list[Tensor]] = {}
    for batch in split.batches(batch_size):
        batch = batch.to(device)
        for name, stages in model.stages(batch.inputs, batch.lengths).items():
            for stage, value in enumerate(stages):
                parts.setdefault(_column(name, stage), []).append(value.float().cpu())
    return Split({name: Column.of(torch.cat(values)) for name, values in parts.items()}, split.target, ())


# --- the procedure ----------------------------------------------------------------------------------------------------


class MFAS:
    """Search for the architecture of a ``searchable`` fusion, then train what was found.

    1. Each encoder is trained alone, with a head of its own, for the dataset's whole budget.
    2. The encoders are frozen, as they are in evaluation mode, and their stages computed once. Candidates, a fusion and
       a head, are trained on those for ``candidate_epochs`` and measured on validation; :func:`search` says which. A
       candidate's level begins with the weights that the last candidate with the same stages at that place had.
    3. The best candidate and the encoders are trained together for the dataset's whole budget; with ``frozen=True`` the
       fusion and the head alone.

    Temperatures are of standardised predictions, so they are other numbers than the released code's: with these a
    surrogate that is never wrong finds the best of 216,000 architectures in every one of twenty trials. Optimiser and
    rate are the dataset's, as of every method here; the paper trains candidates by Adam with a cosine schedule. The
    released code freezes encoders in the optimiser alone, so that batch normalisation still drifts in them.

    Source: Pérez-Rúa et al. (2019), MFAS, 3.2–3.4; *Foundations of Multisensory AI*, 7.4.2. Raises UsageError.
    """

    def __init__(
        self,
        levels: int = 3,
        iterations: int = 3,
        samples: int = 15,
        candidate_epochs: int = 2,
        initial_temperature: float = 10.0,
        final_temperature: float = 0.05,
        decay: float = 2.0,
        share_weights: bool = True,
        frozen: bool = False,
    ) -> None:
        if min(levels, iterations, samples, candidate_epochs) < 1:
            raise UsageError(
                f"procedure 'mfas': levels={levels}, iterations={iterations}, samples={samples} and candidate_epochs="
                f"{candidate_epochs} must be 1 or more"
            )
        if min(initial_temperature, final_temperature, decay) <= 0:
            raise UsageError("procedure 'mfas': initial_temperature, final_temperature and decay must be above 0")
        self.schedule = Schedule(levels, iterations, samples, initial_temperature, final_temperature, decay)
        self.candidate_epochs, self.share_weights, self.frozen = candidate_epochs, share_weights, frozen

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        """Why it cannot serve these modalities, or None."""
        return None if len(modalities) > 1 else "there is nothing to fuse with one modality"

    def fit(self, model: nn.Module, data: TrainingData, settings: Settings) -> nn.Module:
        """The model with the best architecture found, and the weights of its best validation epoch."""
        if not isinstance(model, Searched):
            raise UsageError(
                f"procedure 'mfas' searches a model over encoders' stages; {type(model).__name__} is none: use a "
                "method with the model braidbench_multizoo.search:Searched"
            )
        model.to(settings.accelerator.device)
        self._train_encoders(model, data, settings)
        size = 4 * settings.training.batch_size
        stages = replace(data, train=cached(model, data.train, size), valid=cached(model, data.valid, size))
        candidates = _Candidates(model, stages, settings, self.candidate_epochs, self.share_weights)
        choices = (*(len(sizes) for sizes in model.fusion.stage_dims), len(ACTIVATIONS))
        seed = settings.seeds["order"]
        search(choices, candidates.measure, Recurrent(choices, seed), self.schedule, np.random.default_rng(seed))
        model.fusion.adopt(candidates.best.fusion.architecture)
        model.fusion.load_state_dict(candidates.best.fusion.state_dict())
        model.head.load_state_dict(candidates.best.head.state_dict())
        # The model is left as it came: whose parameters were frozen is the procedure's business alone.
        held = [p for p in model.encoders.parameters() if self.frozen and p.requires_grad]
        for parameter in held:
            parameter.requires_grad_(False)
        train(_Frozen(model) if self.frozen else model, data, settings.phase("final"))
        for parameter in held:
            parameter.requires_grad_(True)
        return model

    @staticmethod
    def _train_encoders(model: Searched, data: TrainingData, settings: Settings) -> None:
        assert isinstance(model.head, Head)
        for name, encoder in zip(model.names, model.encoders.values(), strict=True):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seeds["init"] % (1 << 63))
                head = model.head.resized(out_dim(encoder, f"the encoder of {name!r}"))
            train(Single(name, encoder, head, model.task), data.only((name,)), settings.phase(f"encoder-{name}"))


class _Frozen(nn.Module):
    """A model whose encoders stay in evaluation mode while the rest is trained."""

    def __init__(self, model: Searched) -> None:
        super().__init__()
        self.model, self.task = model, model.task

    def train(self, mode: bool = True) -> _Frozen:
        super().train(mode)
        self.model.encoders.eval()
        return self

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> Output:
        output: Output = self.model(inputs, lengths)
        return output


class _Candidates:
    """Trains candidates on cached stages, keeps the best of them and the weights that they share."""

    def __init__(
        self, model: Searched, stages: TrainingData, settings: Settings, epochs: int, share_weights: bool
    ) -> None:
        self.model, self.stages, self.settings, self.share_weights = model, stages, settings, share_weights
        self.training = replace(settings.training, epochs=epochs, patience=None)
        self.shared: dict[tuple[int, Level], dict[str, Tensor]] = {}
        self.best: _Candidate
        self.best_rank = WORST
        self.count = 0

    def measure(self, architecture: Architecture) -> float:
        """The validation score after training, negated where a lower one is better, or the negated validation loss
        where no score is defined."""
        # The same start for an architecture whenever it comes: what differs is what was shared before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seeds["init"] % (1 << 63))
            fusion = self.model.fusion.over(self.model.fusion.stage_dims)
            fusion.adopt(architecture)
        candidate = _Candidate(self.model.names, fusion, copy.deepcopy(self.model.head), self.model.task)
        if self.share_weights:
            for key, level in _keyed(fusion):
                if key in self.shared:
                    level.load_state_dict(self.shared[key])
        own = self.settings.phase(f"candidate-{self.count}", training=self.training)
        self.count += 1
        history = train(candidate, self.stages, own)
        for key, level in _keyed(fusion):
            self.shared[key] = {name: value.detach().clone() for name, value in level.state_dict().items()}
        rank = history.rank(self.settings.sign)
        if rank > self.best_rank or self.count == 1:
            self.best, self.best_rank = candidate, rank
        return rank[1]


def _keyed(fusion: Searchable) -> Iterator[tuple[tuple[int, Level], nn.Module]]:
    """Each level with what its weights' shape and meaning follow from: its place and the stages, whatever σ is."""
    for place, (row, level) in enumerate(zip(fusion.architecture, fusion.levels, strict=True)):
        yield (place, row[:-1]), level
