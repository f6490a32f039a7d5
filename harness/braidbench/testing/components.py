"""Checks of encoders and fusions: modules that turn inputs, or representations, into a representation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from braidbench.data import Batch
from braidbench.errors import BraidbenchError, MissingPackageError, UsageError
from braidbench.model import Head, MultimodalModel, out_dim
from braidbench.registry import Registry, check_parameters, load_target
from braidbench.specs import MODALITY_KINDS, Encoder, Fusion, Modality, Part, Task
from braidbench.testing import synthetic
from braidbench.testing.kit import Failed, Skipped, Subject, check, require, require_covered
from braidbench.testing.replay import in_new_process
from braidbench.testing.synthetic import STEPS, blank, examples, lengths_of, seeded, values

KINDS = ("encoders", "fusions")
BATCHES = (1, 7)
DIMENSIONS = (5, 7, 3)
"""Unequal widths of one to three representations."""
TOLERANCE = 1e-4
"""Of the largest number: what sums in another order may differ by in single precision."""
OVERFIT_STEPS = 400

Pair = tuple[Tensor, Tensor | None]


@dataclass
class Case:
    """One way to build and call a component.

    ``claims`` are the declarations that it tries; ``modalities`` are what it reads, ``room`` how many more steps of
    padding its sequences may get. ``tokens`` is the vocabulary's size of an encoder that looks its inputs up.
    """

    label: str
    claims: tuple[str, ...]
    modalities: tuple[Modality, ...]
    build: Callable[[], nn.Module]
    fusion: bool
    takes: str
    gives_sequence: bool = False
    room: int = 3
    tokens: int | None = None

    def make(self, seed: int = 0) -> nn.Module:
        """The module, its weights drawn from ``seed``."""
        with seeded(seed):
            return self.build()

    def draw(self, batch: int, seed: int = 0) -> list[Pair]:
        """Inputs of ``batch`` samples, one pair (values, lengths) a modality, padded with zeros."""
        generator = torch.Generator().manual_seed(1000 + seed)
        pairs: list[Pair] = []
        for modality in self.modalities:
            steps = modality.length - self.room if modality.length else None
            x = values(modality, batch, generator, steps)
            if self.tokens is not None:
                x = torch.randint(0, self.tokens, x.shape, generator=generator)
            lengths = lengths_of(batch, steps) if steps else None
            pairs.append((blank(x, lengths), lengths))
        return pairs

    def call(self, module: nn.Module, pairs: list[Pair], copy: bool = True) -> Tensor:
        """The component's output, on a copy of the inputs."""
        if copy:
            pairs = [(x.clone(), None if n is None else n.clone()) for x, n in pairs]
        if not self.fusion:
            result: Tensor = module(*pairs[0])
        elif self.takes == "sequences":
            result = module([x for x, _ in pairs], [n for _, n in pairs])
        else:
            result = module([x for x, _ in pairs])
        return result

    def real(self, output: Tensor, pairs: list[Pair]) -> Tensor:
        """The output with zeros where it is a sequence's padding, whose content is nobody's business."""
        return blank(output, pairs[0][1]) if self.gives_sequence else output


# --- the cases that a declaration means -------------------------------------------------------------------------------


def cases(subject: Subject) -> list[Case]:
    """Every case, built once to see that it can be; those that the component refuses are left out, with the reason."""
    if "cases" not in subject.memo:
        subject.memo["cases"] = _constructed(subject)
    found: list[Case] = subject.memo["cases"]
    return found


def _constructed(subject: Subject) -> list[Case]:
    wanted = _encoder_cases(subject) if subject.kind == "encoders" else _fusion_cases(subject)
    accepted = []
    for case in wanted:
        try:
            module = case.make()
        except MissingPackageError:
            raise
        except BraidbenchError as reason:
            # A clear refusal is good manners; whether too much is refused is asked at the end.
            for claim in case.claims:
                subject.untried.setdefault(claim, str(reason))
            continue
        except Exception as error:
            raise Failed(
                f"it cannot be built for {case.label}: {type(error).__name__}: {error}; "
                "give every parameter a default that works, or raise UsageError with what it needs instead"
            ) from error
        case.tokens = None if case.fusion else _vocabulary(case, module)
        accepted.append(case)
    return accepted


