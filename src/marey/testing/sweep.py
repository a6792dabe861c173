"""Rules put into image networks one by one, and what is to be true of every result.

Of a network by a rule: it gives finite logits of the right shape; it sees the order of frames,
unless the rule is `none`; every parameter that the rule put into the body gets a gradient; and a
still clip's logits are compared with the image network's of that frame.

Networks are made uninformative by the way they start: timm zeroes the last norm of residual
branches, and layer scales at 1e-6 hide everything behind them. So weights are drawn first
(`randomise`), and zero starts of a rule's own are nudged before gradients are looked at.
"""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from marey.errors import ModelError
from marey.models._rule import sequence
from marey.models.timed import Timed, timed
from marey.nn.inflated import SpaceTimeConv

RULES = (
    "none",
    "full",
    "full:init=mean",
    "mixed",
    "split",
    "split:init=paper",
    "split:width=paper",
    "shift",
    "tam",
    "tam:init=difference",
    "gate",
    "pool",
    "clip",
    "segments:parts=2",
    "rnn",
    "conv1d",
)
STILL = (
    "none",
    "full",
    "full:init=mean",
    "mixed",
    "split",
    "tam",
    "tam:init=difference",
    "gate",
    "pool",
    "clip",
    "segments:parts=2",
)
"""The rules that promise a still clip's answer to be the image network's."""

BLIND = ("none", "clip")
"""The rules by which no order of frames is seen."""
FAINT = (*BLIND, "gate")
"""The rules by which order makes little or no difference at first: in double precision."""

CLASSES, FRAMES, SIZE = 5, 4, 64
EXACT = 1e-5  # in double precision: what float32 rounds away, deep networks magnify to 1e-4


@dataclass(frozen=True, slots=True)
class Row:
    """A network by a rule: `verdict` is "ok", "refused" or "FAILED", `reason` why.

    `still` is the largest difference between a still clip's logits and the image network's, over
    the largest of these; None where the rule's head starts from nothing.
    """

    name: str
    rule: str
    verdict: str
    reason: str = ""
    where: str = ""
    still: float | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """An image network to be tried: how to make it, and the size of its pictures."""

    name: str
    make: Callable[[], nn.Module]
    size: int = SIZE


def sweep(subjects: Iterable[Subject], rules: Iterable[str] = RULES) -> Iterator[Row]:
    """Try every rule on every network."""
    rules = tuple(rules)
    for subject in subjects:
        torch.manual_seed(0)
        image = subject.make()
        randomise(image, subject.size)
        image.double()
        answer = Answer.of(image, subject.size)
        for rule in rules:
            yield attempt(subject.name, image, rule, subject.size, answer)
        del image
        gc.collect()


def attempt(
    name: str, image: nn.Module, rule: str, size: int = SIZE, answer: Answer | None = None
) -> Row:
    """One rule on one network, in double precision and with its weights drawn already."""
    torch.manual_seed(1)
    try:
        net = _timed(image, rule)
    except ModelError as error:
        return Row(name, rule, "refused", error.what, error.where or "")
    except Exception as error:
        return Row(name, rule, "FAILED", f"timed: {type(error).__name__}: {error}")
    still, wrong = None, ""
    try:
        if rule in STILL:
            still = _still(image, net, answer or Answer.of(image, size))
        wrong = _wrong(net if rule in FAINT else net.float(), rule, size)
    except Exception as error:
        return Row(name, rule, "FAILED", f"{type(error).__name__}: {error}")
    if not wrong and still is not None and still > EXACT:
        wrong = f"a still clip differs by {still:.1e}"
    return Row(name, rule, "FAILED" if wrong else "ok", wrong, "", still)


@dataclass(frozen=True, slots=True)
class Answer:
    """A picture, and what an image network says of it."""

    picture: Tensor
    logits: Tensor

    @classmethod
    def of(cls, image: nn.Module, size: int) -> Answer:
        """Raises ValueError where every picture gets the same answer: nothing could be compared."""
        one, other = torch.randn(2, 1, 3, size, size, dtype=torch.float64)
        with torch.inference_mode():
            logits, contrast = image(one), image(other)
        if float((logits - contrast).abs().max() / logits.abs().max()) < 1e-3:
            raise ValueError("the image network answers every picture alike")
        return cls(one, logits)


