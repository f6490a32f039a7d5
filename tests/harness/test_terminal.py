"""`braidbench run` on a real terminal, without one, and interrupted in the middle of anything."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from braidbench.cli.remaining import Remaining, left

LINE = "interrupted; the same command goes on where this one stopped"
SLOW = ("run", "toy/pair", "toy/slow", "--device", "cpu", "--set", "procedure.seconds=0.1")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command whose standard error and input are a terminal of that many columns."""

    def __init__(self, cli, columns: int, *arguments: str, **env: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        variables = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [*cli.command, *arguments], cwd=cli.folder, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE,
            start_new_session=True, env={**variables, "TERM": "xterm-256color", **env},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        os.close(theirs)
        self.parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, ours: int) -> None:
        # A terminal that nobody holds open any more gives an input/output error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                self.parts.append(part)
        os.close(ours)

    @property
    def text(self) -> str:
        return b"".join(self.parts).decode()

    def end(self) -> str:
        self.stdout = self.process.communicate(timeout=120)[0].decode()
        self._reader.join(10)
        return self.text


@pytest.mark.parametrize("columns", [40, 80])
def test_a_bar_from_the_first_second_and_lines_that_fit(cli, columns):
    ran = Terminal(cli, columns, *SLOW, "--seeds", "3", "--jobs", "2", "--epochs", "5")
    text = ran.end()
    assert ran.process.returncode == 0, text
    plain = CONTROL.sub("\n", text[: text.rindex("\x1b[?25h")].replace("\r", "\n"))
    lines = [line for line in plain.splitlines() if line.strip()]
    assert max(map(len, lines)) <= columns, "a line that is too long wraps, and the bar is not wiped whole"
    seen = "\n".join(lines)
    assert seen.index("making the plan") < min(seen.index("0/3"), seen.index("starting"))
    assert max(seen.index("0/3"), seen.index("starting")) < seen.index("[1/3]")
    assert "unknown" in seen or "? left" in seen, "nothing is known in an empty folder, and that is said"
    assert re.search(r"[0-9]+ s left", seen), "and then something is"
    assert re.search(r"(epoch )?[1-5]/5  (valid )?[01]\.[0-9]{3}", seen)
    assert [line for line in lines if line.startswith("[3/3] toy/pair")]
    assert "seed 2" in seen, "however narrow, two cells of one method can be told apart"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is back"
    assert "\x1b" not in ran.stdout


def test_the_time_left_is_known_at_once_where_cells_have_run_before(cli):
    assert cli(*SLOW, "--epochs", "10").returncode == 0
    ran = Terminal(cli, 80, *SLOW, "--seeds", "3", "--jobs", "1", "--epochs", "10")
    seen = CONTROL.sub("", ran.end())
    frames = re.findall(r"(\d)/3 cells  \S+  (about \d+ s|time) (left|unknown)", seen)
    assert frames, seen
    assert frames[0][0] == "1", "the cached cell is done"
    assert all(frame[2] == "left" for frame in frames), frames
    seconds = int(frames[0][1].split()[1])
    assert 2 <= seconds <= 5, "two cells of a second or more each, one after the other"


def test_a_dumb_terminal_gets_plain_lines_and_no_color_no_colours(cli):
    dumb = Terminal(cli, 80, *SLOW, "--epochs", "1", TERM="dumb").end()
    assert "\x1b" not in dumb
    assert "[1/1] toy/pair" in dumb
    grey = Terminal(cli, 80, *SLOW, "--epochs", "2", NO_COLOR="1").end()
    assert "0/1 cells" in CONTROL.sub("", grey)
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]", grey)


def test_a_terminal_of_no_size_is_no_reason_to_fail(cli):
    ran = Terminal(cli, 0, *SLOW, "--epochs", "1")
    assert "Traceback" not in ran.end()
    assert ran.process.returncode == 0


def test_without_a_terminal_a_plain_line_a_finished_cell_at_once(cli):
    run = cli.start(*SLOW, "--seeds", "2", "--jobs", "1", "--epochs", "8", FORCE_COLOR="1")
    first = run.stderr.readline()
    assert first.startswith("[1/2] toy/pair/parity toy/slow seed 0: toy/accuracy 0.")
    assert run.poll() is None, "it comes when the cell ends, not when the run does"
    _, rest = run.communicate(timeout=120)
    assert "\x1b" not in first + rest


