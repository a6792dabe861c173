"""What every classifier is, and what can be done with any of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from marey.errors import ModelError, WeightsError
from marey.nn.heads import Head, Mean
from marey.nn.mix import TimeConv
from marey.types import Input

if TYPE_CHECKING:
    from marey.models._weights import LoadReport
    from marey.models.timed import TimeReport


@dataclass(slots=True)
class NetReport:
    """What has been done to a network: `load` by loading weights, `time` by a rule."""

    load: LoadReport | None = None
    time: TimeReport | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person who asked only for results must still be told."""
        return self.load.warnings if self.load else ()

    def __str__(self) -> str:
        return "\n".join(str(part) for part in (self.load, self.time) if part is not None)


class Net(nn.Module):
    """A clip in, logits out. Abstract: a family subclasses it once, and that class is final.

    A subclass builds `body` and `head`; the registry fills in the rest. Any T, H and W will do from
    `least` on. Where `input` has means of two channels, a clip is optical flow, N 2 T H W.
    """

    body: nn.Module  # N 3 T H W → N C T' H' W'
    head: Head  # N C T' H' W' → N K

    least: tuple[int, int, int] = (1, 1, 1)
    """The smallest T, H and W that survive the strides and pools."""

    architecture: str
    options: dict[str, Any]
    name: str
    input: Input
    licence: str | None
    multilabel: bool
    report: NetReport

    network: str | None = None
    """The hash of a network whose features this gives, not logits."""

    def __init__(self, body: nn.Module, head: Head) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.licence = None
        self.multilabel = False
        self.report = NetReport()
        self._labels: tuple[str, ...] | None = None
        self._frozen: tuple[int, bool] = (0, False)

    def forward(self, clip: Tensor) -> Tensor:
        """N 3 T H W → N K, logits; ModelError for what is no clip, or too small a one."""
        self._check(clip)
        return self.head(self.body(clip))  # type: ignore[no-any-return]

    def _check(self, clip: Tensor) -> None:
        channels = len(self.input.mean)
        if clip.ndim != 5 or clip.shape[1] != channels:
            raise ModelError(
                f"takes clips N {channels} T H W, got {tuple(clip.shape)}", where=self.name
            )
        if any(size < least for size, least in zip(clip.shape[2:], self.least, strict=True)):
            needs, got = (" x ".join(map(str, s)) for s in (self.least, clip.shape[2:]))
            raise ModelError(f"needs clips of at least {needs} (T H W), got {got}", where=self.name)

    @property
    def mixes_time(self) -> bool:
        """Whether the body's features of a frame depend on others."""
        return True

    @property
    def by_frame(self) -> bool:
        """Whether a clip's answer is the mean over those to its frames, each by itself."""
        return not self.mixes_time and type(self.head) is Mean

    @property
    def classes(self) -> int:
        return self.head.linear.out_features

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, in the order of the logits; None where nobody has said them."""
        return self._labels

    @labels.setter
    def labels(self, labels: tuple[str, ...] | None) -> None:
        if labels is not None:
            labels = check_labels(labels)
            if len(labels) != self.classes:
                raise ModelError(f"has {self.classes} classes, got {len(labels)} labels")
        self._labels = labels

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """A state dict of a published `layout` under this network's own names."""
        raise WeightsError(f"{type(self).__name__} cannot read the layout {layout!r}")

    def fresh(self, layout: str) -> frozenset[str]:
        """The entries that a file of this layout cannot have, and that start anew."""
        return frozenset()

    def folded(self, layout: str) -> int:
        """How many parameters of that layout `convert` works into others, exactly, or drops."""
        return 0

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The parts in the order that a clip passes them, the head last."""
        return [*self.body.named_children(), ("head", self.head)]

    def untaught(self, layout: str) -> str:
        """The rule for time that weights of this layout know nothing of; "" where there is none."""
        return ""

    def maps_and_rest(self) -> tuple[nn.Module, nn.Module]:
        """The body in two: up to where its maps still have time, N C T' H W, and what follows.

        A step of the maps depends on how frames lie to it, not on where the clip begins and ends.
        """
        return self.body, nn.Identity()

    def early(self) -> int:
        """How many of the first stages are not of the last resolution: all but the last here."""
        return len(self.stages()) - 2

    def train(self, mode: bool = True) -> Net:
        """As of any module, but what `freeze` froze keeps the statistics of its norms."""
        super().train(mode)
        stages, norms = self._frozen
        for _, stage in self.stages()[:stages]:
            stage.eval()
        if norms:
            for module in self.body.modules():
                if is_norm(module):
                    module.eval()
        return self


def digest(net: Net, *more: object) -> str:
    """A hash of architecture, options, input and weights, and of `more`, as JSON has it; hex.

    The same for a copy by `save_checkpoint`, which leaves out how many batches norms have seen.
    """
    found = hashlib.blake2b(digest_size=16)
    about = [net.architecture, net.options, net.input.to_dict(), *more]
    found.update(json.dumps(about, sort_keys=True, default=str).encode())
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels, if there are some and no two are the same; otherwise ModelError."""
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ModelError(f"labels must be a sequence of strings, got {labels!r}")
    label, count = max(Counter(labels).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise ModelError(f"labels must differ, got {label!r} {count} times")
    if not labels:
        raise ModelError("at least one label is needed, got none")
    return tuple(labels)


def is_norm(module: nn.Module) -> bool:
    """Whether this layer keeps running statistics."""
    return isinstance(getattr(module, "running_mean", None), Tensor)


def replace_head(net: Net, classes: int, labels: tuple[str, ...] | None = None) -> None:
    """Give `net` a fresh last layer for other classes; the rest stays as it is."""
    net.head.renew(classes)
    net.multilabel = False
    net.labels = labels


def freeze(net: Net, stages: int = 0, *, norms: bool = False) -> None:
    """Fix the first `stages` stages, parameters and norm statistics both; later ones are free.

    `norms` fixes the statistics of all norms of the body, as small batches want. What is fixed
    stays fixed through `net.train()`. Call it again to freeze less or more.
    """
    names = [name for name, _ in net.stages()]
    if not 0 <= stages < len(names):
        raise ModelError(
            f"can freeze 0 to {len(names) - 1} stages of {', '.join(names)}; got {stages}"
        )
    for position, (_, stage) in enumerate(net.stages()):
        stage.requires_grad_(position >= stages)
    net._frozen = (stages, norms)
    net.train(net.training)


def param_groups(
    net: Net,
    lr: float,
    *,
    head_lr: float | None = None,
    time_lr: float | None = None,
    weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """Optimiser groups of what is not frozen: the body at `lr`, the head's new layers at `head_lr`.

    `time_lr` is for what a rule has put into an image network (None: `lr`, as for `head_lr`).
    Biases, norms and kernels over time alone get no weight decay: it would pull a kernel from the
    identity to silence.
    """
    new = set(net.report.time.new if net.report.time else ())
    kernels = {id(p) for m in net.body.modules() if isinstance(m, TimeConv) for p in m.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = lr
        if name.startswith("head.") and not name.startswith("head.frame."):
            rate = lr if head_lr is None else head_lr
        elif name in new:
            rate = lr if time_lr is None else time_lr
        plain = parameter.ndim <= 1 or id(parameter) in kernels
        groups.setdefault((rate, 0.0 if plain else weight_decay), []).append(parameter)
    return [
        {"params": members, "lr": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]
