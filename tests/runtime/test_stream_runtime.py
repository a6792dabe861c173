"""Networks frame by frame, compiled: a stream is its clip, whatever computes it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stream_nets import KINDS, LABELS, SIZE, network

import marey.runtime._openvino as engine
from marey.errors import ModelError
from marey.models._create import create_model
from marey.models._stream import streaming
from marey.nn.clip import normalise
from marey.runtime.live import compile_stream
from marey.runtime.openvino import RefusedError, difference
from marey.runtime.stream import State, StreamRuntime
from marey.tasks._live_score import Stepping, Stream
from marey.types import Clip, Window

ENGINES = {"openvino": "openvino cpu", "torch": "torch cpu"}


@pytest.fixture(scope="module", params=[(kind, how) for kind in KINDS for how in ENGINES])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, StreamRuntime]]:
    """A kind of network, and one of that kind made ready."""
    kind, how = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAREY_CACHE", str(tmp_path_factory.mktemp("cache")))
        live = compile_stream(network(kind), runtime=how, precision="f32", threads=1)
        assert (live.card().runtime, live.card().precision) == (ENGINES[how], "float32")
        assert live.card().difference is None or live.card().difference < 1e-5
        yield kind, live


itself = cache(network)


def frames(streams: int, count: int, seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """Patches whose colours change from frame to frame."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (streams, count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(size // 4, 2).repeat(size // 4, 3)


def stepped(live: StreamRuntime, given: NDArray[np.uint8], cuts: list[int]) -> NDArray[np.float32]:
    state: State | None = None
    found = []
    for part in np.split(given, np.cumsum(cuts)[:-1], axis=1):
        logits, state = live.step(part, state)
        assert (logits.dtype, logits.shape) == (np.float32, (len(given), part.shape[1], 3))
        found.append(logits)
    return np.concatenate(found, 1)


