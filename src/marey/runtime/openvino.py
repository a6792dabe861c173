"""Networks run by OpenVINO on the CPU: converted once, compared with the network itself, kept.

Normalisation is part of the graph, so uint8 frames go in and no float clip is made. A graph is for
one shape; other shapes are converted when they first come.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from marey.errors import ModelError, OutputError
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.runtime._cache import GraphCache
from marey.runtime._net import NetRuntime
from marey.runtime._openvino import NAMES, compiled, fastest

BOUNDS = {"f32": 1e-3, "bf16": 0.02}
"""How far the logits may be from the network's own, relative to the largest of them."""


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

    request: Any
    difference: float


class RefusedError(ModelError):
    """OpenVINO cannot run a network, or not as it is."""


class DiffersError(RefusedError):
    """A graph does not give the network's answers in this precision."""


class OpenVinoRuntime(NetRuntime):
    """Runs `net` in the precision asked for.

    None is the fastest that this processor computes in: bfloat16, unless that moves the answers by
    more than its bound.

    Not for several threads at once. Raises RefusedError.
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
        self._cache = GraphCache(net)
        self._graphs: dict[tuple[torch.dtype, tuple[int, ...]], Graph] = {}
        self._precision = precision or fastest()
        first = torch.uint8, (batch, net.input.frames, *net.input.size, 3)
        try:
            graph = self._graph(*first)
        except DiffersError:
            if precision or self._precision == "f32":
                raise
            self._precision = "f32"
            graph = self._graph(*first)
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
        request = self._graph(x.dtype, tuple(x.shape)).request
        logits = request.infer([x.contiguous().numpy()], share_inputs=True)[0]
        # Copied: the request writes its next answer to the same place.
        return torch.from_numpy(logits.copy())

    def _graph(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Graph:
        if (dtype, shape) not in self._graphs:
            self._graphs[dtype, shape] = self._compiled(dtype, shape)
        return self._graphs[dtype, shape]

    def _compiled(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Graph:
        kind = "frames" if dtype == torch.uint8 else "clips"
        name = "x".join(map(str, (kind, *shape))) + f"-{self._precision}"
        if kept := self._cache.read(name):
            model, apart = kept
            self._judge(apart)
            request = self._request(model)
        else:
            module = FromFrames(self.net).eval() if dtype == torch.uint8 else self.net
            given = example(dtype, shape)
            model = convert(module, given, self.net.name)
            request = self._request(model)
            found = torch.from_numpy(request.infer([given.numpy()])[0])
            with torch.inference_mode():
                apart = difference(found, module(given))
            try:
                self._cache.write(name, model, apart)
            except OutputError as error:
                self.notes.append(str(error))
            # What is read back is laid out otherwise, and rounds otherwise: take it at once, so
            # that the first run gives the same numbers as all later ones.
            if again := self._cache.read(name):
                request = self._request(again[0])
            self._judge(apart)
        return Graph(request, apart)

    def _judge(self, apart: float) -> None:
        # Written so that a NaN fails.
        if not apart <= BOUNDS[self._precision]:
            raise DiffersError(
                f"OpenVINO's answers in {NAMES[self._precision]} differ from the network's by "
                f"{apart:.2g} of the largest, {BOUNDS[self._precision]:g} may be",
                where=self.net.name,
                do="Take precision 'f32', or runtime 'torch'.",
            )

    def _request(self, model: Any) -> Any:
        try:
            return compiled(model, self._precision, self._threads)
        except RuntimeError as error:
            raise _refused(self.net.name, error) from error


def convert(module: nn.Module, given: Tensor, name: str) -> Any:
    """The graph of a network for inputs like `given`; RefusedError where there is none."""
    import openvino

    try:
        # What the tools warn of, they warn of their own code.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return openvino.convert_model(torch.export.export(module, (given,)))
    except Exception as error:  # whatever two compilers raise, the network still runs in torch
        raise _refused(name, error) from error


def _refused(name: str, error: Exception) -> RefusedError:
    why = next(iter(str(error).splitlines()), type(error).__name__)
    return RefusedError(f"OpenVINO cannot take it ({why})", where=name, do="Take runtime 'torch'.")


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
