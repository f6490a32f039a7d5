"""Checks a built site without a browser."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from braidbench.errors import UsageError
from braidbench_leaderboard.build import MARKER, POLICY

LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
"""Elements that fetch what they name."""


@dataclass
class Checked:
    """What was looked at, and what is wrong."""

    pages: int = 0
    links: int = 0
    problems: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    """Collects a page's links, anchors, loaded files and its policy."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADING and LOADING[tag] in values:
            self.loads.append(values[LOADING[tag]])
        if tag == "meta" and values.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = values.get("content", "")


def check_site(site: Path) -> Checked:
    """Every page of a site. Raises UsageError when the folder is none."""
    if not (site / MARKER).exists():
        raise UsageError(f"{site} is no site of braidbench: braidbench leaderboard build RESULTS -o {site}")
    found = Checked()
    pages: dict[Path, _Reader] = {}
    for path in sorted(site.rglob("*.html")):
        reader = _Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        pages[path.resolve()] = reader
    for path, reader in pages.items():
        found.pages += 1
        name = path.relative_to(site.resolve())
        if reader.policy != POLICY:
            found.problems.append(f"{name}: its content security policy is not the generator's")
        for target in reader.loads:
            if urlsplit(target).scheme or target.startswith("//") or not (path.parent / target).is_file():
                found.problems.append(f"{name}: loads {target!r}, which is not a file of the site")
        for target in reader.links:
            found.links += 1
            problem = _broken(path, target, pages)
            if problem:
                found.problems.append(f"{name}: {problem}")
    for vendored in json.loads((site / "assets" / "vendor.lock.json").read_text())["files"]:
        path = site / "assets" / vendored["file"]
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != vendored["sha256"]:
            found.problems.append(f"assets/{vendored['file']}: not the pinned {vendored['name']} {vendored['version']}")
    return found


def _broken(page: Path, target: str, pages: dict[Path, _Reader]) -> str:
    """What is wrong with a link, or nothing. Links to other hosts are left to the reader's click."""
    parts = urlsplit(target)
    if parts.scheme in ("http", "https"):
        return ""
    if parts.scheme or parts.netloc:
        return f"links to {target!r}, which is neither a page of the site nor a web address"
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if path not in pages:
        return f"links to {target!r}, which is not there"
    if parts.fragment and unquote(parts.fragment) not in pages[path].anchors:
        return f"links to {target!r}, whose anchor is not there"
    return ""
