"""Networks run by torch itself, on the CPU or on CUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from marey.errors import ModelError
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.runtime._cuda import Staging, cuda_devices, device_of, exact, half_on
from marey.runtime._net import NetRuntime
from marey.runtime._prepared import OneDnn, has_onednn, prepared

_NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16", None: "float32"}


class TorchRuntime(NetRuntime):
    """Runs `net` in channels-last memory.

    On the CPU `auto` is float32, by a prepared copy of the network (`marey.runtime._prepared`) that
    shares what it can with it; `threads` is for the whole process. Several threads take turns.

    On CUDA `auto` is autocast to bfloat16, or to float16 where the GPU has no bfloat16; frames are
    copied from page-locked memory while the GPU computes, and `f32` is without TensorFloat-32.
    `compiled` gives the network to torch.compile, which takes its time at the first clip of each
    shape. All this was tested on the CPU, by shape, and never run on CUDA: what it gains there, and
    what `compiled` does, was not measured.

    Raises ModelError for a device that is not there and a precision that it does not compute in.
    """

    def __init__(
        self,
        net: Net,
        device: str | None = None,
        *,
        precision: str = "auto",
        threads: int | None = None,
        compiled: bool = False,
    ) -> None:
        self.device = device_of(device)
        self._half = _half(precision, self.device)
        super().__init__(net.to(self.device))
        self.runtime = f"torch {self.device.type}"
        self.precision = _NAMES[self._half]
        if threads:
            torch.set_num_threads(threads)
        channels_last(self.net)
        self._run: Any = self.net
        self._turn = Lock()
        self._around: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._staging: Staging | None = None
        if self.device.type == "cuda":
            self._staging = Staging(self.device)
            self._around = nullcontext if self._half else exact
        elif self.device.type == "cpu" and self._half is None:
            self._run = prepared(self.net)
            channels_last(self._run)
            self._around = OneDnn if has_onednn() else nullcontext
        if compiled:
            self._compile()

    def frames(self, frames: Tensor) -> Tensor:
        return self._logits(normalise(self._moved(frames), self.input))

    def clips(self, clips: Tensor) -> Tensor:
        # Staged as pixels, so that channels-last memory stays what it is.
        return self._logits(self._moved(clips.float().movedim(1, -1)).movedim(-1, 1))

    def _logits(self, clips: Tensor) -> Tensor:
        with self._computing():
            logits: Tensor = self._run(clips)
        return logits.float()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """One thread at a time, in the numbers that were asked for."""
        half = torch.autocast(self.device.type, self._half, enabled=self._half is not None)
        with self._turn, half, self._around():
            yield

    def _moved(self, x: Tensor) -> Tensor:
        if self._staging is None or x.device.type != "cpu":
            return x.to(self.device)
        with self._turn:
            return self._staging(x)

    def _compile(self) -> None:
        """Compile for the clips of `input`; where that cannot be, a note says why."""
        if self.device.type != "cuda":
            raise ModelError(
                "torch.compile is for CUDA here", where=self.net.name, do="Leave out `compiled`."
            )
        plain, why = self._run, "triton is not installed"
        if find_spec("triton") is not None:
            try:
                # No CUDA graphs: they write each answer over the last, and are bound to one thread.
                self._run = torch.compile(plain, dynamic=False)
                with torch.inference_mode():
                    shape = 1, self.input.frames, *self.input.size, 3
                    self.frames(torch.zeros(shape, dtype=torch.uint8))
                return
            except Exception as error:  # whatever compilers raise, the network still runs
                self._run, why = plain, next(iter(str(error).splitlines()), type(error).__name__)
        self.notes.append(f"{self.net.name}: runs uncompiled: {why}")


def _half(precision: str, device: torch.device) -> torch.dtype | None:
    """What to compute in on `device` where that is not float32."""
    if precision == "f32" or (precision == "auto" and device.type != "cuda"):
        return None
    half = half_on(device) if device.type == "cuda" else torch.bfloat16
    if precision == "auto":
        return half
    if precision != "bf16":
        raise ModelError(
            f"torch does not run networks in {precision!r} here",
            do="Choose one of: auto, f32, bf16.",
        )
    if half != torch.bfloat16 or (device.type == "cpu" and not computes_in_bfloat16()):
        raise ModelError(
            "this processor does not compute in bfloat16", do="Take precision 'auto' or 'f32'."
        )
    return half


def computes_in_bfloat16() -> bool:
    """Whether oneDNN computes in bfloat16 on this processor; torch would use loops of its own."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def has_cuda() -> bool:
    return cuda_devices() > 0


def channels_last(net: nn.Module) -> None:
    """Lay the kernels out as `normalise` lays out the clips, 2D and 3D each in its format."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in net.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
