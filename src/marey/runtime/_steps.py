"""The steps of a network that looks at frames as they come: by torch, or a graph of OpenVINO's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marey.models._net import Net
from marey.models._stream import Streaming, streaming
from marey.nn.clip import normalise
from marey.runtime._cache import step_name
from marey.runtime._net import NetRuntime
from marey.runtime._openvino import NAMES
from marey.runtime.openvino import (
    Graph,
    convert,
    difference,
    example,
    first_that_fits,
    graphs_of,
    made_graph,
)
from marey.runtime.stream import Frames, OneByOne, State, Streamed, StreamRuntime
from marey.runtime.torch import TorchRuntime


class Step(nn.Module):
    """A step with its normalisation before it: uint8 N t H W 3, state… → logits N t K, state…."""

    def __init__(self, live: Streaming) -> None:
        super().__init__()
        self.net, self._live = live.net, live

    def forward(self, frames: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        logits, after = self._live.step(normalise(frames, self.net.input), state)
        return logits, *after


class OneStep:
    """A step of one frame of one stream, to make a graph of, and to compare its answers with.

    `given` are its inputs: a frame, and the state that a stream begins with.
    """

    def __init__(self, net: Net) -> None:
        live = streaming(net.eval())
        self.net, self.module = net, Step(live).eval()
        self._live = live
        self._clip = example(torch.uint8, (1, net.input.frames, *net.input.size, 3))
        with torch.inference_mode():
            _, state = live.step(normalise(self._clip[:, :1], net.input))
        shapes = tuple(tuple(part.shape) for part in state)
        self.streamed = Streamed(live.answer, live.forgets, shapes)
        self.given = (self._clip[:, :1], *map(torch.zeros, shapes))

    @torch.inference_mode()
    def apart(self, steps: Any) -> float:
        """How far the logits are after each frame of a clip, relative to the largest."""
        found, _ = steps(self._clip.numpy(), None)
        expected, _ = self._live.step(normalise(self._clip, self.net.input))
        return difference(torch.from_numpy(found), expected)


class TorchSteps(TorchRuntime):
    """The steps of `net` by torch, for any number of frames and streams at once.

    A state is tensors, on the network's device.
    """

    def __init__(self, net: Net, *, precision: str = "auto", threads: int | None = None) -> None:
        streaming(net)  # refused before any work
        super().__init__(net, precision=precision, threads=threads)
        self._live = streaming(self._run)

    @torch.inference_mode()
    def _steps(self, frames: Frames, state: State | None) -> tuple[NDArray[np.float32], State]:
        moved = self._moved(torch.from_numpy(np.ascontiguousarray(frames)))
        with self._computing():
            logits, after = self._live.step(normalise(moved, self.input), state)
        return logits.float().cpu().numpy(), after

    def ready(self) -> StreamRuntime:
        return StreamRuntime(self._steps, self._live, self.card(), self.labels, self.warnings)


class OpenVinoSteps(NetRuntime):
    """A step of `net` by OpenVINO, as `OpenVinoRuntime` runs clips; RefusedError if it cannot."""

    runtime = "openvino cpu"

    def __init__(
        self, net: Net, precision: str | None = None, *, threads: int | None = None
    ) -> None:
        super().__init__(net.cpu())
        self.cache = graphs_of(net)
        self._step, self._threads = OneStep(net), threads
        self.streamed = self._step.streamed
        chosen, graph = first_that_fits(precision, self._graph)
        self.precision, self.difference = NAMES[chosen], graph.difference
        self._ask = OneByOne(graph.request, self.streamed.state)

    def _graph(self, precision: str) -> Graph:
        step = self._step
        return made_graph(
            self.cache,
            step_name(self.input.size, precision),
            make=lambda: convert(step.module, step.given, self.net.name),
            apart=lambda ask: step.apart(OneByOne(ask, step.streamed.state)),
            net=self.net.name,
            precision=precision,
            threads=self._threads,
            notes=self.notes,
        )

    def ready(self) -> StreamRuntime:
        return StreamRuntime(self._ask, self.streamed, self.card(), self.labels, self.warnings)