def _encoder_cases(subject: Subject) -> Iterator[Case]:
    spec: Encoder = subject.spec
    target = load_target(spec)
    parameters = check_parameters(
        target, {}, what=f"encoder {spec.name!r}", reserved=("modality", "form"), supplied=("out_dim",)
    )
    if _accepts(target, "out_dim"):
        parameters["out_dim"] = 8
    if "sequence" in spec.gives and "vector" in spec.gives and not _accepts(target, "form"):
        raise Failed("it declares gives=('vector', 'sequence') and takes no form=: add the parameter, or declare one")
    for kind in spec.kinds or MODALITY_KINDS:
        for is_sequence, modality in examples(kind).items():
            if spec.sequences == ("never" if is_sequence else "only"):
                continue
            for form in spec.gives:
                if form == "sequence" and not is_sequence:
                    continue
                own = dict(parameters)
                if form == "sequence" and "vector" in spec.gives:
                    own["form"] = "sequence"
                yield Case(
                    label=f"{'a sequence' if is_sequence else 'a sample'} of {kind} {modality.shape}, giving a {form}",
                    claims=(
                        f"reads {kind}",
                        f"gives a {form}",
                        "reads sequences" if is_sequence else "reads no sequence",
                    ),
                    modalities=(modality,),
                    build=lambda modality=modality, own=own: target(modality, **own),  # type: ignore[misc]
                    fusion=False,
                    takes="",
                    gives_sequence=form == "sequence",
                )


def _fusion_cases(subject: Subject) -> Iterator[Case]:
    spec = subject.spec
    target = load_target(spec)
    parameters = check_parameters(target, {}, what=f"fusion {spec.name!r}", reserved=("in_dims",))
    for count in _counts(spec):
        dims = [DIMENSIONS[index % len(DIMENSIONS)] for index in range(count)]
        modalities = _fusion_modalities(subject, target, dims)
        if modalities is None:
            continue
        yield Case(
            label=f"{count} modalities of {' and '.join(map(str, dims))} numbers",
            claims=(f"fuses {count} modalities",),
            modalities=modalities,
            build=lambda dims=dims: target(list(dims), **parameters),  # type: ignore[misc]
            fusion=True,
            takes=spec.takes,
        )


def _fusion_modalities(subject: Subject, target: Any, dims: list[int]) -> tuple[Modality, ...] | None:
    """Modalities of these widths, the hardest that the fusion does not skip: sequences of unequal lengths and a vector,
    which the core hands over as one step without lengths; then sequences of unequal, then of equal lengths, then
    vectors."""
    count = len(dims)
    patterns: list[list[int | None]] = [[None] * count]
    if subject.spec.takes == "sequences":
        unequal = [STEPS - index for index in range(count)]
        mixed: list[int | None] = [*unequal[:-1], None if count > 1 else STEPS]
        patterns = [mixed, [*unequal], [STEPS] * count, [None] * count]
    skip = getattr(target, "skip", None)
    task = synthetic.tasks()[0]
    for lengths in patterns:
        modalities = tuple(
            Modality(f"m{index}", "time_series" if steps else "tabular", (size,), length=steps)
            for index, (size, steps) in enumerate(zip(dims, lengths, strict=True))
        )
        reason = None if skip is None else skip(modalities, task)
        if reason is None:
            return modalities
        subject.untried.setdefault(f"fuses {count} modalities", reason)
    return None


def _counts(spec: Fusion) -> list[int]:
    low, high = spec.modalities
    return [count for count in (1, 2, 3) if count >= low and (high is None or count <= high)] or [low]


def _accepts(target: Any, name: str) -> bool:
    import inspect

    return name in inspect.signature(target).parameters


