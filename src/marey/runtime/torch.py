"""Networks run by torch itself, on the CPU or on CUDA."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from marey.errors import ModelError
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.types import Input, ModelCard


class TorchRuntime:
    """Runs `net` in float32; it takes the net over: device, evaluation mode, memory format."""

    def __init__(self, net: Net, device: str | None = None) -> None:
        if len(net.input.mean) != 3:
            raise ModelError(
                f"takes {len(net.input.mean)} channels, optical flow; marey reads colours only",
                where=net.name,
                do="Call the network itself on flow of your own.",
            )
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.net = net.to(self.device).eval()
        channels_last(self.net)

    @property
    def input(self) -> Input:
        return self.net.input

    @property
    def labels(self) -> tuple[str, ...] | None:
        return self.net.labels

    @property
    def multilabel(self) -> bool:
        return self.net.multilabel

    @property
    def warnings(self) -> tuple[str, ...]:
        notes = self.net.report.warnings
        if (self.net.licence or "").startswith("research-only"):
            notes = (*notes, f"{self.net.name}: licence of the weights: {self.net.licence}")
        return notes

    @torch.inference_mode()
    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N T H W 3, uint8 → N K, logits."""
        if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[-1] != 3:
            raise ModelError(f"clips must be uint8 N T H W 3, got {clips.dtype} {clips.shape}")
        frames = torch.from_numpy(np.ascontiguousarray(clips)).to(self.device)
        logits: NDArray[np.float32] = self.net(normalise(frames, self.input)).float().cpu().numpy()
        return logits

    def card(self) -> ModelCard:
        return ModelCard(
            name=self.net.name,
            licence=self.net.licence,
            classes=self.net.classes,
            runtime=f"torch {self.device.type}",
            precision="float32",
            input=self.input,
            multilabel=self.multilabel,
        )


def channels_last(net: nn.Module) -> None:
    """Lay the kernels out as `normalise` lays out the clips, 2D and 3D each in its format."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in net.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