@pytest.mark.parametrize("streams", [(2,), (0, 1, 2)], ids=["stderr", "all"])
@pytest.mark.parametrize("jobs", [(), ("--seeds", "2", "--jobs", "2")], ids=["serial", "process"])
def test_closed_streams_do_not_stop_a_run(cli, tmp_path, streams, jobs):
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run(
            [*cli.command, *SLOW, "--epochs", "1", "--json", *jobs], cwd=tmp_path, stdout=out, timeout=120,
            preexec_fn=lambda: [os.close(stream) for stream in streams],
        )  # fmt: skip
    assert done.returncode == 0
    paths = list(tmp_path.glob("results/*/result.json"))
    assert [json.loads(path.read_text())["status"] for path in paths] == ["ok"] * (2 if jobs else 1)
    if streams == (2,):
        assert len(json.loads((tmp_path / "out").read_text())) == len(paths)


def test_nobody_reads_standard_error(cli, tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*cli.command, *SLOW, "--epochs", "1", "--seeds", "2", "--json"], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=theirs, timeout=120,
    )  # fmt: skip
    os.close(theirs)
    assert done.returncode == 0
    assert [row["status"] for row in json.loads(done.stdout)] == ["ok", "ok"]


# --- what cells print -------------------------------------------------------------------------------------------------

WAYS = ("print", "stderr", "descriptor 1", "descriptor 2", "printf", "a child", "a warning", "logging")


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_what_a_component_prints_stands_in_its_log_and_nowhere_else(cli, tmp_path, executor):
    done = cli("run", "toy/pair", "toy/noisy", "--device", "cpu", "--epochs", "1", "--json", "--executor", executor)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert "noise" not in done.stderr
    log = (tmp_path / row["path"] / "log.txt").read_text()
    assert [way for way in WAYS if f"noise of {way}" not in log] == []


def test_nor_does_it_smear_the_bar(cli):
    ran = Terminal(cli, 80, "run", "toy/pair", "toy/noisy", "--device", "cpu", "--epochs", "3")
    text = ran.end()
    assert ran.process.returncode == 0
    assert "[1/1] toy/pair" in text
    assert "noise" not in text + ran.stdout


def test_a_library_call_gives_the_callers_streams_back(cli, tmp_path):
    code = """
        import io, sys, braidbench
        sys.stdout = mine = io.StringIO()  # as a notebook has it
        for method in ("toy/noisy", "toy/raises", "toy/exits"):
            print(braidbench.run("toy/pair", method, overrides={"training.epochs": 1}, device="cpu").status)
        assert sys.stdout is mine and sys.breakpointhook is sys.__breakpointhook__
        sys.__stdout__.write(mine.getvalue())
        print("to standard error", file=sys.stderr)
    """
    import textwrap

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.returncode) == ("ok\nfailed\nfailed\n", 0), done.stderr
    assert done.stderr == "to standard error\n"


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_a_component_that_exits_is_a_failed_row(cli, executor):
    done = cli("run", "toy/pair", "toy/exits", "--device", "cpu", "--json", "--executor", executor)
    assert done.returncode == 1, done.stderr
    [row] = json.loads(done.stdout)
    assert (row["status"], row["failure"]) == ("failed", "plugin")
    assert "the fusion has had enough" in row["reason"]
    assert "Traceback" not in done.stderr


# --- what cannot run --------------------------------------------------------------------------------------------------


