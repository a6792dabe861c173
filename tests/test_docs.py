"""What the pages show is run, and what they link to is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from marey.testing.videos import make_video

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
# Pages whose Python runs as it stands, with the videos that it names.
RUN: dict[str, list[str]] = {
    "README.md": ["carphone.mp4"],
    "docs/video.md": ["goal.mp4"],
    "docs/detect.md": ["match.mkv"],
    "docs/live.md": ["door.mp4"],
    "docs/timed.md": [],
    "docs/track.md": ["street.mp4"],
}


@pytest.mark.parametrize("page", RUN)
def test_python_on_the_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL
    )
    assert blocks
    for name in RUN[page]:
        make_video(tmp_path / name, frames=100, size=(96, 128))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path("page.py")
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_names_real_verbs_and_files() -> None:
    from typer.main import get_command

    from marey.cli import app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    verbs = set(re.findall(r"^marey (\w+)", code, re.MULTILINE))
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert verbs == known
    for recipe in re.findall(r"--recipe (\S+)", text):
        assert (ROOT / recipe).is_file()
