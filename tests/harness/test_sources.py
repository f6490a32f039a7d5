"""Source hashes follow behaviour: code counts, comments do not, and neither does anybody else's package."""

from __future__ import annotations

import sys

import pytest

from braidbench import sources


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose files a test rewrites; gives a function that hashes ``pack.main:f`` anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("X = 1\n")
    (folder / "main.py").write_text(
        "import os\nfrom pack import helper\nfrom .other import g\n\ndef f():\n    return 1\n"
    )
    (folder / "helper.py").write_text("def h():\n    return 2\n")
    (folder / "other.py").write_text("def g():\n    return 3\n")
    (folder / "alone.py").write_text("Y = 1\n")

    def digest() -> str:
        sources._hash_module.cache_clear()
        return sources.source_hash("pack.main:f")

    yield folder, digest
    for name in [name for name in sys.modules if name.partition(".")[0] == "pack"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["main.py", "helper.py", "other.py"])
def test_code_that_it_reaches_counts(package, name):
    folder, digest = package
    before = digest()
    (folder / name).write_text((folder / name).read_text().replace("return", "return 10 +"))
    assert digest() != before


@pytest.mark.parametrize("name", ["alone.py", "__init__.py"])
def test_code_that_it_does_not_reach_does_not(package, name):
    folder, digest = package
    before = digest()
    (folder / name).write_text("Y = 2\n")
    assert digest() == before


def test_comments_and_blank_lines_do_not(package):
    folder, digest = package
    before = digest()
    (folder / "main.py").write_text(
        "import os\n\n\n# why\nfrom pack import helper  # helper\nfrom .other import g   \n\n"
        "def f():\n    return 1  # one\n"
    )
    assert digest() == before


def test_a_hash_sign_in_a_string_does():
    assert sources.normalised('x = "a # b"\n') != sources.normalised('x = "a # c"\n')


def test_nothing_is_imported(package):
    folder, digest = package
    (folder / "main.py").write_text("raise RuntimeError('imported')\n")
    assert len(digest()) == 16
