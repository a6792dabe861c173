"""Published weights: where they come from, and how they get into a network, strictly."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from marey.errors import WeightsError
from marey.files import Stamp
from marey.models._net import Net
from marey.types import Input

OWN_LAYOUT = "marey"
_SNAPSHOTS = ("state_dict", "model_state")  # where trainings keep the state beside all else
_WRAPPED = "module."
_NEW_HEAD = re.compile(r"head\.(?!frame\.)")  # `frame` is the end of an image network


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights that somebody published, and what must be said of them.

    `source` is `https://…`, `hf:owner/repo/file@revision`, `file:///…`, or `package:module/path`
    (a file inside an installed package). `sha256` is the published hash or as much of it as is
    published; None pins the first download. `layout` names the naming habit of the file: the
    family converts it; with `marey` the file is the `model.safetensors` of a checkpoint folder on
    this machine (`package:` or `file:`), whose `config.json` then gives labels, options and input.
    `classes`, `input` and `options` default to the network's own. `multilabel`: the classes do not
    exclude each other.
    """

    source: str
    licence: str
    layout: str
    sha256: str | None = None
    labels: Callable[[], tuple[str, ...]] | None = None
    classes: int | None = None
    input: Input | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    multilabel: bool = False
    top1: float | None = None
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What loading did: where the values came from, and which are not from there.

    `fresh` entries started anew because the file has none: a new head, or layers that change
    nothing until trained. `dropped` ones stood in the file and were not wanted: the head of other
    classes. `untaught` is the rule for time that the weights, an image network's, know nothing of.
    `files` are those that were read, as they were just before.
    """

    source: str
    layout: str
    loaded: int
    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    new_head: bool = False
    pinned: str | None = None
    untaught: str = ""
    files: tuple[Stamp, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person who asked only for results must still be told."""
        found = []
        if self.new_head:
            found.append(
                f"{self.source}: the head is new and untrained; its labels mean nothing yet"
            )
        if self.untaught:
            found.append(
                f"{self.source}: these are an image network's weights; what the rule "
                f"{self.untaught!r} has put into it is untrained"
            )
        if self.pinned:
            found.append(
                f"{self.source}: no hash is published; this download is pinned as {self.pinned}"
            )
        return tuple(found)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a `.safetensors` file, or in a pickle of tensors.

    A training's snapshot is read too: the state under `state_dict` or `model_state`, without the
    `module.` that DataParallel puts before every name. No class is made and no code run for what
    else it holds; a pickle that would need that is refused.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # A cut or foreign file fails inside zip, pickle or torch, each with errors of its own.
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(
            f"not a readable weights file ({_first_line(error)})",
            where=path,
            do="Delete it if it was downloaded, and run again; marey reads safetensors, and "
            "pickles of tensors only.",
        ) from error
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror or error})", where=path) from error
    state = _unwrapped(state)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError("holds something else than a dictionary of tensors", where=path)
    if state and all(name.startswith(_WRAPPED) for name in state):
        state = {name.removeprefix(_WRAPPED): value for name, value in state.items()}
    return state


