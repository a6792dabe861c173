"""Networks run by torch itself, on the CPU or on CUDA."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marey.models._net import Net
from marey.nn.clip import normalise
from marey.runtime._net import NetRuntime


class TorchRuntime(NetRuntime):
    """Runs `net` in channels-last memory.

    `precision` `auto` is float32 on the CPU, and on CUDA autocast to bfloat16, with frames copied
    from pinned memory; what CUDA gains was never measured. `threads` is for the whole process.
    """

    def __init__(
        self,
        net: Net,
        device: str | None = None,
        *,
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if has_cuda() else "cpu"))
        super().__init__(net.to(self.device))
        self.runtime = f"torch {self.device.type}"
        self._half = precision == "bf16" or (precision == "auto" and self.device.type == "cuda")
        self.precision = "bfloat16" if self._half else "float32"
        if threads:
            torch.set_num_threads(threads)
        channels_last(self.net)

    def frames(self, frames: Tensor) -> Tensor:
        return self.clips(normalise(self._moved(frames), self.input))

    def clips(self, clips: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            logits: Tensor = self.net(self._moved(clips))
        return logits.float()

    def _moved(self, x: Tensor) -> Tensor:
        if self.device.type != "cuda" or x.is_cuda:
            return x.to(self.device)
        return x.pin_memory().to(self.device, non_blocking=True)


def has_cuda() -> bool:
    return torch.cuda.is_available()


def channels_last(net: nn.Module) -> None:
    """Lay the kernels out as `normalise` lays out the clips, 2D and 3D each in its format."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in net.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
