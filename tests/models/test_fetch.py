from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

import marey.models._fetch as fetching
import marey.models._registry as registry
from marey.errors import OutputError, WeightsError
from marey.models._create import create_model
from marey.models._fetch import fetch
from marey.models._weights import Weights

DATA = bytes(range(256)) * 4096
HASH = hashlib.sha256(DATA).hexdigest()
URL = "https://weights.example/v1/net-1.pth"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MAREY_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the network, with one file in it."""
    folder = tmp_path / "mirror of mine"
    folder.mkdir()
    (folder / "net-1.pth").write_bytes(DATA)
    monkeypatch.setenv("MAREY_MIRROR", folder.as_uri())
    return folder


def weights(source: str = URL, sha256: str | None = HASH) -> Weights:
    return Weights(source=source, sha256=sha256, licence="MIT", layout="torchvision")


@pytest.mark.parametrize("published", [HASH, HASH[:8], HASH[:8].upper()])
def test_a_file_is_fetched_once_and_verified(cache: Path, mirror: Path, published: str) -> None:
    path, pinned = fetch(weights(sha256=published))
    assert path == cache / "net-1.pth"
    assert path.read_bytes() == DATA
    assert pinned is None
    (mirror / "net-1.pth").unlink()
    assert fetch(weights(sha256=published)) == (path, None)


def test_a_wrong_hash_leaves_nothing(cache: Path, mirror: Path) -> None:
    with pytest.raises(WeightsError, match="wrong hash: expected 0000, got") as caught:
        fetch(weights(sha256="0000"))
    assert "Nothing was kept" in caught.value.do
    assert list(cache.iterdir()) == []


def test_a_cached_file_that_changed_is_refused(cache: Path, mirror: Path) -> None:
    path, _ = fetch(weights())
    path.write_bytes(DATA[:-1])
    with pytest.raises(WeightsError, match="Delete it and run again"):
        fetch(weights())


def test_without_a_published_hash_the_first_download_is_pinned(cache: Path, mirror: Path) -> None:
    path, pinned = fetch(weights(sha256=None))
    assert pinned == HASH
    assert fetch(weights(sha256=None)) == (path, None)
    path.write_bytes(DATA + b"!")
    with pytest.raises(WeightsError, match=r"wrong hash.*delete .*net-1\.pth\.sha256 too"):
        fetch(weights(sha256=None))


def test_a_mirror_without_the_file_says_what_to_put_there(mirror: Path) -> None:
    (mirror / "net-1.pth").unlink()
    with pytest.raises(WeightsError, match=r"cannot be downloaded.*folder that holds net-1\.pth"):
        fetch(weights())


def test_a_mirror_needs_a_scheme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAREY_MIRROR", str(tmp_path))
    with pytest.raises(WeightsError, match="must begin with file://"):
        fetch(weights())


class Handler(BaseHTTPRequestHandler):
    """Promises all of DATA and hangs up half way."""

    def do_GET(self) -> None:
        if self.path.endswith("absent.pth"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[: len(DATA) // 2])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.mark.parametrize("sha256", [HASH, None])
def test_an_interrupted_download_leaves_nothing_and_starts_anew(
    cache: Path, mirror: Path, server: str, monkeypatch: pytest.MonkeyPatch, sha256: str | None
) -> None:
    monkeypatch.setenv("MAREY_MIRROR", server)
    with pytest.raises(WeightsError, match=r"cannot be downloaded.*524,288"):
        fetch(weights(sha256=sha256))
    assert list(cache.iterdir()) == []
    monkeypatch.setenv("MAREY_MIRROR", mirror.as_uri())
    assert fetch(weights(sha256=sha256))[0].read_bytes() == DATA


def test_an_absent_file_is_a_weights_error(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAREY_MIRROR", server)
    with pytest.raises(WeightsError, match="404"):
        fetch(weights("https://weights.example/absent.pth"))


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAREY_MIRROR", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(WeightsError, match=r"Check the network.*MAREY_MIRROR=file:///folder"):
        fetch(weights())


@pytest.mark.usefixtures("mirror")
def test_a_full_disk_is_an_output_error_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(url: str, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "_download", full)
    with pytest.raises(OutputError, match="No space left"):
        fetch(weights())
    assert list(cache.iterdir()) == []


def test_a_progress_bar_only_on_a_terminal(
    mirror: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    fetch(weights())
    assert capsys.readouterr() == ("", "")
    (cache / "net-1.pth").unlink()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fetch(weights())
    out, err = capsys.readouterr()
    assert out == ""
    assert "net-1.pth" in err


def test_files_inside_a_package_are_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "weights_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "net.pth").write_bytes(DATA)
    monkeypatch.syspath_prepend(tmp_path)
    assert fetch(weights("package:weights_of_mine/net.pth"))[0] == package / "net.pth"
    with pytest.raises(WeightsError, match="wrong hash"):
        fetch(weights("package:weights_of_mine/net.pth", sha256="beef"))
    with pytest.raises(WeightsError, match="does not exist"):
        fetch(weights("package:weights_of_mine/other.pth"))
    with pytest.raises(WeightsError, match="pip install no-such-weights"):
        fetch(weights("package:no_such_weights/net.pth"))


def test_files_are_taken_where_they_lie(mirror: Path) -> None:
    path = mirror / "net-1.pth"
    assert fetch(weights(path.as_uri()))[0] == path


def test_the_hub_is_asked_for_one_revision(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo: str, file: str, *, revision: str) -> str:
        asked.append((repo, file, revision))
        if revision == "gone":
            raise OSError("no such revision")
        return str(mirror / "net-1.pth")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert fetch(weights("hf:owner/repo/sub/net.safetensors@abc"))[0] == mirror / "net-1.pth"
    assert asked == [("owner/repo", "sub/net.safetensors", "abc")]
    with pytest.raises(WeightsError, match="no such revision"):
        fetch(weights("hf:owner/repo/net.safetensors@gone"))


@pytest.mark.parametrize("name", ["mc3_18.k400", "r2plus1d_34.ig65m_8"])
def test_published_weights_load(
    name: str, cache: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the published name and keys goes from a mirror all the way into the network."""
    asked = registry.resolve(name)
    entry, tag = asked.entry, asked.tag
    assert tag is not None
    published = entry.weights[tag]
    bare = create_model(entry.name, classes=published.classes or entry.classes)
    state = {
        own.replace("head.linear", "fc").removeprefix("body."): value
        for own, value in bare.state_dict().items()
    }
    file = mirror / published.source.rpartition("/")[2]
    torch.save(state, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if published.sha256:
        with pytest.raises(WeightsError, match=f"expected {published.sha256}"):
            create_model(name)
        assert list(cache.iterdir()) == []
        published = replace(published, sha256=digest[:8])
        monkeypatch.setitem(registry._ENTRIES, entry.name, replace(entry, weights={tag: published}))
    net = create_model(name)
    assert net.name == name
    report = net.report.load
    assert report is not None
    assert (report.fresh, report.dropped) == ((), ())
    assert report.pinned == (None if published.sha256 else digest)
    assert torch.equal(net.head.linear.weight, state["fc.weight"])
    assert net.labels == (published.labels() if published.labels else None)
    assert net.input == (published.input or entry.input)
