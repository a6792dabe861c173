"""What an image network does with a picture, seen by running it once, without values.

Names tell little and differ from network to network; a run tells which convolutions there are, in
what order and at what resolution, which modules add a shortcut to their branch, and where the
features end and the head begins.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from marey.errors import ModelError

STEM = 0
# Children of a block that carry the shortcut, by the names in use.
_SHORTCUT = ("downsample", "shortcut", "skip", "identity", "proj_skip", "conv_skip")


@dataclass(slots=True)
class Layer:
    """A convolution of the network: its name, the module, and the sizes at its first call.

    `block` is the residual block that it stands in, if any; `stage` counts resolutions: 0 is the
    stem, 1 a quarter of the picture's height, 2 an eighth and so on, of the block's output where
    there is a block. `shortcut` layers carry the way around a branch.
    """

    name: str
    conv: nn.Conv2d
    height: int
    pixels: int
    block: str | None = None
    stage: int = STEM
    shortcut: bool = False

    @property
    def spatial(self) -> bool:
        return max(self.conv.kernel_size) > 1

    @property
    def depthwise(self) -> bool:
        return self.conv.groups == self.conv.in_channels > 1


@dataclass(slots=True)
class Block:
    """A module that adds a shortcut to what its layers make."""

    name: str
    stage: int
    layers: list[Layer] = field(default_factory=list)

    @property
    def branch(self) -> list[Layer]:
        """Without the shortcut's layers, and those of gates, which see maps of 1x1."""
        return [layer for layer in self.layers if not layer.shortcut and layer.pixels > 1]


@dataclass(slots=True)
class Trace:
    """The network as it ran. `features` is the shape of the map or vector of one picture.

    `functional` names the modules that convolve with a parameter of their own by a function call,
    `windowed` the convolutions that get parts of a picture as pictures of their own;
    `head` the children that only the head uses; `last` the linear layer that made the output;
    `plain` the modules that were given one tensor and nothing else.
    """

    layers: list[Layer]
    blocks: list[Block]
    functional: list[str]
    windowed: list[str]
    features: tuple[int, ...]
    head: set[str]
    last: str | None
    outputs: tuple[int, ...]
    size: tuple[int, int]
    plain: set[str]

    @property
    def stages(self) -> set[int]:
        return {layer.stage for layer in self.layers if layer.pixels > 1}


def trace(net: nn.Module, size: tuple[int, int]) -> Trace:
    """Run `net` on one picture of `size`, without values; ModelError where it cannot be run."""
    twin = copy.deepcopy(net).to("meta").eval()
    watch = _Watch(twin)
    picture = blank(twin, 1, 3, *size)
    try:
        with torch.inference_mode(), watch:
            if has_features(twin):
                features = twin.forward_features(picture)  # type: ignore[operator]
                watch.in_head = True
                output = twin.forward_head(features)  # type: ignore[operator]
            else:
                features = output = twin(picture)
    except Exception as error:  # whatever a stranger's forward raises
        raise ModelError(
            f"cannot be run on a picture of {size[0]}x{size[1]} ({_first_line(error)})",
            where=type(net).__name__,
            do="Give a network that maps (N, 3, H, W) to features or logits.",
        ) from error
    finally:
        watch.close()
    for what in (features, output):
        if not isinstance(what, Tensor):
            raise ModelError(
                f"gives {type(what).__name__}, not one tensor", where=type(net).__name__
            )
    return watch.found(net, features, output, size)


def blank(net: nn.Module, *shape: int) -> Tensor:
    """An input without values, of the network's own precision."""
    one = next(net.parameters(), torch.empty(()))
    return torch.empty(shape, dtype=one.dtype, device="meta")


def has_features(net: nn.Module) -> bool:
    """Whether the network follows timm's habit: features and head are methods of their own."""
    return hasattr(net, "forward_features") and hasattr(net, "forward_head")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


_ADDS = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__}