def test_a_method_that_cannot_serve_is_skipped_and_the_others_run(cli):
    done = cli("run", "toy/pair", "toy/join", "toy/three", "--seeds", "2", "--device", "cpu", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2, "two cells ran"
    reasons = [line for line in done.stderr.splitlines() if "at least 3" in line]
    assert reasons == ["2 skipped: fusion 'toy/three' takes at least 3 modalities; there are 2 (toy/pair)"] * 2, (
        "once at the beginning and once at the end, for both seeds together"
    )
    planned = cli("plan", "toy/pair", "toy/three", "toy/join", "--seeds", "2", "--epochs", "1").stdout
    assert planned.count("at least 3 modalities") == 1
    assert planned.count("cached   toy/pair") == 2
    rows = json.loads(
        cli("run", "toy/pair", "toy/three", "toy/join", "--device", "cpu", "--epochs", "1", "--json").stdout
    )
    assert [row["status"] for row in rows] == ["skipped", "ok"]
    alone = cli("run", "toy/pair", "toy/three", "--seeds", "2", "--device", "cpu")
    assert (alone.returncode, alone.stderr) == (
        2,
        "error: fusion 'toy/three' takes at least 3 modalities; there are 2\n",
    )


def test_a_package_that_one_method_misses_does_not_take_the_dataset_from_the_others(cli, tmp_path):
    (tmp_path / "plan.toml").write_text('datasets = ["toy/pair"]\nmethods = ["toy/absent", "toy/join"]\nepochs = 1\n')
    done = cli("run", "plan.toml", "--json", "--device", "cpu")
    assert [row["status"] for row in json.loads(done.stdout)] == ["skipped", "ok"]


LAUNCH = {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29501"}


@pytest.mark.parametrize(
    ("options", "variables", "parts"),
    [
        (("--timeout", "5", "--executor", "serial"), {}, ["'serial' cannot stop a cell", "--executor process"]),
        (("--timeout", "5"), LAUNCH, ["distributed", "'serial'"]),
        (("--timeout", "0"), {}, ["--timeout 0: give a number of seconds above 0"]),
        (("--timeout", "-1"), {}, ["above 0"]),
        (("--timeout", "nan"), {}, ["above 0"]),
        (("--timeout", "inf"), {}, ["above 0"]),
    ],
    ids=str,
)
def test_a_timeout_that_nobody_would_keep_is_refused(cli, tmp_path, options, variables, parts):
    done = cli(*SLOW, *options, **variables)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert [part for part in parts if part not in done.stderr] == []
    assert not (tmp_path / "results").exists()


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------

LONG = (*SLOW, "--seeds", "4", "--epochs", "300", "--jobs", "2")


def end_group(cli, at: float, number: int, *more: float, arguments=LONG) -> tuple[int, list[str]]:
    """Send a signal to the whole process group, as a terminal does, ``at`` seconds after the start, and again after
    each of ``more``: exit code and what stands on standard error. Nothing of the group may be left."""
    run = subprocess.Popen(
        [*cli.command, *arguments], cwd=cli.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for pause in (at, *more):
        time.sleep(pause)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, number)
    run.wait(60)
    # One that is ending still has a line here, for a moment.
    deadline = time.monotonic() + 5
    while (alive := [line for line in processes(run.pid) if not line.startswith("Z")]) and time.monotonic() < deadline:
        time.sleep(0.05)
    _, stderr = run.communicate(timeout=60)
    assert alive == [], "processes are left behind"
    return run.returncode, stderr.splitlines()


def processes(group: int) -> list[str]:
    done = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    lines = [line.split(None, 1) for line in done.stdout.splitlines()]
    return [rest for own, rest in lines if int(own) == group]


def statuses(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in folder.glob("results/*/result.json")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("at", [0.2, 1.5, 3.0, 6.0])
def test_an_interruption_is_one_line_whatever_goes_on(cli, tmp_path, at, number):
    code, lines = end_group(cli, at, number)
    assert (code, lines) == (128 + number, [LINE])
    assert statuses(tmp_path) == [], "no cell has failed by it"
    assert not list(tmp_path.glob("results/*/.*.tmp")), "no half-written file is left"


def test_a_second_ctrl_c_does_no_harm(cli, tmp_path):
    for pauses in ((3.0, 0.0), (5.0, 0.1, 0.1), (5.0, 0.3)):
        assert end_group(cli, pauses[0], signal.SIGINT, *pauses[1:]) == (130, [LINE])
    assert statuses(tmp_path) == []


def test_in_one_process_too_and_the_command_goes_on_from_the_checkpoint(cli, tmp_path):
    one = (*SLOW, "--epochs", "40")
    assert end_group(cli, 6.0, signal.SIGINT, arguments=one) == (130, [LINE])
    assert list(tmp_path.glob("results/*/checkpoint.pt"))
    assert cli(*one).returncode == 0
    [history] = tmp_path.glob("results/*/history.json")
    assert json.loads(history.read_text())["resumed_at"] >= 1


def test_on_a_terminal_it_leaves_no_rest_of_the_bar(cli):
    ran = Terminal(cli, 40, *LONG)
    deadline = time.monotonic() + 60
    while "1/300" not in ran.text and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(ran.process.pid, signal.SIGINT)
    text = ran.end()
    assert ran.process.returncode == 130
    assert text.endswith(f"{LINE}\r\n")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    wiped = text[: text.rindex(LINE)].rsplit("\x1b[?25h", 1)[1]
    assert not CONTROL.sub("", wiped).strip()
    assert "Traceback" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_at_every_quarter_of_a_second(cli, tmp_path, request, number):
    if request.config.getoption("--kills") is None:
        pytest.skip("a longer study: pytest tests/harness/test_terminal.py --kills 1")
    # Not at 0: until the interpreter has read its own start-up files, nothing of ours runs.
    wrong = {}
    for quarter in range(1, 41):
        found = end_group(cli, quarter / 4, number)
        if found != (128 + number, [LINE]):
            wrong[quarter / 4] = found
    assert wrong == {}
    assert statuses(tmp_path) == []


def test_an_exception_that_is_swallowed_is_raised_again(tmp_path):
    code = """
        import signal, sys, time
        from braidbench import interruption
        interruption.install()
        class Finaliser:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)
        try:
            Finaliser()
            for _ in range(500):
                time.sleep(0.01)
            print("went on")
        except interruption.Interrupted:
            print("raised")
        sys.exit(interruption.end())
    """
    import textwrap

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("raised\n", f"{LINE}\n", 130)


def test_an_import_is_let_finish(tmp_path):
    (tmp_path / "slow_module.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(0.2)\nprint('imported')\n"
    )
    code = (
        "import sys, time\nfrom braidbench import interruption\ninterruption.install()\n"
        "try:\n    import slow_module\n    time.sleep(5)\n    print('went on')\n"
        "except interruption.Interrupted:\n    pass\nsys.exit(interruption.end())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("imported\n", f"{LINE}\n", 130)


# --- the time left ----------------------------------------------------------------------------------------------------


def test_the_time_left_by_what_is_known():
    run = Remaining(jobs=2)
    for cell, row in enumerate("aabb"):
        run.add(cell, "d", row, epochs=10, expected=None)
    assert run.seconds(0.0) is None, "nothing is known"
    run.begin(0, 0.0)
    run.begin(1, 0.0)
    assert run.seconds(1.0) is None
    run.epoch(0, 1, 10, 3.0)
    run.epoch(1, 1, 10, 3.0)
    run.epoch(0, 2, 10, 4.0)
    run.epoch(1, 2, 10, 4.0)
    # Start-up and an epoch 3 s, then 1 s an epoch: each ends at 12; the others by their epochs take 12 s too.
    assert run.seconds(4.0) == pytest.approx(8 + 12)
    assert run.seconds(6.0) == pytest.approx(6 + 12), "it runs down between two epochs"
    run.end(0, 12.0)
    run.end(1, 12.0)
    run.begin(2, 12.0)
    assert run.seconds(12.0) == pytest.approx(12)
    run.end(2, 16.0)
    run.begin(3, 12.0)
    assert run.seconds(16.0) == pytest.approx(0), "its own row took 4 s"
    run.end(3, 17.0)
    assert run.seconds(17.0) == 0


def test_earlier_cells_give_the_time_before_the_first_epoch_and_this_machines_pace_corrects_it():
    run = Remaining(jobs=1)
    run.add("x", "d", "a", epochs=10, expected=10.0)
    run.add("y", "d", "b", epochs=10, expected=40.0)
    assert run.seconds(0.0) == pytest.approx(50)
    run.begin("x", 0.0)
    run.epoch("x", 1, 10, 5.0)
    assert run.seconds(5.0) == pytest.approx(45), "one epoch with the start in it says less"
    run.end("x", 20.0)
    assert run.seconds(20.0) == pytest.approx(80), "twice as slow as before"


def test_a_cell_that_goes_on_from_a_checkpoint_is_timed_by_the_epochs_that_it_ran():
    run = Remaining(jobs=1)
    run.add("x", "d", "a", epochs=100, expected=None)
    run.begin("x", 0.0)
    run.epoch("x", 91, 100, 4.0)
    run.epoch("x", 92, 100, 6.0)
    assert run.seconds(6.0) == pytest.approx(16)


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (None, "time left unknown", "? left"),
        (0.2, "about 1 s left", "1 s left"),
        (89.4, "about 89 s left", "89 s left"),
        (600, "about 10 min left", "10 min left"),
        (9000, "about 2.5 h left", "2.5 h left"),
    ],
)
def test_the_time_left_in_words(seconds, long, short):
    assert (left(seconds), left(seconds, short=True)) == (long, short)
