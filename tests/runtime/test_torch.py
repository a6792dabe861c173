"""Torch on the CPU, and the CUDA path without CUDA: by tensors that have a device and no values."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import marey.runtime._cuda as cuda
import marey.runtime.torch as torch_runtime
from marey.errors import ModelError
from marey.models._create import create_model
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime._cuda import Staging, device_of, exact, half_on
from marey.runtime.torch import TorchRuntime

SHAPE = (4, 32, 48)


def network(name: str = "r3d_hara_10") -> Net:
    torch.manual_seed(0)
    net = create_model(name, classes=5)
    net.input = replace(net.input, frames=SHAPE[0], size=SHAPE[1:], resize=32)
    return net


def frames(clips: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (clips, *SHAPE, 3), dtype=torch.uint8, generator=draw)


# On the CPU


def test_frames_and_clips_are_answered_as_by_the_network() -> None:
    net = network()
    runtime = TorchRuntime(net, "cpu")
    clips = normalise(frames(2), net.input)
    with torch.inference_mode():
        wanted = net(clips.contiguous())
    for found in (runtime(frames(2)), runtime(clips), runtime(clips.contiguous().double())):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (runtime.card().runtime, runtime.card().precision) == ("torch cpu", "float32")


def test_the_network_is_still_the_one_that_was_given() -> None:
    net = network()
    names = list(net.state_dict())
    runtime = TorchRuntime(net, "cpu")
    assert runtime.net is net
    assert list(net.state_dict()) == names


def test_several_threads_take_turns() -> None:
    net = network("tam_resnet18")  # which counts the clips of its batch
    runtime = TorchRuntime(net, "cpu")
    batches = [frames(1 + number % 3).numpy() for number in range(8)]
    wanted = [runtime(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, one in zip(pool.map(runtime, batches), wanted, strict=True):
            np.testing.assert_allclose(found, one, atol=1e-4, rtol=1e-4)


def test_a_precision_that_is_not_there_brings_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ModelError, match=r"not run .* 'int8' here\. Choose one of: auto, f32, bf16"
    ):
        TorchRuntime(network(), "cpu", precision="int8")
    monkeypatch.setattr(torch_runtime, "computes_in_bfloat16", lambda: False)
    with pytest.raises(ModelError, match="does not compute in bfloat16"):
        compile(network(), runtime="torch", device="cpu", precision="bf16")


def test_bfloat16_is_computed_in_where_the_processor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_runtime, "computes_in_bfloat16", lambda: True)
    net = network()
    runtime = TorchRuntime(net, "cpu", precision="bf16")
    seen = outputs_of(net)
    assert runtime(frames()).dtype == torch.float32
    assert {output.dtype for output in seen} == {torch.bfloat16}
    assert runtime.precision == "bfloat16"


def outputs_of(net: nn.Module) -> list[Tensor]:
    """What its convolutions will give."""
    seen: list[Tensor] = []
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(lambda _, inputs, output: seen.append(output))
    return seen


# Which device


@pytest.mark.parametrize("asked", ["cuda:2", "cuda", "gpu"])
def test_a_device_that_is_not_there_brings_the_choices(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = 2 if asked == "cuda:2" else 0
    monkeypatch.setattr(cuda, "cuda_devices", lambda: gpus)
    choices = "cpu, cuda:0, cuda:1" if gpus else "cpu"
    with pytest.raises(ModelError, match=rf"'{asked}'.*Choose one of: {choices}\."):
        compile(network(), runtime="torch", device=asked)


def test_cuda_is_taken_where_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "cuda_devices", lambda: 0)
    assert device_of(None) == torch.device("cpu")
    monkeypatch.setattr(cuda, "cuda_devices", lambda: 2)
    assert device_of(None).type == "cuda"
    assert device_of("cuda:1").index == 1


def test_gpus_without_bfloat16_compute_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda:0")
    for capability, half in (((7, 5), torch.float16), ((8, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert half_on(device) == half
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(cuda, "cuda_devices", lambda: 1)
    with pytest.raises(ModelError, match="does not compute in bfloat16"):
        TorchRuntime(network(), "cuda:0", precision="bf16")


# Frames on their way to the GPU


class Copy:
    def __init__(self) -> None:
        self.waited = 0

    def synchronize(self) -> None:
        self.waited += 1


def test_clips_pass_through_memory_that_is_kept_and_waited_for() -> None:
    allocated: list[int] = []
    copies: list[Copy] = []

    def allocate(size: int) -> Tensor:
        allocated.append(size)
        return torch.empty(size, dtype=torch.uint8)

    def record() -> Copy:
        copies.append(Copy())
        return copies[-1]

    staging = Staging(torch.device("cpu"), allocate=allocate, record=record)
    given = [frames(1), frames(1) // 2, torch.randn(1, 3, 2, 4, 4), frames(2)]
    moved = [staging(one) for one in given]
    for one, other in zip(given, moved, strict=True):
        assert torch.equal(one, other)  # and none is overwritten by the next
    assert allocated == [frames(1).numel(), frames(2).numel()]
    assert [copy.waited for copy in copies] == [1, 1, 1, 0]


# On CUDA, by shape


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without values that say to be on CUDA; two Ampere GPUs, as far as anyone asks."""
    monkeypatch.setattr(cuda, "cuda_devices", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(
        torch_runtime,
        "Staging",
        lambda device: lambda x: x.to(device, non_blocking=True, copy=True),
    )
    monkeypatch.setattr(Net, "to", lambda net, device: net)  # fake parameters cannot be exchanged
    with FakeTensorMode():
        yield


def on_cuda(**options: Any) -> tuple[TorchRuntime, list[tuple[Tensor, ...]]]:
    with torch.device("cuda:1"):
        net = network()
    runtime = TorchRuntime(net, "cuda:1", **options)
    seen: list[tuple[Tensor, ...]] = []
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(
                lambda conv, inputs, output: seen.append((conv.weight, *inputs, output))
            )
    return runtime, seen


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize(
    ("precision", "dtype", "said"),
    [("auto", torch.bfloat16, "bfloat16"), ("f32", torch.float32, "float32")],
)
def test_on_cuda_frames_become_logits_there(precision: str, dtype: torch.dtype, said: str) -> None:
    runtime, seen = on_cuda(precision=precision)
    logits = runtime.frames(torch.zeros(2, *SHAPE, 3, dtype=torch.uint8))
    assert (logits.shape, logits.dtype, str(logits.device)) == ((2, 5), torch.float32, "cuda:1")
    weight, clips, output = seen[0]
    assert (str(clips.device), output.dtype) == ("cuda:1", dtype)
    for laid_out in (weight, clips):
        assert laid_out.is_contiguous(memory_format=torch.channels_last_3d)
    assert (runtime.card().runtime, runtime.card().precision) == ("torch cuda", said)


@pytest.mark.usefixtures("fake_cuda")
def test_clips_keep_their_memory_format_on_the_way_to_cuda() -> None:
    runtime, seen = on_cuda()
    clips = torch.zeros(2, *SHAPE, 3).permute(0, 4, 1, 2, 3)
    assert runtime.clips(clips).shape == (2, 5)
    assert seen[0][1].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.usefixtures("fake_cuda")
def test_float32_on_cuda_is_not_tensorfloat(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, _ = on_cuda(precision="f32")
    seen: list[str] = []
    runtime.net.body.register_forward_hook(
        lambda *_: seen.append(torch.backends.cudnn.conv.fp32_precision)
    )
    runtime.frames(torch.zeros(1, *SHAPE, 3, dtype=torch.uint8))
    assert seen == ["ieee"]


def test_the_switch_for_tensorfloat_is_put_back() -> None:
    rooms = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [room.fp32_precision for room in rooms]
    with exact():
        assert [room.fp32_precision for room in rooms] == ["ieee", "ieee"]
    assert [room.fp32_precision for room in rooms] == before


# torch.compile


@pytest.mark.usefixtures("fake_cuda")
def test_the_network_is_compiled_if_asked_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    shapes: list[tuple[int, ...]] = []

    def compiler(net: nn.Module, **options: Any) -> Any:
        asked.append(options)

        def run(clips: Tensor) -> Tensor:
            shapes.append(tuple(clips.shape))
            return net(clips)

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(torch_runtime, "find_spec", lambda name: name)
    runtime, _ = on_cuda(compiled=True)
    assert (asked, shapes) == ([{"dynamic": False}], [(1, 3, *SHAPE)])
    assert runtime.frames(torch.zeros(2, *SHAPE, 3, dtype=torch.uint8)).shape == (2, 5)
    assert len(shapes) == 2
    assert runtime.warnings == ()


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize("why", ["triton is not installed", "no C compiler"])
def test_what_cannot_be_compiled_runs_and_says_so(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"{why}\nand a long story")

    monkeypatch.setattr(torch, "compile", fail)
    found = None if "triton" in why else "there"
    monkeypatch.setattr(torch_runtime, "find_spec", lambda _: found)
    runtime, _ = on_cuda(compiled=True)
    assert runtime.warnings == (f"r3d_hara_10: runs uncompiled: {why}",)
    assert runtime.frames(torch.zeros(1, *SHAPE, 3, dtype=torch.uint8)).shape == (1, 5)


def test_compiling_is_for_cuda_and_torch() -> None:
    with pytest.raises(ModelError, match=r"torch\.compile is for CUDA here"):
        compile(network(), device="cpu", compiled=True)
    with pytest.raises(ModelError, match="compiled is for torch"):
        compile(network(), runtime="openvino", compiled=True)
