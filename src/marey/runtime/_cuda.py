"""What CUDA needs beside the network: which device, which numbers, and how frames come to it.

Written without a GPU: its logic is tested on the CPU, and nothing here has ever run on CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from marey.errors import ModelError


def device_of(asked: str | None) -> torch.device:
    """The device that is asked for, CUDA where there is some if none is; ModelError for no such."""
    gpus = cuda_devices()
    choices = ", ".join(("cpu", *(f"cuda:{number}" for number in range(gpus))))
    try:
        device = torch.device(asked or ("cuda" if gpus else "cpu"))
    except RuntimeError as error:
        raise ModelError(
            f"no device is called {asked!r}", do=f"Choose one of: {choices}."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ModelError(
            f"there is no device {asked!r}: torch finds {gpus or 'no'} CUDA devices",
            do=f"Choose one of: {choices}.",
        )
    return device


def cuda_devices() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def half_on(device: torch.device) -> torch.dtype:
    """bfloat16 where the GPU computes in it: AMD's, and NVIDIA's from Ampere on; else float16."""
    native = torch.version.hip or torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if native else torch.float16


@contextmanager
def exact() -> Iterator[None]:
    """Meanwhile float32 is float32: no TensorFloat-32, which keeps 10 bits of its mantissa.

    A switch of the whole process, put back afterwards.
    """
    switches: list[Any] = [
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cuda.matmul,
    ]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


class _Copied(Protocol):
    def synchronize(self) -> Any: ...


class Staging:
    """Page-locked memory through which clips reach a GPU while it computes; made once, then reused.

    To lock memory anew for each clip takes longer than the copy. The next clip waits until the
    copy of the last has left, which `record` tells: it marks the present end of the GPU's work.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        allocate: Callable[[int], Tensor] | None = None,
        record: Callable[[], _Copied] | None = None,
    ) -> None:
        self._device = device
        self._allocate = allocate or _page_locked
        self._record = record or (lambda: torch.cuda.current_stream(device).record_event())
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._copied: _Copied | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """`x`, of any shape, with its values on the device, contiguous."""
        if self._copied is not None:
            self._copied.synchronize()
        size = x.numel() * x.element_size()
        if len(self._memory) < size:
            self._memory = self._allocate(size)
        held = self._memory[:size].view(x.dtype).view(x.shape).copy_(x)
        moved = held.to(self._device, non_blocking=True, copy=True)
        self._copied = self._record()
        return moved


def _page_locked(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)
