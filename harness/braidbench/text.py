"""Anybody's text, made safe for where it is written to: one function a format.

Names, reasons and parameters in results may come from strangers. A terminal would obey their escape sequences, a
spreadsheet would compute their formulas, LaTeX and Markdown would set them as markup. HTML is escaped by the templates
that write it (:mod:`braidbench.cli` writes none); they take their text through :func:`plain` first.
"""

from __future__ import annotations

import re
import unicodedata

LINE = 300
"""Characters of a text in one line: a reason, a note, a cell of a table."""

PAGE = 4_000
"""Characters of a text that has a place of its own."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that do not show, or that change how what is around them shows: controls, format characters (with
the overrides of the writing direction), surrogates, private and unassigned ones, separators of lines."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|.)")
"""Sequences that a terminal obeys, whole: without their first character the rest would stand there as text."""


def plain(text: str, limit: int = LINE) -> str:
    """One line for a terminal: escape sequences and characters that do not show are gone, white space is blanks, and of
    more than ``limit`` characters an ellipsis stands for the rest."""
    if not (text.isascii() and text.isprintable()):
        text = _ESCAPES.sub("", text)
        text = "".join(
            " " if c in "\t\n\r\v\f\x85\u2028\u2029" else "" if unicodedata.category(c) in _HIDDEN else c for c in text
        )
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def lines(text: str, limit: int = PAGE) -> str:
    """Like :func:`plain`, with its line breaks."""
    kept = text[: 2 * limit]
    # Most texts are one plain line.
    if not (kept.isascii() and kept.isprintable()):
        kept = "\n".join(plain(line, limit) for line in kept.splitlines())
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def markdown(text: str, limit: int = LINE) -> str:
    """Text for a cell of a Markdown table: nothing in it is markup, a link, HTML or the cell's end."""
    shown = re.sub(r"([\\`*_{}\[\]<>|~#&!]|^\s*[-+=])", r"\\\1", plain(text, limit).lstrip())
    # A bare address would become a link by itself.
    return re.sub(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])", r"\1\\", shown)


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "…": r"\ldots{}",
}  # fmt: skip


def latex(text: str, limit: int = LINE) -> str:
    """Text for LaTeX: no character of it is a command, a comment or the column's end."""
    # A row that begins with a bracket would be the optional argument of the line break before it.
    shown = "".join(_LATEX.get(c, c) for c in plain(text, limit))
    return f"{{}}{shown}" if shown.startswith(("[", "*")) else shown


def csv_cell(text: str, limit: int = LINE) -> str:
    """Text for a cell of a spreadsheet, which must not take it for a formula; the csv module quotes it."""
    shown = plain(text, limit)
    return f"'{shown}" if shown.lstrip()[:1] in tuple("=+-@＝＋－＠") and shown.lstrip() else shown
