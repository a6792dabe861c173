from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.data.formats import Sample
from marey.data.manifest import Manifest
from marey.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return root


def table(folder: Path, text: str) -> Path:
    path = folder / "clips.csv"
    path.write_text(text)
    return path


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "walk/b.mp4", "walk/a.mkv", "run/c.mp4", "run/notes.txt", ".git/x.mp4")
    manifest = Manifest.read(tmp_path)
    assert manifest.labels == ("run", "walk")
    assert [(s.video.name, s.label, s.split) for s in manifest.samples] == [
        ("c.mp4", "run", None),
        ("a.mkv", "walk", None),
        ("b.mp4", "walk", None),
    ]
    assert manifest.targets == (0, 1, 1)
    assert manifest.splits == ()


def test_split_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/walk/a.mp4", "train/run/b.mp4", "test/run/c.mp4")
    manifest = Manifest.read(tmp_path)
    assert manifest.splits == ("train", "test")
    test = manifest.split("test")
    # Labels are those of all the data: a class number means the same in every split.
    assert test.labels == ("run", "walk")
    assert [s.video.name for s in test.samples] == ["c.mp4"]
    with pytest.raises(DataError, match="no sample is of split 'val'"):
        manifest.split("val")


def test_csv(tmp_path: Path) -> None:
    touch(tmp_path, "v/a.mp4", "b.mp4")
    # With a byte order mark, as spreadsheet programs write it.
    path = table(
        tmp_path,
        "\ufeffvideo,start,end,label,split\nv/a.mp4,1.5,2,run,train\nv/a.mp4,,1.5,walk,\nb.mp4,,,run,val\n",
    )
    assert Manifest.read(path).samples == (
        Sample(tmp_path / "v/a.mp4", "run", 1.5, 2.0, "train"),
        Sample(tmp_path / "v/a.mp4", "walk", None, 1.5, None),
        Sample(tmp_path / "b.mp4", "run", None, None, "val"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,start\na.mp4,1\n", r"clips.csv:1: the table lacks column 'label'"),
        ("video,label,begin\na.mp4,x,1\n", r"clips.csv:1: .* unknown column 'begin'"),
        ("video,label\n", "the table has no rows"),
        ("video,label\na.mp4,x\na.mp4,y\n", r"clips.csv:3: the same span of a.mp4 .* line 2"),
        ("video,label\na.mp4,\n", r"clips.csv:2: the row has no label"),
        ("video,label\na.mp4\n", r"clips.csv:2: the row has more or fewer cells"),
        ("video,label\na.mp4,x,y\n", r"clips.csv:2: the row has more or fewer cells"),
        (
            "video,label,split\na.mp4,x,dev\n",
            r"clips.csv:2: unknown split 'dev'. Choose from train",
        ),
        ("video,label,start\na.mp4,x,soon\n", r"clips.csv:2: start is 'soon'. Give seconds"),
        ("video,label,start\na.mp4,x,-1\n", r"clips.csv:2: start is '-1'"),
        ("video,label,start\na.mp4,x,inf\n", r"clips.csv:2: start is 'inf'"),
        ("video,label,start,end\na.mp4,x,3,3\n", r"clips.csv:2: the span 3 to 3 s is empty"),
        (
            "video,label\na.mp4,x\nc.mp4,x\nd.mp4,y\n",
            r"2 of 3 videos are missing: .*c.mp4, .*d.mp4",
        ),
        ("video,label\na.mp4,x\nb.mp4,x\n", "one class only, 'x'"),
        ('video,label\n"a.mp4,x\n', "is not a CSV table"),
    ],
)
def test_bad_tables_say_where(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    with pytest.raises(DataError, match=message) as error:
        Manifest.read(table(tmp_path, text))
    assert error.value.do, "every error names the next step"


def test_missing_videos_are_counted_and_the_list_is_short(tmp_path: Path) -> None:
    rows = "".join(f"{k}.mp4,{k % 2}\n" for k in range(100))
    with pytest.raises(DataError, match=r"100 of 100 videos are missing.* and 95 more"):
        Manifest.read(table(tmp_path, "video,label\n" + rows))


def test_bytes_that_are_no_table(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="is not a CSV table in UTF-8"):
        Manifest.read(path)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        Manifest.read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no class folders"):
        Manifest.read(tmp_path)
    touch(tmp_path, "walk/a.mp4")
    with pytest.raises(DataError, match="one class only, 'walk'"):
        Manifest.read(tmp_path)
    touch(tmp_path, "run/readme.txt")
    with pytest.raises(DataError, match="run: holds no video"):
        Manifest.read(tmp_path)
    touch(tmp_path, "train/walk/a.mp4")
    with pytest.raises(DataError, match="beside train there are run, walk"):
        Manifest.read(tmp_path)


def manifest_of(counts: dict[str, int], groups: int = 0) -> Manifest:
    samples = [
        Sample(Path(f"/data/{label}/{k}.mp4"), label, group=f"g{k % groups}" if groups else None)
        for label, count in counts.items()
        for k in range(count)
    ]
    return Manifest(tuple(samples), tuple(sorted(counts)), Path("/data"))


@given(
    counts=st.lists(st.integers(5, 23), min_size=2, max_size=5),
    folds=st.integers(2, 5),
    seed=st.integers(0, 9),
)
def test_stratified_folds_part_the_samples_evenly(counts: list[int], folds: int, seed: int) -> None:
    manifest = manifest_of({f"class{k}": count for k, count in enumerate(counts)})
    parts = [manifest.stratified(folds, fold, seed).split("val") for fold in range(folds)]
    videos = [s.video for part in parts for s in part.samples]
    assert sorted(videos) == sorted(s.video for s in manifest.samples)
    for label in manifest.labels:
        shares = [Counter(s.label for s in part.samples)[label] for part in parts]
        assert max(shares) - min(shares) <= 1
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= len(counts)


def test_folds_depend_on_seed_and_not_on_the_order_or_place_of_rows(tmp_path: Path) -> None:
    manifest = manifest_of({"a": 30, "b": 20})
    backwards = manifest.with_samples(reversed(manifest.samples))

    def held(m: Manifest, seed: int) -> set[Path]:
        return {s.video for s in m.stratified(5, 0, seed).split("val").samples}

    assert held(manifest, 0) == held(backwards, 0)
    assert held(manifest, 0) != held(manifest, 1)


def test_groups_stay_together() -> None:
    manifest = manifest_of({"a": 40, "b": 40}, groups=10)
    for fold in range(5):
        split = manifest.stratified(5, fold)
        groups = [{s.group for s in split.split(name).samples} for name in ("train", "val")]
        assert not groups[0] & groups[1]
        assert Counter(s.label for s in split.split("val").samples) == {"a": 8, "b": 8}


def test_spans_of_one_video_stay_together() -> None:
    samples = [
        Sample(Path(f"/data/{video}.mp4"), "ab"[k % 2], float(k), k + 1.0)
        for video in range(10)
        for k in range(6)
    ]
    split = Manifest(tuple(samples), ("a", "b"), Path("/data")).stratified(5)
    videos = [{s.video for s in split.split(name).samples} for name in ("train", "val")]
    assert not videos[0] & videos[1]


def test_impossible_folds() -> None:
    manifest = manifest_of({"a": 4, "b": 4}, groups=1)
    with pytest.raises(DataError, match="fold 5 of 5 does not exist"):
        manifest.stratified(5, 5)
    with pytest.raises(DataError, match="leaves no sample in"):
        manifest.stratified(2)


def test_hash_follows_the_data_and_not_its_place(tmp_path: Path) -> None:
    touch(tmp_path / "one", "walk/a.mp4", "run/b.mp4")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first, second = (Manifest.read(tmp_path / name) for name in ("one", "two"))
    assert first.data_hash() == second.data_hash()
    assert first.data_hash() != first.stratified(2).data_hash()
    touch(tmp_path / "two", "run/c.mp4")
    assert first.data_hash() != Manifest.read(tmp_path / "two").data_hash()
    (tmp_path / "one/run/b.mp4").write_bytes(b"longer than before")
    assert first.data_hash() != second.data_hash()


def test_written_manifest_reads_back(tmp_path: Path) -> None:
    touch(tmp_path, "walk/a.mp4", "walk/b.mp4", "run/c.mp4", "run/d.mp4")
    split = Manifest.read(tmp_path).stratified(2)
    split.write(tmp_path / "split.csv")
    again = Manifest.read(tmp_path / "split.csv")
    assert again.samples == split.samples
    assert again.data_hash() == split.data_hash()


def test_real_groups_are_kept_apart(media: Path) -> None:
    manifest = Manifest.read(media / "fights" / "groups.csv")
    assert manifest.labels == ("fight", "other")
    for fold in range(5):
        split = manifest.stratified(5, fold, seed=0)
        train, val = (split.split(name) for name in ("train", "val"))
        assert not {s.group for s in train.samples} & {s.group for s in val.samples}
        share = sum(s.label == "fight" for s in val.samples) / len(val)
        assert 0.3 < share < 0.7
        assert 0.1 < len(val) / len(manifest) < 0.3
