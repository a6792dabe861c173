"""Files appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from marey.errors import OutputError
from marey.files import Stamp, cache_folder, whole_file, whole_files


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with whole_file(target) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_it_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with whole_file(tmp_path / "whole"):
        pass
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "whole")}
    assert len(modes) == 1


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("before")

    def interrupted() -> None:
        with whole_file(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError(28, os.strerror(28)), PermissionError(13, "no")])
def test_trouble_with_the_disk_is_an_output_error(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OutputError, match=r"out\.txt"), whole_file(tmp_path / "out.txt"):
        raise error
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder exists"), whole_file(tmp_path / "no" / "out.txt"):
        pass


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    target = tmp_path / "net.xml"
    with whole_files(target) as made:
        made.with_name("net.bin").write_text("weights")
        made.write_text("graph")
        assert not target.exists()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "net.xml": "graph",
        "net.bin": "weights",
    }
    with pytest.raises(OutputError, match=r"net\.xml: cannot be written \(no room\)"):
        fail_halfway(target)
    assert target.read_text() == "graph"
    assert len(list(tmp_path.iterdir())) == 2


def fail_halfway(target: Path) -> None:
    with whole_files(target) as made:
        made.write_text("half")
        raise OSError("no room")


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAREY_CACHE", "/somewhere/cache")
    assert cache_folder() == Path("/somewhere/cache")
    monkeypatch.delenv("MAREY_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert cache_folder() == Path("/var/caches/marey")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "marey"


def test_a_stamp_tells_whether_a_file_was_written_again(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    absent = Stamp.of(path)
    path.write_text("one")
    link.symlink_to(path)
    stamp, linked = Stamp.of(path), Stamp.of(link)
    assert stamp != absent
    assert Stamp.of(stamp.path) == stamp
    assert linked == (str(link), *stamp[1:])
    path.write_text("longer")
    os.utime(path, ns=(stamp.written, stamp.written))
    assert Stamp.of(path) != stamp
    path.write_text("two")
    os.utime(path, ns=(stamp.written + 1, stamp.written + 1))
    assert Stamp.of(path) != stamp
    assert Stamp.of(link) != linked
