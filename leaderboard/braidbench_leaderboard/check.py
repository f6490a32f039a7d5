"""Checks a built site without a browser."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from braidbench.errors import UsageError
from braidbench_leaderboard.build import HERE, MARKER, POLICY, files_of

LOADING = {
    "audio": "src", "base": "href", "embed": "src", "frame": "src", "iframe": "src", "img": "src", "input": "src",
    "link": "href", "object": "data", "script": "src", "source": "src", "track": "src", "video": "src",
}  # fmt: skip
"""Elements that fetch what they name."""

CSS_LOADING = re.compile(r"@import|url\(", re.IGNORECASE)


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
        self.active: list[str] = []
        """Code in the page itself, which the policy would refuse to run."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADING and LOADING[tag] in values:
            self.loads.append(values[LOADING[tag]])
        if tag == "script" and "src" not in values and values.get("type") != "application/json":
            self.active.append("an inline script")
        self.active += [f"{name}=…" for name in values if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "meta" and values.get("http-equiv", "").lower() == "refresh"):
            self.active.append(f"<{tag}>")
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
        for what in reader.active:
            found.problems.append(f"{name}: holds {what}")
        for target in reader.loads:
            if urlsplit(target).scheme or target.startswith("//") or not (path.parent / target).is_file():
                found.problems.append(f"{name}: loads {target!r}, which is not a file of the site")
        for target in reader.links:
            found.links += 1
            problem = _broken(path, target, pages)
            if problem:
                found.problems.append(f"{name}: {problem}")
    for path in sorted(site.rglob("*.css")):
        if CSS_LOADING.search(path.read_text(encoding="utf-8")):
            found.problems.append(f"{path.relative_to(site)}: loads something")
    found.problems += [f"{name}: missing" for name in sorted(files_of(site)) if not (site / name).is_file()]
    found.problems += _vendored(site / "assets")
    return found


def _vendored(assets: Path) -> list[str]:
    """Where the vendored files are not those that the lock file of this package pins."""
    problems = []
    for pinned in json.loads((HERE / "static" / "vendor.lock.json").read_text())["files"]:
        path = assets / pinned["file"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != pinned["sha256"]:
            problems.append(f"assets/{pinned['file']}: not the pinned {pinned['name']} {pinned['version']}")
    return problems


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
