"""The built site without a browser: numbers, links, strangers' names, safety of the folders it touches."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from braidbench.errors import UsageError
from braidbench.measurements import Bar, Part, save
from braidbench_leaderboard.build import MARKER, build_site
from braidbench_leaderboard.check import check_site

HOSTILE = "\"'></script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>{{ 7 * 7 }}&amp;"


class Tables(HTMLParser):
    """Texts of all cells: tables[n][row][column]."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.tables[-1][-1][-1] += data


def page(site: Path, pattern: str) -> str:
    [path] = site.glob(pattern)
    return path.read_text()


def contents(site: Path) -> dict[str, bytes]:
    return {str(path.relative_to(site)): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def test_the_numbers_on_a_page_are_those_of_the_results(site, make_study):
    results = [r for r in make_study() if (r.dataset, r.method, r.status) == ("dataset-0", "tensor-fusion", "ok")]
    scores = [r.scores["accuracy"] for r in results]
    half = 4.302653 * np.std(scores, ddof=1) / np.sqrt(3)
    rows = Tables(page(site, "task/dataset-0-*.html")).tables[0]
    [row] = [row for row in rows if row[0].startswith("tensor-fusion")]
    assert row[2] == f"{np.mean(scores):.4f} ± {half:.4f}"
    assert row[1].startswith("1 [1–")
    assert row[4] == "3"


def test_measurements_stand_on_their_datasets_page(site, tmp_path, make_result, make_measurement, store_results):
    text = page(site, "task/dataset-0-*.html")
    shown = next(table for table in Tables(text).tables if table[0][0] == "Of")
    assert shown == [
        ["Of", "shared", "alone"],
        ["image + audio", "0.500 0.400 – 0.600", "0.250 0.200 – 0.300"],
        ["image + text", "0.500 0.400 – 0.600", "–"],
    ]
    assert "<code>braidbench quantify dataset-0</code>, 2026-01-02" in text
    assert "few samples" in text
    assert "Interactions" not in page(site, "task/dataset-1-*.html")
    results = store_results(tmp_path / "results", [make_result()])
    save(results, make_measurement(dataset="elsewhere"))
    path = save(results, make_measurement(dataset="digits"))
    path.write_text(path.read_text().replace("0.5", '"much"'))
    made = build_site([results], tmp_path / "site")
    assert [line.partition(":")[0] for line in made.homeless] == ["interactions of elsewhere/digit"]
    [line] = made.corrupt
    assert str(path) in line
    assert path.exists()


def test_missing_failed_and_skipped_are_shown_as_such(site):
    index = Tables(page(site, "index.html")).tables[0]
    by_method = {row[0]: row for row in index[1:]}
    assert by_method["tensor-fusion"][-1] == "missing"
    assert by_method["tensor-fusion"][1:4] == ["–", "–", "2/3"], "not on every task: no overall rank"
    assert by_method["late-fusion"][3] == "3/3"
    task = page(site, "task/dataset-0-*.html")
    for text in ("failed: no memory", "skipped: needs sequences", "late-fusion {fusion.rank=8}"):
        assert text in task
    assert "1 failed, 1 skipped" in page(site, "index.html")
    assert "broken/result.json" in page(site, "index.html")
    assert "1 row with overrides stands on the pages of their tasks only" in page(site, "index.html")


def test_small_errors_keep_their_digits(site):
    rows = Tables(page(site, "task/stocks-*.html")).tables[0]
    assert [row[2].split()[0] for row in rows[1:]] == ["0.0003150", "0.0004250"]


def test_a_cells_page_says_where_it_comes_from(site, make_study):
    result = make_study()[0]
    text = page(site, f"cell/{result.cell[:16]}-*.html")
    for part in (result.cell, "0123456789ab", "a processor", "torch 2.9.0", "a" * 64, "--seed 0", "2 epochs"):
        assert part in text


def test_the_check_finds_nothing_wrong(site, make_study):
    found = check_site(site)
    assert found.problems == []
    assert found.pages == 1 + 3 + len(make_study())
    assert found.links > 100


def spoil_link(site: Path) -> str:
    path = site / "index.html"
    path.write_text(path.read_text().replace('href="task/dataset-0', 'href="task/nowhere'))
    return "nowhere"


def spoil_anchor(site: Path) -> str:
    path = site / "index.html"
    path.write_text(path.read_text().replace("#row-0", "#row-99"))
    return "anchor"


def spoil_image(site: Path) -> str:
    path = site / "index.html"
    path.write_text(path.read_text().replace("<main>", '<main><img src="https://example.org/x.png">'))
    return "https://example.org/x.png"


def spoil_policy(site: Path) -> str:
    path = site / "index.html"
    path.write_text(path.read_text().replace("default-src &#39;none&#39;", "default-src *"))
    return "policy"


def spoil_script(site: Path) -> str:
    path = site / "index.html"
    path.write_text(path.read_text().replace("<main>", "<main><script>alert(1)</script>"))
    return "inline script"


def spoil_handler(site: Path) -> str:
    path = site / "index.html"
    path.write_text(path.read_text().replace("<main>", '<main onclick="alert(1)">'))
    return "onclick"


def spoil_style(site: Path) -> str:
    (site / "assets" / "style.css").write_text("@import 'https://example.org/x.css';")
    return "style.css"


def spoil_vendored(site: Path) -> str:
    with (site / "assets" / "vega.min.js").open("a") as file:
        file.write("//")
    return "not the pinned vega "


def lose_lock(site: Path) -> str:
    (site / "assets" / "vendor.lock.json").unlink()
    return "vendor.lock.json"


@pytest.mark.parametrize(
    "spoil",
    [spoil_link, spoil_anchor, spoil_image, spoil_policy, spoil_script, spoil_handler, spoil_style, spoil_vendored,
     lose_lock],
)  # fmt: skip
def test_the_check_finds_what_is_wrong(site, tmp_path, spoil):
    shutil.copytree(site, tmp_path / "site")
    wanted = spoil(tmp_path / "site")
    problems = check_site(tmp_path / "site").problems
    assert problems
    assert all(wanted in problem for problem in problems), problems


def test_the_lock_file_pins_what_is_vendored():
    static = Path(build_site.__globals__["HERE"]) / "static"
    lock = json.loads((static / "vendor.lock.json").read_text())
    assert {entry["file"] for entry in lock["files"]} == {path.name for path in static.glob("*.min.js")}
    licences = (static / lock["licences"]).read_text()
    for entry in lock["files"]:
        assert hashlib.sha256((static / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert f"{entry['name']} {entry['version']} ({entry['licence']})" in licences


# --- strangers --------------------------------------------------------------------------------------------------------


def test_strangers_texts_are_shown_and_never_run(tmp_path, make_result, make_measurement, store_results):
    curve = {
        "corruption": HOSTILE, "modality": HOSTILE, "metric": HOSTILE, "direction": "higher", "severities": [0, 1],
        "scores": [0.9, 0.8], "relative": 0.8, "seed": 0, "source": HOSTILE,
    }  # fmt: skip
    hostile = make_result(
        HOSTILE, dataset=HOSTILE, task="../../../etc/passwd", scores={HOSTILE: 0.5}, valid_scores={},
        directions={HOSTILE: "higher"}, area=HOSTILE, command=HOSTILE, citation=HOSTILE, overrides={HOSTILE: HOSTILE},
        deviations=[HOSTILE], files={HOSTILE: "0" * 64}, identity={HOSTILE: HOSTILE},
        robustness=[curve],
    )  # fmt: skip
    failed = make_result("b", dataset=HOSTILE, status="failed", failure="crash", reason=HOSTILE, log_tail=[HOSTILE])
    results = store_results(tmp_path / "results", [hostile, failed, make_result(HOSTILE), make_result("javascript:x")])
    task = "../../../etc/passwd"
    part = Part(name=HOSTILE, value=1, low=0, high=2)
    texts = dict.fromkeys(("title", "label", "unit", "command", "measure", "dataset"), HOSTILE)
    save(results, make_measurement(task=task, bars=[Bar(name=HOSTILE, parts=[part])], notes=[HOSTILE], **texts))
    build_site([results], tmp_path / "site")
    assert check_site(tmp_path / "site").problems == []
    assert {path.name for path in tmp_path.iterdir()} == {"results", "site"}
    for path in (tmp_path / "site").rglob("*.html"):
        text = path.read_text()
        assert "<script>window" not in text
        assert "<img" not in text
        assert "{{" not in text or "{{ 7 * 7 }}" in text, "strangers' template syntax is text"
        if path.parent.name == "task" and HOSTILE[:3] in text:
            assert "measured-plot-0" in text
        for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
            json.loads(block)


@pytest.mark.parametrize(
    "history", ["", "[]", '{"epochs": 3}', '{"epochs": [{"loss": "<b>", "valid": 1}]}', '{"epochs": [{"loss": 1}]}',
                '{"epochs": [{"loss": 1.0, "valid": "<b>x</b>"}]}', '{"epochs": [{"loss": [1], "valid": {}}]}'],
)  # fmt: skip
def test_a_damaged_history_is_left_out(tmp_path, make_result, store_results, history):
    results = store_results(tmp_path / "results", [make_result()])
    [path] = results.glob("*/history.json")
    path.write_text(history)
    build_site([results], tmp_path / "site")
    assert "Training history" not in page(tmp_path / "site", "cell/*.html")


# --- folders ----------------------------------------------------------------------------------------------------------


def test_the_same_results_give_the_same_bytes_and_are_not_touched(tmp_path, make_study, store_results):
    results = store_results(tmp_path / "results", make_study())
    before = contents(results)
    build_site([results], tmp_path / "a")
    build_site([results, results], tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(results) == before


def test_an_older_site_is_replaced_and_other_peoples_files_stay(tmp_path, make_result, store_results):
    first = store_results(tmp_path / "first", [make_result(), make_result("other", dataset="gone")])
    second = store_results(tmp_path / "second", [make_result()])
    site = tmp_path / "site"
    build_site([first], site)
    (site / ".git").mkdir()
    (site / ".git" / "HEAD").write_text("ref")
    (site / "CNAME").write_text("example.org")
    build_site([second], site)
    assert (site / "CNAME").read_text() == "example.org"
    assert (site / ".git" / "HEAD").exists()
    assert not list(site.glob("task/gone*"))
    assert check_site(site).problems == []
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second", "site"}, "no temporary folder is left"


def test_a_marker_cannot_point_outside(tmp_path, make_result, store_results):
    results = store_results(tmp_path / "results", [make_result()])
    build_site([results], tmp_path / "site")
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    with (tmp_path / "site" / MARKER).open("a") as file:
        file.write(f"../precious.txt\n{precious}\n")
    build_site([results], tmp_path / "site")
    assert precious.exists()


@pytest.mark.parametrize("place", ["results", "results/site", "full", "file"])
def test_it_refuses_folders_that_are_not_its_own(tmp_path, make_result, store_results, place):
    results = store_results(tmp_path / "results", [make_result()])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    (tmp_path / "file").write_text("")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="choose"):
        build_site([results], tmp_path / place)
    assert contents(tmp_path) == before


def test_the_data_commit_is_told(tmp_path, make_result, store_results):
    results = store_results(tmp_path / "results", [make_result()])

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(results), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    build_site([results], tmp_path / "site")
    assert "data commit" not in page(tmp_path / "site", "index.html")
    git("add", ".")
    git("commit", "-q", "-m", "results")
    build_site([results], tmp_path / "site")
    told = f"data commit <code>{git('rev-parse', 'HEAD')[:12]}"
    assert f"{told}</code>" in page(tmp_path / "site", "index.html")
    store_results(results, [make_result("other")])
    build_site([results], tmp_path / "site")
    assert f"{told} with uncommitted changes</code>" in page(tmp_path / "site", "index.html")


# --- the command ------------------------------------------------------------------------------------------------------


def test_build_and_check_as_commands(cli, tmp_path, make_study, store_results):
    results = store_results(tmp_path / "results", make_study())
    (results / "broken").mkdir()
    (results / "broken" / "result.json").write_text("{")
    done = cli("leaderboard", "build", "results", "-o", "site", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"] == len(make_study())
    assert "broken/result.json" in done.stderr
    assert (results / "broken" / "result.json").read_text() == "{"
    done = cli("leaderboard", "check", "site", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["problems"] == []
    (tmp_path / "site" / "assets" / "site.js").unlink()
    done = cli("leaderboard", "check", "site")
    assert done.returncode == 1
    assert "assets/site.js" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("build", "nowhere", "-o", "site"), "nowhere"),
        (("build", "empty", "-o", "site"), "no results in empty"),
        (("check", "empty"), "is no site"),
    ],
)
def test_errors_are_one_line(cli, tmp_path, arguments, part):
    (tmp_path / "empty").mkdir()
    done = cli("leaderboard", *arguments)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert part in line
    assert not (tmp_path / "site").exists()
