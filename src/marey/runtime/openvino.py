"""Networks run by OpenVINO on the CPU: converted once, compared with the network itself, kept.

Normalisation is part of the graph, so uint8 frames go in and no float clip is made. A graph is for
one shape; other shapes are converted when they first come.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from marey.errors import ModelError, OutputError
from marey.files import cache_folder
from marey.models._net import Net, digest
from marey.nn.clip import normalise
from marey.runtime._cache import GraphCache, graph_name, made_by
from marey.runtime._net import NetRuntime
from marey.runtime._openvino import BOUNDS, NAMES, Request, compiled, converted, fastest


class FromFrames(nn.Module):
    """The network with its normalisation before it: uint8 N T H W 3 → N K."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor) -> Tensor:
        return self.net(normalise(frames, self.net.input))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Graph:
    """A compiled graph, and how far its answer was from the network's."""

    request: Request
    difference: float


class RefusedError(ModelError):
    """An engine cannot run a network, or not as it is."""


class DiffersError(RefusedError):
    """A graph does not give the network's answers in this precision."""


class OpenVinoRuntime(NetRuntime):
    """Runs `net` in the precision asked for.

    None is the fastest that this processor computes in: bfloat16, unless that moves the answers by
    more than its bound. Several threads take turns. Raises RefusedError.
    """

    runtime = "openvino cpu"

    def __init__(
        self,
        net: Net,
        precision: str | None = None,
        *,
        batch: int = 1,
        threads: int | None = None,
    ) -> None:
        super().__init__(net.cpu())
        self._batch, self._threads = batch, threads
        self.cache = graphs_of(net)
        self._graphs: dict[tuple[torch.dtype, tuple[int, ...]], Graph] = {}
        self._making = Lock()
        first = torch.uint8, (batch, net.input.frames, *net.input.size, 3)
        self._precision, graph = first_that_fits(precision, partial(self._compiled, *first))
        self._graphs[first] = graph
        self.precision = NAMES[self._precision]
        self.difference = graph.difference

    def frames(self, frames: Tensor) -> Tensor:
        return self._run(frames)

    def clips(self, clips: Tensor) -> Tensor:
        return self._run(clips.float())

    def _run(self, x: Tensor) -> Tensor:
        """By `batch` clips at a time: more at once are no faster, and each number has its graph."""
        return torch.cat([self._infer(part) for part in torch.split(x, self._batch)])

    def _infer(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._graph(x.dtype, tuple(x.shape)).request(x.numpy()))

    def _graph(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Graph:
        with self._making:
            if (dtype, shape) not in self._graphs:
                self._graphs[dtype, shape] = self._compiled(dtype, shape, self._precision)
            return self._graphs[dtype, shape]

    def _compiled(self, dtype: torch.dtype, shape: tuple[int, ...], precision: str) -> Graph:
        frames = dtype == torch.uint8
        module, given = FromFrames(self.net).eval() if frames else self.net, example(dtype, shape)
        return made_graph(
            self.cache,
            graph_name("frames" if frames else "clips", shape, precision),
            make=lambda: convert(module, given, self.net.name),
            apart=lambda ask: _apart(ask, module, given),
            net=self.net.name,
            precision=precision,
            threads=self._threads,
            notes=self.notes,
        )


def first_that_fits(precision: str | None, make: Callable[[str], Graph]) -> tuple[str, Graph]:
    """The precision asked for, else the fastest whose answers stay within its bound; its graph."""
    chosen = precision or fastest()
    try:
        return chosen, make(chosen)
    except DiffersError:
        if precision or chosen == "f32":
            raise
    return "f32", make("f32")


def made_graph(
    cache: GraphCache,
    name: str,
    *,
    make: Callable[[], Any],
    apart: Callable[[Request], float],
    net: str,
    precision: str,
    threads: int | None,
    notes: list[str],
) -> Graph:
    """The graph called `name`, from the cache, or made, compared with its network and kept.

    `apart` says how far its answers are from those of the network, `net`; RefusedError if too far,
    or where OpenVINO cannot run it. That it could not be kept is noted.
    """

    def ready(model: Any) -> Request:
        try:
            return Request(compiled(model, precision, threads))
        except RuntimeError as error:
            raise refused("OpenVINO", net, error) from error

    if kept := cache.read(name):
        model, found = kept
        judge("OpenVINO", net, precision, found)
        return Graph(ready(model), found)
    model = make()
    request = ready(model)
    found = apart(request)
    try:
        cache.write(name, model, found)
    except OutputError as error:
        notes.append(str(error))
    # What is read back is laid out otherwise, and rounds otherwise: take it at once, so that the
    # first run gives the same numbers as all later ones.
    if again := cache.read(name):
        request = ready(again[0])
    judge("OpenVINO", net, precision, found)
    return Graph(request, found)


@torch.inference_mode()
def _apart(request: Request, module: nn.Module, given: Tensor) -> float:
    return difference(torch.from_numpy(request(given.numpy())), module(given))


def judge(engine: str, name: str, precision: str, apart: float) -> None:
    """DiffersError for a graph whose answers are too far from the network's."""
    # Written so that a NaN fails.
    if not apart <= BOUNDS[precision]:
        raise DiffersError(
            f"{engine}'s answers in {NAMES[precision]} differ from the network's by "
            f"{apart:.2g} of the largest, {BOUNDS[precision]:g} may be",
            where=name,
            do="Take runtime 'torch'." if precision == "f32" else "Take precision 'f32'.",
        )


def graphs_of(net: Net) -> GraphCache:
    """Where the graphs are kept that these weights, options and input have here."""
    return GraphCache(folder_of(net, made_by()))


def folder_of(net: Net, by: list[object]) -> Path:
    """The folder in the cache for these weights, options and input, of graphs made `by` these."""
    name = f"{net.architecture.replace('/', '-')}-{digest(net, by)}"
    return cache_folder() / "graphs" / name


def convert(module: nn.Module, given: Tensor | tuple[Tensor, ...], name: str) -> Any:
    """The graph of a network for inputs like `given`; RefusedError where there is none."""
    inputs = given if isinstance(given, tuple) else (given,)
    try:
        # What the tools warn of, they warn of their own code.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = converted(torch.export.export(module, inputs))
            # Left open by the converter; OpenVINO plans, and runs, faster where it is known.
            model.reshape({k: tuple(one.shape) for k, one in enumerate(inputs)})
            return model
    except Exception as error:  # whatever two compilers raise, the network still runs in torch
        raise refused("OpenVINO", name, error) from error


def graph_names(program: torch.export.ExportedProgram) -> tuple[list[str], list[str]]:
    """The inputs and outputs, in files: `frames` to `logits`; a step has its state beside them."""
    states = [f"state_{k}" for k in range(len(program.graph_signature.user_inputs) - 1)]
    return ["frames", *states], ["logits", *(f"next_{state}" for state in states)]


def refused(engine: str, name: str, error: Exception) -> RefusedError:
    """The error for a network that an engine, or the way to it, cannot take."""
    why = next(iter(str(error).splitlines()), type(error).__name__)
    return RefusedError(f"{engine} cannot take it ({why})", where=name, do="Take runtime 'torch'.")


def example(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Soft coloured spots that come and go: nearer to footage than noise, in which nets see little.

    Frames, N T H W 3, or as a clip of about unit variance, N 3 T H W.
    """
    sizes = shape[1:4] if dtype == torch.uint8 else shape[2:]
    coarse = [-(-size // step) for size, step in zip(sizes, (8, 32, 32), strict=True)]
    spots = torch.rand((shape[0], 3, *coarse), generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(spots, sizes, mode="trilinear")
    if dtype == torch.uint8:
        return (255 * smooth).to(dtype).permute(0, 2, 3, 4, 1).contiguous()
    return 4 * smooth - 2


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference of two tensors, relative to the largest value expected."""
    return float((found - expected).abs().max() / expected.abs().max())
