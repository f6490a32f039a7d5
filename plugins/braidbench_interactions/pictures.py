"""Where drawings are written: SVG as it is, PNG through a renderer that brings its own fonts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from braidbench.errors import UsageError
from braidbench.files import write_bytes, write_text

_SCALE = 2  # pixels of a PNG for each of the drawing's


def check_picture(path: Path | None) -> None:
    """Refuse, before anything is computed, a picture that could not be written. None asks for no picture.

    Raises:
        UsageError: the name ends in neither ``.svg`` nor ``.png``, or the renderer for ``.png`` is not installed.
    """
    if path is None:
        return
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise UsageError(f"{path}: pictures are SVG or PNG; give a file name that ends in .svg or .png")
    if kind == ".png" and importlib.util.find_spec("vl_convert") is None:
        raise UsageError(f"{path}: PNG needs a renderer: pip install 'braidbench[png]', or ask for .svg")


def write_picture(path: Path, svg: str) -> None:
    """Write an SVG document as SVG or, by the file's name, as PNG at twice its size."""
    if path.suffix.lower() == ".png":
        import vl_convert

        write_bytes(path, vl_convert.svg_to_png(svg, scale=_SCALE))
    else:
        write_text(path, svg)