def randomise(net: nn.Module, size: int = SIZE, seed: int = 0) -> None:
    """Draw what networks start with evenly: norms, biases, layer scales and whatever is constant.

    Scales are drawn from 0.5 to 1.5, biases within 0.1 of zero; norms then take the statistics of
    a few random pictures, so that no layer explodes or falls silent. In place.
    """
    draw = torch.Generator().manual_seed(seed)
    for name, value in net.named_parameters():
        if value.ndim < 2 or bool((value == value.flatten()[0]).all()):
            uniform = torch.rand(value.shape, generator=draw)
            bias = any(word in name.rpartition(".")[2] for word in ("bias", "beta"))
            value.data = 0.2 * (uniform - 0.5) if bias else 0.5 + uniform
    _settle(net, torch.randn(4, 3, size, size, generator=draw))


def _settle(net: nn.Module, batch: Tensor) -> None:
    """Norms take the statistics of the batch, in place: no rectifier behind one is shut for all."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()


def _timed(image: nn.Module, rule: str) -> Timed:
    """With the image network's last layer where that can be, for heads over time with a new one."""
    fresh = any(one.kind in ("rnn", "conv1d") for one in sequence(rule))
    try:
        return timed(image, rule, frames=FRAMES, classes=CLASSES if fresh else None)
    except ModelError as error:
        if fresh or "no single linear layer" not in error.what:
            raise
        return timed(image, rule, frames=FRAMES, classes=CLASSES)


def _still(image: nn.Module, net: Timed, answer: Answer) -> float:
    """The relative error of a still clip."""
    clip = answer.picture[:, :, None].expand(-1, -1, FRAMES, -1, -1)
    with torch.inference_mode():
        found, wanted = net(clip), answer.logits
        if found.shape != wanted.shape:  # a last layer of its own: compare what it is given
            twin = copy.deepcopy(image)
            twin.reset_classifier(0)  # type: ignore[operator]
            features = twin(answer.picture)
            parts = net.head.linear.in_features // features.shape[1]
            wanted = net.head.linear(features.repeat(1, parts))
    error = float((found - wanted).abs().max() / wanted.abs().max())
    return math.inf if math.isnan(error) else error


def _wrong(net: Timed, rule: str, size: int) -> str:
    """What is not as it must be with a clip and the same clip backwards; or ""."""
    kernels = _over_time(net)
    real = net.head.linear.weight.dtype
    with torch.no_grad():
        for parameter in (*kernels.values(), net.head.linear.weight):
            inputs = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.add_(torch.randn(parameter.shape, dtype=real), alpha=0.3 / inputs**0.5)
    # Frames of different brightness: noise alone has nearly the same mean in each.
    clip = torch.randn(1, 3, FRAMES, size, size, dtype=real)
    clip += torch.randn(1, 3, FRAMES, 1, 1, dtype=real)
    both = torch.cat([clip, clip.flip(2)])
    _settle(net, both)
    # In training each frame is dropped out by itself, so that order is looked at in evaluation.
    logits: Tensor = net(both)
    if logits.shape != (2, net.classes):
        return f"logits are {tuple(logits.shape)}"
    if not torch.isfinite(logits).all():
        return "logits are not finite"
    seen = logits.detach()
    spread = float((seen[0] - seen[1]).abs().max() / seen.abs().max())
    if rule in BLIND and spread > EXACT:
        return f"sees the order of frames ({spread:.1e})"
    if rule not in BLIND and spread < (1e-9 if rule in FAINT else 1e-5):
        return "does not see the order of frames"
    (logits * torch.randn(logits.shape)).sum().backward()  # type: ignore[no-untyped-call]
    return _without_gradient(kernels)


def _over_time(net: Timed) -> dict[str, nn.Parameter]:
    """What the rule put into the body, and the image kernels that it inflated."""
    report = net.report.time
    assert report is not None
    inflated = {id(module.weight) for module in net.modules() if isinstance(module, SpaceTimeConv)}
    return {
        name: parameter
        for name, parameter in net.body.named_parameters(prefix="body")
        if name in report.new or id(parameter) in inflated
    }


def _without_gradient(parameters: dict[str, nn.Parameter]) -> str:
    for name, parameter in parameters.items():
        if parameter.grad is None or not bool(parameter.grad.any()):
            return f"{name} gets no gradient"
        if not torch.isfinite(parameter.grad).all():
            return f"{name} has a gradient that is not finite"
    return ""
