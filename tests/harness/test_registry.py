"""Rules of DESIGN-level importance: quarantine, collisions, misspelt hooks, did-you-mean, parameter checking."""

from __future__ import annotations

import importlib.metadata
import sys
import textwrap
from pathlib import Path

import pytest

from braidbench.errors import MissingPackageError, PluginError, UsageError
from braidbench.registry import Registry, check_parameters, did_you_mean, registry


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a distribution with one plugin module and put it on the path, as an installer would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"dist_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[braidbench.v1]\n{name} = {name}\n")

    yield write
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def installed() -> Registry:
    return Registry(importlib.metadata.entry_points(group="braidbench.v1"))


GOOD = """
import braidbench

@braidbench.hookimpl
def register_fusions():
    yield braidbench.Fusion("{name}", "somewhere:Thing")
"""


def test_a_plugin_is_found_and_remembered(install):
    install("well", GOOD.format(name="well/sum"))
    found = installed().find("fusions", "well/sum")
    assert (found.plugin.distribution, found.plugin.version) == ("dist-well", "1.0")


def test_a_plugin_that_fails_to_import_is_quarantined_and_the_others_go_on(install):
    install("well", GOOD.format(name="well/sum"))
    install("broken", "import gpt4all_is_not_installed")
    found = installed()
    assert found.find("fusions", "well/sum")
    [plugin] = found.quarantined
    assert plugin.name == "broken"
    assert "gpt4all_is_not_installed" in plugin.error
    assert "Traceback" in plugin.traceback


@pytest.mark.parametrize("statement", ["raise SystemExit(3)", "1 / 0", "raise KeyError"])
def test_whatever_a_module_raises_is_quarantined(install, statement):
    install("broken", statement)
    assert [plugin.name for plugin in installed().quarantined] == ["broken"]


def test_a_misspelt_hook_is_an_error_with_the_right_name(install):
    install(
        "misspelt",
        """
        import braidbench

        @braidbench.hookimpl
        def register_fusion():
            yield braidbench.Fusion("a/b", "c:d")
        """,
    )
    [plugin] = installed().quarantined
    assert "register_fusion'. Did you mean 'register_fusions'?" in plugin.error


def test_a_wrong_yield_is_an_error(install):
    install("wrong", GOOD.format(name="a/b").replace("register_fusions", "register_metrics"))
    [plugin] = installed().quarantined
    assert "must yield Metric specs, not Fusion" in plugin.error


@pytest.mark.parametrize("name", ["Upper/Case", "a/b/c", "", "white space", "a/"])
def test_a_wrong_name_is_an_error(install, name):
    install("named", GOOD.format(name=name))
    assert "is not of the form" in installed().quarantined[0].error


def test_two_plugins_with_one_name_are_both_named_and_neither_wins(install):
    install("one", GOOD.format(name="same/sum"))
    install("two", GOOD.format(name="same/sum"))
    found = installed()
    with pytest.raises(PluginError, match=r"dist-one \(one\) and dist-two \(two\)"):
        found.find("fusions", "same/sum")
    assert len(found.collisions) == 1
    assert "same/sum" not in [r.spec.name for r in found.all("fusions")]


def test_a_bare_name_works_while_it_is_unique(install):
    install("one", GOOD.format(name="one/unique-sum"))
    assert installed().find("fusions", "unique-sum").spec.name == "one/unique-sum"
    install("two", GOOD.format(name="two/unique-sum"))
    with pytest.raises(UsageError, match="ambiguous: write one/unique-sum or two/unique-sum"):
        installed().find("fusions", "unique-sum")


def test_an_exact_name_wins_over_a_namespace(install):
    install("one", GOOD.format(name="sum"))
    install("two", GOOD.format(name="two/sum"))
    assert installed().find("fusions", "sum").plugin.name == "one"


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'toy/join'"):
        registry().find("methods", "toy/jion")
    assert did_you_mean("accurancy", ["accuracy", "auroc"]) == " Did you mean 'accuracy'?"
    assert did_you_mean("zzz", ["accuracy"]) == ""


def test_a_missing_package_is_named():
    with pytest.raises(MissingPackageError, match="needs the package 'a_package_that_is_not_installed': pip install"):
        registry().load("fusions", "toy/absent")


def test_a_target_that_does_not_exist(install):
    install("well", GOOD.format(name="well/sum"))
    with pytest.raises(PluginError, match="its target 'somewhere:Thing' does not exist"):
        installed().load("fusions", "well/sum")


def _target(in_dims: list[int], width: int, rate: float = 0.5, kinds: tuple[str, ...] = (), flag: bool = False) -> None:
    pass


def test_parameters_are_converted_and_checked():
    checked = check_parameters(_target, {"width": 3, "kinds": ["a"]}, what="it", reserved=("in_dims",))
    assert checked == {"width": 3, "kinds": ("a",)}
    with pytest.raises(UsageError, match=r"no parameter 'widht'. Did you mean 'width'\? It accepts width: int, rate"):
        check_parameters(_target, {"widht": 3}, what="it", reserved=("in_dims",))
    with pytest.raises(UsageError, match=r"parameter rate: float = 0.5 got 'fast'"):
        check_parameters(_target, {"width": 3, "rate": "fast"}, what="it", reserved=("in_dims",))
    with pytest.raises(UsageError, match="no parameter 'in_dims'"):
        check_parameters(_target, {"in_dims": [1]}, what="it", reserved=("in_dims",))
    with pytest.raises(UsageError, match="needs a value for 'width'"):
        check_parameters(_target, {}, what="it", reserved=("in_dims",))
    assert check_parameters(_target, {}, what="it", reserved=("in_dims",), supplied=("width",)) == {}


def test_plugins_command_shows_the_traceback_and_other_commands_warn(cli, tmp_path):
    (tmp_path / "oops.py").write_text("import gpt4all_is_not_installed\n")
    info = tmp_path / "dist_oops-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dist-oops\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[braidbench.v1]\noops = oops\n")
    import os

    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    listed = cli("list", "fusions", PYTHONPATH=path)
    assert listed.returncode == 0
    assert "toy/join" in listed.stdout
    assert "plugin 'oops' of dist-oops 0.3 is quarantined: ModuleNotFoundError" in listed.stderr
    again = cli("list", "fusions", PYTHONPATH=path)
    assert "quarantined" in again.stderr, "a snapshot must not hide the warning"
    explained = cli("plugins", "--explain", "oops", PYTHONPATH=path)
    assert "Traceback" in explained.stdout
    assert cli("plugins", "--explain", "opps", PYTHONPATH=path).returncode == 2
