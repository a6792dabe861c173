"""Labelled samples as people keep them on disk: a folder for each class, or a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from marey.errors import DataError
from marey.video.read import find_videos

SPLITS = ("train", "val", "test")
COLUMNS = ("video", "start", "end", "label", "split", "group")
_REQUIRED = ("video", "label")
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled span of a video, `start <= t < end` in seconds; None means the video's own edge.

    `split` is "train", "val" or "test" where the data say so. Samples of one `group` (a scene, a
    person, a source video) belong on the same side of any split.
    """

    video: Path
    label: str
    start: float | None = None
    end: float | None = None
    split: str | None = None
    group: str | None = None


def read_samples(path: Path) -> list[Sample]:
    """The samples of a folder or a CSV file; DataError names what cannot be used and where."""
    if path.is_dir():
        return read_folder(path)
    if path.is_file():
        return read_csv(path)
    raise DataError("no such folder or file", where=path, do="Give a folder of classes or a CSV.")


def read_folder(root: Path) -> list[Sample]:
    """Samples of `root/label/*.mp4`, or of `root/{train,val,test}/label/*.mp4`."""
    folders = _folders(root)
    if not folders:
        raise DataError(
            "the folder holds no class folders",
            where=root,
            do="Put the videos of each class into a folder named like it: clips/jump/1.mp4.",
        )
    if "train" in {folder.name for folder in folders}:
        strangers = [folder.name for folder in folders if folder.name not in SPLITS]
        if strangers:
            raise DataError(
                f"beside train there are {listed(strangers)}",
                where=root,
                do=f"Keep class folders inside {', '.join(SPLITS)}, and only these here.",
            )
        return [sample for split in folders for sample in _classes(_folders(split), split.name)]
    return list(_classes(folders, None))


def _classes(folders: list[Path], split: str | None) -> Iterator[Sample]:
    for folder in folders:
        for video in find_videos(folder):
            yield Sample(video, folder.name, split=split)


def _folders(root: Path) -> list[Path]:
    return sorted(
        entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def read_csv(path: Path) -> list[Sample]:
    """Samples of a table `video,start,end,label,split,group`; only video and label are required.

    Video paths are relative to the table. Empty cells mean: not stated.
    """
    samples = list(_rows(table_rows(path, _REQUIRED), path))
    _refuse_missing(samples, path)
    return samples


def table_rows(
    path: Path, required: Sequence[str], columns: Sequence[str] = COLUMNS
) -> list[tuple[int, dict[str, str]]]:
    """Every row of a CSV table with its line number; DataError if it lacks `required` columns.

    It may have no others than `columns`. A row of fewer cells than the header has None for
    what is missing, one of more has the key None.
    """
    try:
        # utf-8-sig: spreadsheet programs put a byte order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, strict=True)
            _check_columns(table.fieldnames or (), required, columns, path)
            rows = [(table.line_num, row) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"is not a CSV table in UTF-8 ({error})", where=path, do="Save it as CSV, UTF-8."
        ) from error
    if not rows:
        raise DataError("the table has no rows", where=path, do=f"Columns: {','.join(columns)}.")
    return rows


def _check_columns(
    names: Sequence[str], required: Sequence[str], columns: Sequence[str], path: Path
) -> None:
    absent = [name for name in required if name not in names]
    unknown = [name for name in names if name not in columns]
    if absent or unknown:
        what = f"lacks column {absent[0]!r}" if absent else f"has an unknown column {unknown[0]!r}"
        raise DataError(
            f"the table {what}", where=f"{path}:1", do=f"Columns are {','.join(columns)}."
        )


def _rows(rows: list[tuple[int, dict[str, str]]], path: Path) -> Iterator[Sample]:
    seen: dict[tuple[Path, float | None, float | None], int] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        sample = _sample(row, path.parent, where)
        first = seen.setdefault((sample.video, sample.start, sample.end), number)
        if first != number:
            raise DataError(
                f"the same span of {sample.video.name} stands in line {first} already",
                where=where,
                do="Keep one of the two; a sample has one label and one split.",
            )
        yield sample


def _sample(row: dict[str, str], folder: Path, where: str) -> Sample:
    if None in row or None in row.values():
        raise DataError(
            "the row has more or fewer cells than the header",
            where=where,
            do="Quote cells that hold a comma.",
        )
    cells = {name: cell.strip() for name, cell in row.items()}
    for name in _REQUIRED:
        if not cells[name]:
            raise DataError(f"the row has no {name}", where=where, do=f"Fill in {name}.")
    split = cells.get("split") or None
    if split is not None and split not in SPLITS:
        raise DataError(
            f"unknown split {split!r}", where=where, do=f"Choose from {', '.join(SPLITS)}."
        )
    start, end = (_seconds(cells.get(name, ""), name, where) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise DataError(
            f"the span {start or 0.0:g} to {end:g} s is empty",
            where=where,
            do="Make end greater than start, in seconds.",
        )
    return Sample(
        folder / cells["video"], cells["label"], start, end, split, cells.get("group") or None
    )


def _seconds(cell: str, name: str, where: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise DataError(f"{name} is {cell!r}", where=where, do="Give seconds, such as 12.5.")
    return value


def _refuse_missing(samples: list[Sample], path: Path) -> None:
    missing = sorted({str(s.video) for s in samples if not s.video.is_file()})
    if missing:
        videos = len({s.video for s in samples})
        raise DataError(
            f"{len(missing)} of {videos} videos are missing: {listed(missing)}",
            where=path,
            do="Paths are relative to the table. Mend them, or remove their rows.",
        )


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def write_csv(samples: Iterable[Sample], path: Path) -> None:
    """Write the table that `read_csv` reads, with absolute video paths."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for sample in samples:
            row = {name: getattr(sample, name) for name in COLUMNS}
            table.writerow(row | {"video": sample.video.resolve()})