def far(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return difference(torch.from_numpy(found), torch.from_numpy(expected))


@settings(max_examples=8)
@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_however_it_is_cut_it_answers_as_to_the_whole_clip(
    case: tuple[str, StreamRuntime], cuts: list[int]
) -> None:
    kind, live = case
    net, clip = itself(kind), frames(1, sum(cuts), len(cuts))
    with torch.inference_mode():
        expected = net(normalise(torch.from_numpy(clip), net.input)).numpy()
    logits = stepped(live, clip, cuts)
    found = logits.mean(1) if live.answer == "mean" else logits[:, -1]
    assert far(found, expected) < 1e-5


def test_a_batch_is_its_members(case: tuple[str, StreamRuntime]) -> None:
    _, live = case
    three = frames(3, 5)
    together = stepped(live, three, [2, 3])
    for n in range(3):
        assert far(together[n : n + 1], stepped(live, three[n : n + 1], [2, 3])) < 1e-5


def test_sources_in_turns_are_as_each_alone(case: tuple[str, StreamRuntime]) -> None:
    _, live = case
    sources = [frames(1, 6, seed) for seed in (1, 2)]
    states: list[State | None] = [None, None]
    found: list[list[NDArray[np.float32]]] = [[], []]
    for k in range(6):
        for source in (0, 1):
            given = sources[source][:, k : k + 1]
            logits, states[source] = live.step(given, states[source])
            found[source].append(logits)
    for source, given in enumerate(sources):
        assert far(np.concatenate(found[source], 1), stepped(live, given, [6])) < 1e-5


def test_states_join_and_part_as_the_streams_do(case: tuple[str, StreamRuntime]) -> None:
    _, live = case
    one, two = frames(1, 3, 1), frames(1, 3, 2)
    _, young = live.step(one[:, :1])
    _, old = live.step(two[:, :2])
    join = torch.cat if any(isinstance(part, torch.Tensor) for part in young) else np.concatenate
    both = tuple(join(pair) for pair in zip(young, old, strict=True))  # type: ignore[operator]
    found, _ = live.step(np.concatenate([one[:, 1:2], two[:, 2:]]), both)
    expected = [live.step(one[:, 1:2], young)[0], live.step(two[:, 2:], old)[0]]
    assert far(found, np.concatenate(expected)) < 1e-5


def test_a_state_is_a_value(case: tuple[str, StreamRuntime]) -> None:
    _, live = case
    clip = frames(1, 4)
    first, state = live.step(clip[:, :2])
    kept = deepcopy(state)
    expected, _ = live.step(clip[:, 2:], state)
    live.step(255 - clip, state)
    assert all((a == b).all() for a, b in zip(kept, state, strict=True))
    assert np.array_equal(live.step(clip[:, 2:], state)[0], expected)
    assert np.array_equal(live.step(clip[:, :2])[0], first)


def test_it_is_what_watch_wants_and_says_what_it_is(case: tuple[str, StreamRuntime]) -> None:
    kind, live = case
    net = itself(kind)
    assert isinstance(live, Stepping)
    assert (live.labels, live.input, live.multilabel) == (LABELS, net.input, False)
    eager = streaming(net)
    assert (live.answer, live.forgets) == (eager.answer, eager.forgets)
    assert live.warnings == ()


def test_what_does_not_fit_is_refused(case: tuple[str, StreamRuntime]) -> None:
    _, live = case
    for wrong in (
        frames(1, 2)[0],
        frames(1, 2, size=32),
        frames(1, 2).astype(np.int64),
    ):
        with pytest.raises(ModelError, match=r"takes frames, uint8 N x t x 64 x 64 x 3; got"):
            live.step(wrong)
    with pytest.raises(ModelError, match="takes some frames"):
        live.step(frames(1, 2)[:, :0])
    _, state = live.step(frames(1, 1))
    if state:
        with pytest.raises(ModelError, match="a state does not fit"):
            live.step(frames(2, 1), state)


@pytest.mark.parametrize("kind", ["shift", "lstm"])
@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=pytest.mark.slow)])
def test_for_hours_states_and_memory_stay_as_they_are(kind: str, count: int) -> None:
    live = compile_stream(network(kind, size=32), precision="f32", threads=1)
    scorer = Stream(live, step=0.2)
    clips = [frames(1, 1, seed, size=32)[0] for seed in range(50)]
    shapes, sizes = [], []
    tracemalloc.start()
    try:
        for k in range(count):
            window = Window(k * 0.2, k * 0.2 + 0.2)
            (scores,) = scorer.score({0: [Clip(window, clips[k % 50], ())]})[0]
            assert np.isfinite(scores.p).all()
            if k + 1 in (count // 2, count):
                states = scorer._memories[0]._states
                shapes.append([[part.shape for part in state] for state in states])
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == (1 if live.forgets else 2)
    assert sizes[1] - sizes[0] < 20_000  # bytes


def test_what_cannot_stream_says_why() -> None:
    for how in ("auto", "openvino", "torch"):
        with pytest.raises(ModelError, match="r3d_hara_10: cannot run as a stream: it keeps"):
            compile_stream(create_model("r3d_hara_10", classes=2), runtime=how)
    with pytest.raises(ModelError, match="ONNX Runtime runs the steps of files only"):
        compile_stream(network("none"), runtime="onnx")
    with pytest.raises(ModelError, match="no runtime is called 'tensorrt'"):
        compile_stream(network("none"), runtime="tensorrt")
    with pytest.raises(ModelError, match="a step is not quantised"):
        compile_stream(network("none"), precision="int8")


def test_what_openvino_refuses_runs_in_torch_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setenv("MAREY_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.export, "export", fail)
    live = compile_stream(network("shift"))
    assert live.card().runtime == "torch cpu"
    (said,) = live.warnings
    assert "runs in torch, slower: OpenVINO cannot take it (no such operation)" in said
    with pytest.raises(RefusedError):
        compile_stream(network("shift"), runtime="openvino")


def test_answers_too_far_from_the_networks_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a state that is lost between two steps makes them, though the first one is right."""
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path))
    whole = engine.Request.all

    def forgetful(self: engine.Request, *given: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        logits, *state = whole(self, *given)
        return [logits, *map(np.zeros_like, state)]

    monkeypatch.setattr(engine.Request, "all", forgetful)
    live = compile_stream(network("lstm"), precision="auto")
    assert live.card().runtime == "torch cpu"
    assert "differ from the network's" in live.warnings[0]
