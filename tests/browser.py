"""Chromium without a window: what a page shows after its scripts, and a picture of it."""

import html.parser
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)

needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium here (Debian: apt-get install chromium)"
)


def _run(folder: Path, *options: str) -> str:
    command = [
        PROGRAM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
        *options,
    ]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(  # a sanitizer is not for it
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=folder,
        env=environment,
    )
    return done.stdout


@dataclass
class Element:
    """A tag with its attributes, parts and text."""

    tag: str
    attributes: dict[str, str | None]
    children: list["Element"] = field(default_factory=list)
    own_text: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join([*self.own_text, *(child.text for child in self.children)]).strip()

    @property
    def classes(self) -> list[str]:
        return (self.attributes.get("class") or "").split()

    def all(self, name: str) -> list["Element"]:
        """All below with that class or tag, in the order of the page."""
        found = []
        for child in self.children:
            if name in child.classes or child.tag == name:
                found.append(child)
            found += child.all(name)
        return found

    def one(self, name: str) -> "Element":
        [found] = self.all(name)
        return found


_VOID = {"meta", "input", "br", "link", "img", "hr"}


class _Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag, attributes):
        element = Element(tag, dict(attributes))
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self._open[-1].children.append(Element(tag, dict(attributes)))

    def handle_endtag(self, tag):
        while len(self._open) > 1 and self._open.pop().tag != tag:
            pass

    def handle_data(self, data):
        self._open[-1].own_text.append(data)


def shown(page: Path, fragment: str = "", then: str = "") -> Element:
    """Open a page, run ``then`` in it as a script, and give the document that this left."""
    if then:
        changed = page.with_stem(f"{page.stem}_driven")
        changed.write_text(page.read_text().replace("</body>", f"<script>{then}</script></body>"))
        page = changed
    reader = _Reader()
    reader.feed(_run(page.parent, "--dump-dom", f"{page.as_uri()}{fragment}"))
    return reader.root


def picture(page: Path, size: tuple[int, int], *options: str):
    """Give a screenshot as an image of Pillow."""
    from PIL import Image

    file = page.with_suffix(".png")
    width, height = size
    _run(
        page.parent, f"--screenshot={file}", f"--window-size={width},{height}", *options,
        page.as_uri(),
    )  # fmt: skip
    with Image.open(file) as image:
        return image.convert("RGB")