def _unwrapped(state: Any) -> Any:
    """The state inside a snapshot; anything else as it is."""
    if isinstance(state, dict):
        for key in _SNAPSHOTS:
            if isinstance(state.get(key), dict):
                return state[key]
    return state


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def load_state(
    net: Net,
    state: Mapping[str, Tensor],
    *,
    source: str,
    layout: str = OWN_LAYOUT,
    new_head: bool = False,
    pinned: str | None = None,
    files: tuple[Stamp, ...] = (),
) -> LoadReport:
    """Put `state` into `net`, every entry of both accounted for; WeightsError if one is not.

    With `new_head` the last layers keep their fresh values and the file's are dropped. Counters of
    norm updates are ignored: nothing reads them.
    """
    given = dict(state) if layout == OWN_LAYOUT else net.convert(state, layout)
    given = {name: value for name, value in given.items() if not _counter(name)}
    own = {name: value for name, value in net.state_dict().items() if not _counter(name)}
    fresh = net.fresh(layout)
    dropped = [name for name in given if new_head and _NEW_HEAD.match(name)]
    for name in dropped:
        del given[name]
    missing = [name for name in own if name not in given]
    started = [name for name in missing if name in fresh or (new_head and _NEW_HEAD.match(name))]
    absent = sorted(set(missing) - set(started))
    unknown = [name for name in given if name not in own]
    shapes = [
        f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
        for name in given
        if name in own and given[name].shape != own[name].shape
    ]
    if absent or unknown or shapes:
        raise _misfit(net, state, source, missing=absent, unknown=unknown, shapes=shapes)
    net.load_state_dict(given, strict=False)  # strictness is above; this only lacks the counters
    return LoadReport(
        source=source,
        layout=layout,
        loaded=len(given),
        fresh=tuple(started),
        dropped=tuple(dropped),
        new_head=new_head,
        pinned=pinned,
        untaught=net.untaught(layout),
        files=files,
    )


def renamed(state: Mapping[str, Tensor], fragments: Mapping[str, str]) -> dict[str, Tensor]:
    """`state` with every published fragment of its names replaced by ours, in that order."""
    return {_replaced(name, fragments): value for name, value in state.items()}


def rewritten(name: str, patterns: Iterable[tuple[str, Any]]) -> str:
    """A published name as ours, by what `re.sub` takes, one after the other."""
    for pattern, ours in patterns:
        name = re.sub(pattern, ours, name)
    return name


def _replaced(name: str, fragments: Mapping[str, str]) -> str:
    for theirs, ours in fragments.items():
        name = name.replace(theirs, ours)
    return name


def _counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _misfit(net: Net, state: Iterable[str], source: str, **differences: list[str]) -> WeightsError:
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for kind, names in differences.items()
        if names
    ]
    do = "Give the model and options that these weights were saved from."
    if all("head." in name.split(" ")[0] for names in differences.values() for name in names):
        do = "They are of another head: give `classes` to start a new one."
    return WeightsError(
        f"does not fit {net.architecture}: {'; '.join(parts)}; its names look like {guess(state)}",
        where=source,
        do=do,
    )


_LAYOUTS = {
    "marey": r"^(body|head)\.",
    "a network wrapped in DataParallel": r"^module\.",
    "mmaction2": r"^(backbone|cls_head)\.",
    "pytorchvideo": r"^(model\.)?blocks\.\d+\.(multipathway|res_blocks|proj|conv\.)",
    "PySlowFast": r"^s1\.pathway",
    "torchvision's video networks": r"^(stem\.0|layer1\.0\.conv1\.0)\.",
    "torchvision's image networks, or kenshohara's 3D-ResNets": r"^layer1\.0\.conv1\.weight",
    "MIT's TSM and TSN": r"^base_model\.",
    "IBM's bLVNet": r"^baseline_model\.",
    "piergiaj's I3D": r"^Conv3d_1a_7x7\.",
    "hassony2's I3D": r"^conv3d_1a_7x7\.",
    "kylemin's S3D": r"^base\.\d+\.",
    "torchvision's S3D, or an Efficient 3D CNN": r"^features\.\d+\.",
    "Atze00's MoViNet": r"^blocks\.b\d+_l\d+\.",
    "lukemelas' EfficientNet": r"^_conv_stem\.",
    "timm's EfficientNet": r"^conv_stem\.",
    "TransNet V2's PyTorch port": r"^SDDCNN\.",
}


def guess(names: Iterable[str]) -> str:
    """Whose naming habit these entries follow, for error messages."""
    names = list(names)
    for layout, pattern in _LAYOUTS.items():
        if any(re.match(pattern, name) for name in names):
            return layout
    return "none that marey knows"