class _Watch(TorchFunctionMode):
    """Writes down, in order, which module is at work, and which of them convolve and add."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.in_head = False
        self._names = {module: name for name, module in net.named_modules()}
        self._stack: list[nn.Module] = [net]
        self.heights: dict[str, tuple[int, int]] = {}
        self.convs: dict[str, nn.Conv2d] = {}
        self.adds: dict[str, int] = {}
        self.called: dict[str, set[bool]] = {}
        self.alone: dict[str, bool] = {}
        self.functional: dict[str, None] = {}
        self.windowed: dict[str, None] = {}
        self.linear: tuple[str, Tensor] | None = None
        hooks: Iterable[Any] = [
            hook
            for module in self._names
            if module is not net
            for hook in (
                module.register_forward_pre_hook(self._enter),
                module.register_forward_hook(self._leave),
            )
        ]
        self._hooks = list(hooks)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._stack.append(module)
        name = self._names[module]
        self.called.setdefault(name.split(".")[0], set()).add(self.in_head)
        alone = len(inputs) == 1 and isinstance(inputs[0], Tensor)
        self.alone[name] = alone and self.alone.get(name, True)
        if isinstance(module, nn.Conv2d) and inputs and isinstance(inputs[0], Tensor):
            if inputs[0].shape[0] == 1:  # as many pictures as were given
                self.convs.setdefault(name, module)
            else:
                self.windowed.setdefault(name)

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._stack.pop()
        name = self._names[module]
        if isinstance(output, Tensor) and output.ndim == 4:
            self.heights.setdefault(name, (output.shape[-2], output.shape[-2] * output.shape[-1]))
        if isinstance(module, nn.Linear) and isinstance(output, Tensor):
            self.linear = (name, output)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        at = self._stack[-1]
        if func in _ADDS and _is_shortcut(args):
            self.adds.setdefault(self._names[at], output.shape[-2])
        elif func is torch.conv2d and not isinstance(at, nn.Conv2d) and _has_kernel(at):
            self.functional.setdefault(self._names[at])
        return output

    def found(
        self, net: nn.Module, features: Tensor, output: Tensor, size: tuple[int, int]
    ) -> Trace:
        """All that was seen, in terms of the modules of `net`."""
        blocks = self._blocks(size[0])
        layers: list[Layer] = []
        for name in self.convs:
            height, pixels = self.heights.get(name, (1, 1))
            conv = net.get_submodule(name)
            assert isinstance(conv, nn.Conv2d)
            layer = Layer(name, conv, height, pixels)
            block = _owner(name, blocks)
            if block:
                layer.block, layer.stage = block.name, block.stage
                inside = name[len(block.name) :].split(".")
                layer.shortcut = any(part.startswith(_SHORTCUT) for part in inside)
                block.layers.append(layer)
            elif layers:
                layer.stage = _stage(size[0], height)
            layers.append(layer)
        return Trace(
            layers=layers,
            blocks=[block for block in blocks.values() if block.branch],
            functional=list(self.functional),
            windowed=list(self.windowed),
            features=tuple(features.shape[1:]),
            head={name for name, where in self.called.items() if where == {True}},
            last=self.linear[0] if self.linear and self.linear[1] is output else None,
            outputs=tuple(output.shape[1:]),
            size=size,
            plain={name for name, alone in self.alone.items() if alone},
        )

    def _blocks(self, size: int) -> dict[str, Block]:
        """The modules that add, but not those that hold several of them: these are stages."""
        names = [name for name in self.adds if name]
        inner = {name: sum(other.startswith(name + ".") for other in names) for name in names}
        kept = [name for name in names if inner[name] < 2]
        outermost = [
            name for name in kept if not any(name.startswith(other + ".") for other in kept)
        ]
        return {name: Block(name, _stage(size, self.adds[name])) for name in outermost}


def _has_kernel(module: nn.Module) -> bool:
    return any(p.ndim > 1 for p in module.parameters(recurse=False))


def _is_shortcut(args: Any) -> bool:
    """Whether two maps of one shape are added, larger than the 1x1 of a gate."""
    return (
        len(args) > 1
        and all(isinstance(one, Tensor) and one.ndim == 4 for one in args[:2])
        and args[0].shape == args[1].shape
        and args[0].shape[-1] > 1
    )


def _stage(size: int, height: int) -> int:
    return max(STEM, round(math.log2(size / height)) - 1)


def _owner(name: str, blocks: dict[str, Block]) -> Block | None:
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        block = blocks.get(".".join(parts[:end]))
        if block:
            return block
    return None