def _vocabulary(case: Case, module: nn.Module) -> int | None:
    """The size of the smallest table of an encoder that cannot read numbers but looks integers up."""
    tables = [m.num_embeddings for m in module.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    if not tables:
        return None
    try:
        case.call(module.eval(), case.draw(2))
    except (RuntimeError, IndexError, TypeError):
        return min(tables)
    return None


def _own_pairs(case: Case, batch: int, seed: int = 0) -> list[Pair]:
    """As :meth:`Case.draw`, with a vector as a sequence of one step where the fusion takes sequences."""
    pairs = case.draw(batch, seed)
    if case.fusion and case.takes == "sequences":
        return [(x if n is not None else x.unsqueeze(1), n) for x, n in pairs]
    return pairs


def _representative(subject: Subject) -> list[Case]:
    """One case for each form of input and output, for what takes long."""
    found: dict[Any, Case] = {}
    for case in cases(subject):
        found.setdefault((case.modalities[0].is_sequence, case.gives_sequence, len(case.modalities)), case)
    return list(found.values())


# --- checks -----------------------------------------------------------------------------------------------------------


@check(*KINDS)
def constructs_from_its_parameters(subject: Subject) -> None:
    """With its defaults, for everything that it declares to take; ``out_dim`` says how wide its output is."""
    for case in cases(subject):
        out_dim(case.make(), f"built for {case.label}, it")
    if not cases(subject):
        raise Failed(f"it refuses everything that it declares: {'; '.join(dict.fromkeys(subject.untried.values()))}")


@check(*KINDS, needs=("constructs_from_its_parameters",))
def output_has_the_promised_shape(subject: Subject) -> None:
    """(B, out_dim), or (B, T, out_dim) as a sequence, for batches of 1 and 7; finite floats."""
    for case in cases(subject):
        module = case.make().eval()
        width = out_dim(module, "it")
        for batch in BATCHES:
            pairs = _own_pairs(case, batch)
            try:
                output = case.call(module, pairs)
            except Exception as error:
                said = (str(error).splitlines() or ["no message"])[0]
                raise Failed(
                    f"for {case.label} and a batch of {batch} it raises {type(error).__name__}: {said}; declare only "
                    "what it can take, or raise UsageError when it is built for something else"
                ) from error
            wanted = (batch, pairs[0][0].shape[1], width) if case.gives_sequence else (batch, width)
            require(isinstance(output, Tensor), f"it gives a {type(output).__name__}, not a tensor, for {case.label}")
            require(
                output.shape == wanted,
                f"for {case.label} and a batch of {batch} it gives {tuple(output.shape)} where {wanted} is promised: "
                "set out_dim to the width that it gives",
            )
            require(output.is_floating_point(), f"it gives {output.dtype}, not floats, for {case.label}")
            require(bool(output.isfinite().all()), f"its output is not finite for {case.label}, batch of {batch}")
        subject.covered.update(case.claims)


@check(*KINDS, needs=("output_has_the_promised_shape",))
def parameters_are_registered(subject: Subject) -> None:
    """Every parameter is the module's: trained by the optimiser, saved with the weights, counted."""
    for case in cases(subject):
        module = case.make()
        known = {id(p) for p in module.parameters()}
        for place, value in _hidden(module):
            require(
                id(value) in known,
                f"{place} holds a parameter that the module does not know, so it is neither trained nor saved: "
                "use nn.Parameter as an attribute, nn.ParameterList or nn.ModuleList",
            )


@check(*KINDS, needs=("parameters_are_registered",))
def gradient_reaches_every_parameter(subject: Subject) -> None:
    """After a backward pass in training mode each parameter has a gradient somewhere other than zero."""
    for case in cases(subject):
        module = case.make().train()
        reached: set[str] = set()
        wanted = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
        for seed in range(3):
            with seeded(seed):
                _backward(case, module, _own_pairs(case, 7, seed))
            reached |= {name for name, p in module.named_parameters() if p.grad is not None and bool(p.grad.any())}
        missing = sorted(wanted - reached)
        require(
            not missing,
            f"no gradient reaches {', '.join(missing[:3])} for {case.label}: use it in forward, without detach() or "
            ".data, or leave it out",
        )


@check(*KINDS, needs=("output_has_the_promised_shape",))
def inputs_are_not_modified(subject: Subject) -> None:
    """Other encoders, fusions and losses read the same tensors after it."""
    for case in cases(subject):
        module = case.make().train()
        pairs = _own_pairs(case, 7)
        before = [(x.clone(), None if n is None else n.clone()) for x, n in pairs]
        given = [x for x, _ in pairs]
        if case.fusion:
            module(*((given, [n for _, n in pairs]) if case.takes == "sequences" else (given,)))
            require(
                len(given) == len(pairs) and all(a is b for a, (b, _) in zip(given, pairs, strict=True)),
                f"it changes the list of representations for {case.label}: work on a copy of the list",
            )
        else:
            case.call(module, pairs, copy=False)
        for (x, n), (x_before, n_before) in zip(pairs, before, strict=True):
            same = torch.equal(x, x_before) and (n is None or (n_before is not None and torch.equal(n, n_before)))
            require(
                same,
                f"it changes its input in place for {case.label}: replace x += …, x.mul_(…), x[…] = … by x = x + …",
            )


@check(*KINDS, needs=("inputs_are_not_modified",))
def rows_do_not_affect_each_other(subject: Subject) -> None:
    """In evaluation mode a sample's output is the same alone as beside others."""
    for case in cases(subject):
        module = case.make().eval()
        pairs = _own_pairs(case, 7)
        together = case.real(case.call(module, pairs), pairs)
        for row in range(7):
            one = _row(pairs, row)
            alone = case.real(case.call(module, one), one)
            gap = _gap(together[row : row + 1], alone)
            require(
                gap < TOLERANCE,
                f"for {case.label} a sample's output differs by {gap:.2g} of its size when others stand beside it: do "
                "not normalise over the batch in evaluation mode",
            )


@check(*KINDS, needs=("inputs_are_not_modified",))
def padding_changes_nothing(subject: Subject) -> None:
    """Other numbers in the padding, more padding, or none give the same output."""
    tried = False
    for case in cases(subject):
        pairs = _own_pairs(case, 7)
        if all(n is None for _, n in pairs):
            continue
        tried = True
        module = case.make().eval()
        clean = case.real(case.call(module, pairs), pairs)
        for what, other in _repadded(case, pairs):
            gap = _gap(clean, case.real(case.call(module, other), other)[:, : clean.shape[1]])
            require(
                gap < TOLERANCE,
                f"for {case.label} its output differs by {gap:.2g} of its size with {what}: look at steps before "
                "lengths only (mask them, and divide by the length, not by the number of columns)",
            )
        for row in range(7):
            one = _row(pairs, row, trimmed=True)
            alone = case.real(case.call(module, one), one)
            gap = _gap(clean[row : row + 1, : alone.shape[1]] if case.gives_sequence else clean[row : row + 1], alone)
            require(
                gap < TOLERANCE,
                f"for {case.label} a sample's output differs by {gap:.2g} of its size without its padding: look at "
                "steps before lengths only",
            )
    if not tried:
        raise Skipped("it takes no sequences")


@check(*KINDS, needs=("inputs_are_not_modified",))
def a_sequence_of_no_steps_is_finite(subject: Subject) -> None:
    """A sample whose sequence is empty has an output and gradients without NaN."""
    tried = False
    for case in cases(subject):
        pairs = _own_pairs(case, 3)
        if all(n is None for _, n in pairs):
            continue
        tried = True
        module = case.make().train()
        with seeded(0):
            output = _backward(case, module, _first_emptied(pairs))
        finite = bool(output.isfinite().all()) and all(
            bool(p.grad.isfinite().all()) for p in module.parameters() if p.grad is not None
        )
        require(
            finite,
            f"for {case.label} a length of 0 gives NaN: divide by lengths.clamp(min=1), give zeros for such a row",
        )
    if not tried:
        raise Skipped("it takes no sequences")


@check(*KINDS, needs=("output_has_the_promised_shape",))
def same_seed_same_output_in_a_new_process(subject: Subject) -> None:
    """Weights and output follow from the seed alone, not from the process, its hash seed or its global state."""
    chosen = [cases(subject).index(case) for case in _representative(subject)]
    here = digests(subject.kind, subject.spec, chosen)
    there = in_new_process("braidbench.testing.components:digests", subject.kind, subject.spec, chosen)
    for index, old, new in zip(chosen, here, there, strict=True):
        require(
            old == new,
            f"for {cases(subject)[index].label} the same seed gives another output in a new process: draw from torch's "
            "generator only, and do not depend on the order of a set or on hash()",
        )


@check(*KINDS, needs=("parameters_are_registered",))
def weights_survive_a_save_and_a_load(subject: Subject) -> None:
    """The state dictionary, through safetensors into a module of another seed, gives bit-identical output."""
    from safetensors.torch import load, save

    for case in cases(subject):
        trained, fresh = case.make(seed=1), case.make(seed=2)
        pairs = _own_pairs(case, 7)
        with torch.no_grad(), seeded(0):
            # What training leaves in buffers (running means) has to come along.
            case.call(trained.train(), pairs)
        state = {name: value.detach().contiguous() for name, value in trained.state_dict().items()}
        try:
            fresh.load_state_dict(load(save(state)))
        except RuntimeError as error:
            raise Failed(f"its weights cannot be saved and loaded: {str(error).splitlines()[0]}") from error
        require(
            torch.equal(case.call(trained.eval(), pairs), case.call(fresh.eval(), pairs)),
            f"for {case.label} its output differs after its weights are saved and loaded: register what it draws or "
            "learns, tensors with register_buffer and weights with nn.Parameter",
        )


@check(*KINDS, needs=("weights_survive_a_save_and_a_load",))
def follows_the_device_of_its_input(subject: Subject) -> None:
    """Fake tensors on another device show it without a GPU: nothing may be made on a device of its own choice."""
    undecided = ""
    decided = 0
    for case in cases(subject):
        try:
            device = _on_another_device(case)
        except _undecidable() as error:
            undecided = f"its shapes depend on values, which fake tensors do not have ({type(error).__name__})"
            continue
        except RuntimeError as error:
            if "device" not in str(error):
                raise
            raise Failed(
                f"for {case.label} it mixes devices ({str(error).splitlines()[0]}): make tensors with device=x.device, "
                "and keep constants with register_buffer"
            ) from error
        decided += 1
        require(
            device.type == "meta",
            f"for {case.label} its output is on {device} whatever its input's device is: make tensors with "
            "device=x.device or x.new_zeros(…)",
        )
    if not decided:
        raise Skipped(undecided)


@check(*KINDS, needs=("gradient_reaches_every_parameter", "inputs_are_not_modified"))
def overfits_sixteen_samples(subject: Subject) -> None:
    """A model of it and a head learns sixteen samples by heart."""
    for case in _representative(subject):
        best = _overfit(case)
        require(
            best == 1.0,
            f"for {case.label} a head on it gets {best:.0%} of sixteen samples right after {OVERFIT_STEPS} steps: what "
            "it gives does not tell samples apart, or does not train",
        )


@check("encoders", needs=("output_has_the_promised_shape",))
def serves_the_datasets_that_name_it(subject: Subject) -> None:
    """It can be built and called as every installed dataset that names it declares."""
    served = 0
    for name, modality, part in _users(subject.registry, subject.spec.name):
        served += 1
        where = f"as dataset {name!r} declares for {modality.name!r}"
        target = load_target(subject.spec)
        try:
            given = check_parameters(
                target, part.parameters, what="it", reserved=("modality", "form"), supplied=("out_dim",)
            )
            if _accepts(target, "out_dim"):
                given.setdefault("out_dim", 8)
            with seeded(0):
                module = target(modality, **given).eval()
        except UsageError as error:
            raise Failed(f"it cannot be built {where}: {error}") from error
        generator = torch.Generator().manual_seed(0)
        x = values(modality, 2, generator)
        lengths = lengths_of(2, x.shape[1]) if modality.is_sequence else None
        with torch.no_grad():
            output = module(blank(x, lengths), lengths)
        wanted = out_dim(module, "it")
        require(output.shape[-1] == wanted, f"{where}, it gives {tuple(output.shape)} where width {wanted} is promised")
    if not served:
        raise Skipped("no installed dataset names it")


@check("encoders", needs=("output_has_the_promised_shape",))
def its_stages_end_in_its_output(subject: Subject) -> None:
    """An encoder that shows what it computes on its way gives vectors of ``stage_dims``, its output as the last."""
    shown = 0
    for case in cases(subject):
        module: Any = case.make().eval()
        if case.gives_sequence or not hasattr(module, "stages"):
            continue
        shown += 1
        pairs = _own_pairs(case, 7)
        with torch.no_grad():
            stages = module.stages(*pairs[0])
            output = case.call(module, pairs)
        found, wanted = [tuple(stage.shape) for stage in stages], [(7, size) for size in module.stage_dims]
        require(found == wanted, f"for {case.label} stages() gives {found} where stage_dims promises {wanted}")
        gap = _gap(output, stages[-1])
        require(
            gap <= TOLERANCE,
            f"for {case.label} the last of stages() differs from the output by {gap:.1e} of its largest number",
        )
    if not shown:
        raise Skipped("it shows no stages")


@check(*KINDS, needs=("output_has_the_promised_shape",))
def what_it_declares_was_tried(subject: Subject) -> None:
    """Each kind, form and number of modalities (up to three) that the spec promises was run by at least one check."""
    spec = subject.spec
    if isinstance(spec, Encoder):
        claims = [f"reads {kind}" for kind in spec.kinds or MODALITY_KINDS] + [f"gives a {form}" for form in spec.gives]
        claims += ["reads sequences"] * (spec.sequences != "never") + ["reads no sequence"] * (spec.sequences != "only")
    else:
        claims = [f"fuses {count} modalities" for count in _counts(spec)]
    require_covered(subject, claims)


# --- how --------------------------------------------------------------------------------------------------------------


def digests(kind: str, spec: Any, chosen: list[int]) -> list[str]:
    """sha256 of the output in evaluation and in training mode, for some of the cases, on one thread."""
    subject = Subject(kind, spec, Registry([]))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = []
    try:
        for index in chosen:
            case = cases(subject)[index]
            module = case.make()
            pairs = _own_pairs(case, 7)
            digest = hashlib.sha256()
            with torch.no_grad(), seeded(3):
                for mode in (False, True):
                    digest.update(case.call(module.train(mode), pairs).numpy().tobytes())
            found.append(digest.hexdigest())
    finally:
        torch.set_num_threads(threads)
    return found


def _hidden(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(place, tensor) of each trained tensor in a plain attribute, list, tuple, set or dictionary of the module."""
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if attribute not in _OF_TORCH:
                place = f"{name}.{attribute}" if name else attribute
                yield from ((place, tensor) for tensor in _trained(value, 4))


_OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that every module has, its registered parameters and modules among them."""


def _trained(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.requires_grad:
            yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from _trained(item, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _trained(item, depth - 1)


def _backward(case: Case, module: nn.Module, pairs: list[Pair]) -> Tensor:
    output = case.real(case.call(module, pairs), pairs)
    if output.requires_grad:
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(5))
        (output * weights).sum().backward()
    return output.detach()


def _row(pairs: list[Pair], row: int, trimmed: bool = False) -> list[Pair]:
    """One sample of a batch, with its padding or without."""
    chosen: list[Pair] = []
    for x, n in pairs:
        one, length = x[row : row + 1], None if n is None else n[row : row + 1]
        chosen.append((one if length is None or not trimmed else one[:, : int(length)], length))
    return chosen


def _first_emptied(pairs: list[Pair]) -> list[Pair]:
    """The same batch, with every sequence of its first sample without steps."""
    changed: list[Pair] = []
    for x, n in pairs:
        lengths = None if n is None else n * (torch.arange(len(n)) > 0)
        changed.append((blank(x, lengths), lengths))
    return changed


def _gap(expected: Tensor, found: Tensor) -> float:
    """Largest difference as a share of the largest number; infinite where one is not finite or shapes differ."""
    if expected.shape != found.shape or not bool(found.isfinite().all()):
        return float("inf")
    expected, found = expected.detach(), found.detach()
    size = max(float(expected.abs().max()), 1.0)
    return float((expected - found).abs().max()) / size


def _repadded(case: Case, pairs: list[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """The same samples with other padding, and what is other about it."""

    def junk(x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(9)
        if case.tokens is not None:
            return torch.randint(0, case.tokens, x.shape, generator=generator)
        return 100 * torch.randn(x.shape, generator=generator)

    def filled(x: Tensor, n: Tensor) -> Tensor:
        return x + junk(x) - blank(junk(x), n)

    def longer(x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros(x.shape[0], case.room, *x.shape[2:])], dim=1)

    yield "other numbers in the padding", [(x, n) if n is None else (filled(x, n), n) for x, n in pairs]
    yield "more padding", [(x, n) if n is None else (longer(x), n) for x, n in pairs]


def _on_another_device(case: Case) -> torch.device:
    """The device of the output when weights and inputs are on a device that has no memory."""
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    module = case.make().eval()
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    device = torch.device("meta")

    def fake(value: Tensor) -> Tensor:
        with torch.no_grad():
            moved: Tensor = FakeTensor(mode, torch.empty_like(value, device=device), device)
        return moved

    state = {name: fake(value) for name, value in [*module.named_parameters(), *module.named_buffers()]}
    pairs = [(fake(x), None if n is None else fake(n)) for x, n in _own_pairs(case, 7)]
    with mode, torch.no_grad():
        output = torch.func.functional_call(module, state, _arguments(case, pairs))
    result: torch.device = output.device
    return result


def _arguments(case: Case, pairs: list[Pair]) -> tuple[Any, ...]:
    if not case.fusion:
        return pairs[0]
    both = [x for x, _ in pairs], [n for _, n in pairs]
    return both if case.takes == "sequences" else both[:1]


def _undecidable() -> tuple[type[Exception], ...]:
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    return DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode


def _overfit(case: Case) -> float:
    """Best share of sixteen random samples right, over two learning rates."""
    pairs = _own_pairs(case, synthetic.SAMPLES)
    target = torch.arange(synthetic.SAMPLES) % 2
    task = Task("classes", "classification", ("accuracy",), classes=("one", "two"))
    inputs = {m.name: x for m, (x, _) in zip(case.modalities, pairs, strict=True)}
    lengths = {m.name: n for m, (_, n) in zip(case.modalities, pairs, strict=True)}
    batch = Batch(inputs, lengths, target, torch.arange(synthetic.SAMPLES))
    best = 0.0
    for lr in (0.01, 0.001):
        with seeded(0):
            model = _model(case, task)
            optimizer = torch.optim.Adam(model.parameters(), lr=lr)
            for step in range(OVERFIT_STEPS):
                if step % 10 == 0:
                    with torch.no_grad():
                        right = model.eval()(batch.inputs, batch.lengths).prediction.argmax(1) == target
                    best = max(best, float(right.float().mean()))
                    if best == 1.0:
                        return best
                loss = synthetic.loss(task, model.train()(batch.inputs, batch.lengths).prediction, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return best


def _model(case: Case, task: Task) -> MultimodalModel:
    """The component in a model whose other parts are the plainest; beside a fusion, encoders pass their input on."""
    if case.fusion:
        form = "sequence" if case.takes == "sequences" else "vector"
        encoders: dict[str, nn.Module] = {m.name: synthetic.Plain(m, 0, form) for m in case.modalities}
        fusion, takes = case.build(), case.takes
    else:
        encoders = {case.modalities[0].name: case.build()}
        width = out_dim(next(iter(encoders.values())), "it")
        fusion, takes = synthetic.Beside([width]), "sequences" if case.gives_sequence else "vectors"
    return MultimodalModel(encoders, fusion, Head(out_dim(fusion, "it"), task.width), task, takes)


def _users(registry: Registry, name: str) -> Iterator[tuple[str, Modality, Part]]:
    """(dataset, modality, part) wherever an installed dataset names this encoder."""
    for registered in registry.all("datasets"):
        for modality in registered.spec.modalities:
            if modality.name not in registered.spec.encoders:
                continue
            part = Part.of(registered.spec.encoders[modality.name])
            if part.name == name:
                yield registered.spec.name, modality.prepared, part
