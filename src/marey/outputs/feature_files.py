"""Features in files: `.npz`, which holds one video or several, and Parquet, a row a window."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np

from marey.errors import DataError
from marey.files import Stamp, whole_file
from marey.outputs.parquet import require_pyarrow
from marey.types import ModelCard, Video, VideoFeatures

FORMAT = "marey.features/1"


class Stored(NamedTuple):
    """What a `.npz` of one video holds, and the video's file as it was."""

    features: VideoFeatures
    source: Stamp


def write_features(found: VideoFeatures, source: Stamp, path: Path) -> None:
    """Write a `.npz` of one video, whole or not at all.

    Arrays: `start` N and `end` N in seconds, `values` N D float32, and single ones: `stride` in
    seconds, `network` (the hash), `video` (the path), `about` (JSON: all the rest).
    """
    about = {
        "format": FORMAT,
        "video": found.video.to_dict(),
        "model": asdict(found.model),
        "warnings": list(found.warnings),
        "source": source,
    }
    start, end = found.spans.T
    with whole_file(path) as temporary:
        np.savez(
            temporary,
            start=start,
            end=end,
            values=found.values,
            stride=np.float64(found.stride),
            network=np.str_(found.model.network),
            video=np.str_(found.video.path),
            about=np.str_(json.dumps(about)),
        )


def read_features(path: Path) -> Stored:
    """What `write_features` wrote; DataError for what is not there, damaged, or something else."""
    try:
        # Opened here, as numpy leaves open what is no zip.
        with path.open("rb") as file, np.load(file) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
            spans = np.stack((arrays["start"], arrays["end"]), 1)
            values, stride = arrays["values"], float(arrays["stride"])
        if values.ndim != 2 or not 0 < len(values) == len(spans):
            raise ValueError(f"{len(spans)} windows, values of shape {values.shape}")
        found = VideoFeatures(
            Video.from_dict(about["video"]),
            ModelCard.from_dict(about["model"]),
            stride,
            spans,
            values,
            tuple(about["warnings"]),
        )
        return Stored(found, Stamp(*about["source"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(
            f"holds no features ({type(error).__name__}: {error})",
            where=path,
            do="Write it anew by `marey features`.",
        ) from error


def join_npz(parts: Sequence[Path], path: Path) -> None:
    """Join `.npz` of one video each; in one of several, names begin with the video's number, `0/`.

    Arrays are copied as they are: none is held.
    """
    with whole_file(path) as temporary, ZipFile(temporary, "w") as joined:
        for number, part in enumerate(parts):
            prefix = f"{number}/" if len(parts) > 1 else ""
            with ZipFile(part) as given:
                for name in given.namelist():
                    with (
                        given.open(name) as array,
                        joined.open(prefix + name, "w", force_zip64=True) as copy,
                    ):
                        shutil.copyfileobj(array, copy)


def join_parquet(parts: Sequence[Path], path: Path) -> None:
    """A row a window: video, start, end, stride, network, and values, a list of D float32.

    A row group a video, so that one at a time is held.
    """
    require_pyarrow()
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    length = read_features(parts[0]).features.values.shape[1]
    values = pa.list_(pa.float32(), length)
    schema = pa.schema(
        [
            ("video", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("stride", pa.float64()),
            ("network", pa.string()),
            ("values", values),
        ]
    )
    with whole_file(path) as temporary, ParquetWriter(temporary, schema) as writer:
        for part in parts:
            found = read_features(part).features
            count = len(found.values)
            columns = [
                pa.array([found.video.path] * count),
                *map(pa.array, found.spans.T),
                pa.array([found.stride] * count, pa.float64()),
                pa.array([found.model.network] * count, pa.string()),
                pa.FixedSizeListArray.from_arrays(pa.array(found.values.ravel()), length),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


JOINS = {".npz": join_npz, ".parquet": join_parquet}
"""What joins files of one video each into one of all, by its suffix."""
