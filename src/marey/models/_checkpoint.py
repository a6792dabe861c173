"""A network on disk: a folder with `model.safetensors` and `config.json`.

The configuration says what the tensors alone do not: which network and options, the labels in
order, how a clip is prepared, and under what terms. Nothing in it is code, and nothing in it is
guessed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from marey.errors import ModelError, WeightsError
from marey.files import make_folder, sha256, whole_file
from marey.models._net import Net, check_labels
from marey.types import HEAD, Input

FORMAT = "marey.checkpoint/1"
STATE = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `config.json` says. `extra` is the maker's own: recipe, data hash, results."""

    model: str
    options: Mapping[str, Any]
    classes: int
    labels: tuple[str, ...] | None
    input: Input
    licence: str | None
    multilabel: bool
    sha256: str
    extra: Mapping[str, Any]


def save_checkpoint(
    net: Net,
    folder: str | os.PathLike[str],
    *,
    extra: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write `net` to `folder`; each file whole or not at all.

    `half` stores the weights of convolutions and linear layers in float16, half the size; norms and
    biases, whose range is wide and whose size is nothing, stay as they are.
    """
    folder = make_folder(folder)
    with whole_file(folder / STATE) as path:
        save_file(_entries(net, half=half), path)
        digest = sha256(path)
    config = {
        "format": FORMAT,
        "model": net.architecture,
        "options": net.options,
        "classes": net.classes,
        "labels": net.labels,
        "input": net.input.to_dict(),
        "licence": net.licence,
        "multilabel": net.multilabel,
        "marey": version("marey"),
        "sha256": digest,
        "extra": dict(extra or {}),
    }
    with whole_file(folder / CONFIG) as path:
        path.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _entries(net: Net, *, half: bool) -> dict[str, Tensor]:
    entries = {}
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if half and value.ndim > 1 and value.is_floating_point():
            value = value.half()
        entries[name] = value.detach().cpu().contiguous()
    return entries


def read_config(folder: Path) -> Checkpoint:
    """What is written in `folder/config.json`; WeightsError if it is missing or damaged."""
    path = folder / CONFIG
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(
            f"is not a checkpoint folder: no readable {CONFIG} ({error.strerror or error})",
            where=folder,
            do=f"A checkpoint folder holds {STATE} and {CONFIG}.",
        ) from error
    except ValueError as error:
        raise WeightsError(f"is not JSON ({error})", where=path, do=_AGAIN) from error
    try:
        if data["format"] == HEAD:
            raise WeightsError(
                "holds a temporal head, which gives events, not a network of its own",
                where=folder,
                do=f"Find events by it: marey detect VIDEO -m {folder}",
            )
        if data["format"] != FORMAT:
            raise WeightsError(
                f"is of format {data['format']!r}, this version reads {FORMAT!r}",
                where=path,
                do="Update marey.",
            )
        labels = None if data["labels"] is None else check_labels(data["labels"])
        if labels is not None and len(labels) != data["classes"]:
            raise ModelError(f"{data['classes']} classes, but {len(labels)} labels")
        return Checkpoint(
            model=data["model"],
            options=dict(data["options"]),
            classes=int(data["classes"]),
            labels=labels,
            input=Input.from_dict(data["input"]),
            licence=data["licence"],
            multilabel=bool(data.get("multilabel", False)),  # not in files of before 0.1
            sha256=data["sha256"],
            extra=dict(data["extra"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ModelError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise WeightsError(
            f"does not describe a checkpoint: {what}", where=path, do=_AGAIN
        ) from error


def verify_state(folder: Path, config: Checkpoint) -> Path:
    """The path of the tensors that belong to `config`; WeightsError if they are other ones."""
    path = folder / STATE
    if not path.is_file():
        raise WeightsError(f"is not a checkpoint folder: no {STATE}", where=folder, do=_AGAIN)
    if sha256(path) != config.sha256:
        raise WeightsError(
            f"is damaged, or not the file that {CONFIG} describes", where=path, do=_AGAIN
        )
    return path


_AGAIN = "Copy the whole folder again, or save it anew."
