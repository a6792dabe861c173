"""Events as ActivityNet's result file, which its evaluation and those of its kin read.

activitynet/ActivityNet, Evaluation/eval_detection.py: `results` maps the id of a video to its
detections, `segment` in seconds from the first frame on. The id is the name of the file without its
suffix; a file named as ActivityNet's downloads are, `v_` and the eleven characters of an id, goes
by those. A second video of one name goes by its path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, TextIO

from marey.types import Report

_DOWNLOAD = re.compile(r"v_([\w-]{11})")


def write_activitynet(reports: Iterable[Report], file: TextIO) -> None:
    names: set[str] = set()
    file.write('{"version": "VERSION 1.3", "results": {')
    for report in reports:
        name = video_id(report.video.path)
        name = report.video.path if name in names else name
        file.write(",\n" if names else "\n")
        file.write(f"{_json(name)}: {_json(detections(report))}")
        names.add(name)
    file.write('\n}, "external_data": {}}\n')


def video_id(path: str) -> str:
    """The name under which ActivityNet would know a file."""
    stem = PurePath(path).stem
    download = _DOWNLOAD.fullmatch(stem)
    return download[1] if download else stem


def detections(report: Report) -> list[dict[str, Any]]:
    """The events as ActivityNet writes them."""
    zero = report.video.start
    return [
        {
            "label": event.label,
            "segment": [event.start - zero, event.end - zero],
            "score": event.score,
        }
        for event in report.events
    ]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
