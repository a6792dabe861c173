"""Convolutional video understanding: a video in, labels, events and tracks out.

The public names are loaded at first use (PEP 562), so that `import marey` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "classify": "marey.tasks.classify",
    "classify_all": "marey.tasks.many",
    "features": "marey.tasks.features",
    "detect": "marey.tasks.detect",
    "track": "marey.tasks.track",
    "analyze": "marey.tasks.analyze",
    "watch": "marey.tasks.watch",
    "SaveClips": "marey.tasks.watch",
    "check": "marey.tasks.check",
    "timed": "marey.models.timed",
    "Rule": "marey.models._rule",
    "streaming": "marey.models._stream",
    "create_model": "marey.models._create",
    "list_models": "marey.models._registry",
    "model_info": "marey.models._info",
    "compile": "marey.runtime",
    "compile_stream": "marey.runtime.live",
    "stage_features": "marey.models._features",
    "freeze": "marey.models._net",
    "replace_head": "marey.models._net",
    "open_video": "marey.video.read",
    "Limits": "marey.video.read",
    "windows": "marey.video.windows",
    "write": "marey.outputs",
    "Manifest": "marey.data.manifest",
    "Recipe": "marey.training.recipe",
    "train": "marey.training.loop",
    "evaluate": "marey.training.evaluate",
    "train_actions": "marey.training.actions",
    "train_detector": "marey.training.detector",
    "evaluate_detector": "marey.training.detector",
    "evaluate_tracks": "marey.training.track_metrics",
    "evaluate_tubes": "marey.training.tube_metrics",
    "TemporalRecipe": "marey.training.temporal_recipe",
    "export": "marey.export",
    "bench": "marey.benchmark.run",
    "Net": "marey.models._net",
    "Event": "marey.types",
    "Input": "marey.types",
    "Report": "marey.types",
    "Track": "marey.types",
    "Video": "marey.types",
    "MareyError": "marey.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'marey' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from marey.benchmark.run import bench
    from marey.data.manifest import Manifest
    from marey.errors import MareyError
    from marey.export import export
    from marey.models._create import create_model
    from marey.models._features import stage_features
    from marey.models._info import model_info
    from marey.models._net import Net, freeze, replace_head
    from marey.models._registry import list_models
    from marey.models._rule import Rule
    from marey.models._stream import streaming
    from marey.models.timed import timed
    from marey.outputs import write
    from marey.runtime import compile
    from marey.runtime.live import compile_stream
    from marey.tasks.analyze import analyze
    from marey.tasks.check import check
    from marey.tasks.classify import classify
    from marey.tasks.detect import detect
    from marey.tasks.features import features
    from marey.tasks.many import classify_all
    from marey.tasks.track import track
    from marey.tasks.watch import SaveClips, watch
    from marey.training.actions import train_actions
    from marey.training.detector import evaluate_detector, train_detector
    from marey.training.evaluate import evaluate
    from marey.training.loop import train
    from marey.training.recipe import Recipe
    from marey.training.temporal_recipe import TemporalRecipe
    from marey.training.track_metrics import evaluate_tracks
    from marey.training.tube_metrics import evaluate_tubes
    from marey.types import Event, Input, Report, Track, Video
    from marey.video.read import Limits, open_video
    from marey.video.windows import windows
