"""How many cells run side by side unless the user says: arithmetic with made-up machines."""

from __future__ import annotations

import pytest

from braidbench.capacity import (
    CONTEXT_BYTES,
    DEVICE_BYTES,
    GIB,
    HOST_BYTES,
    HOST_BYTES_ON_DEVICE,
    Demand,
    Machine,
    available,
    cgroup_memory,
    cpu_quota,
    demands,
    jobs,
    machine,
)
from braidbench.cell import Request
from braidbench.plan import Plan, Planned
from braidbench.results import Cost, Result

SMALL = Demand(1 * GIB)


@pytest.mark.parametrize(
    ("cells", "machine", "threads", "expected"),
    [
        ([SMALL] * 3, Machine(8), 1, 3),
        ([SMALL] * 30, Machine(8), 1, 8),
        ([SMALL] * 30, Machine(8), 4, 2),
        ([SMALL] * 30, Machine(2.5), 1, 2),
        ([SMALL] * 30, Machine(0.5), 1, 1),
        ([SMALL] * 30, Machine(8, host_bytes=5 * GIB), 1, 5),
        ([SMALL] * 30, Machine(8, host_bytes=GIB // 2), 1, 1),
        # Any two of these need 5 GiB at most; three may need 6.
        ([Demand(1 * GIB), Demand(3 * GIB), Demand(2 * GIB)], Machine(8, host_bytes=5 * GIB), 1, 2),
        # A GPU of 80 GiB holds 50 cells of 1.6 GiB: the cores decide. One of 8 GiB holds 5.
        ([Demand(2 * GIB, 16 * GIB // 10)] * 30, Machine(16, 128 * GIB, 80 * GIB), 1, 16),
        ([Demand(2 * GIB, 16 * GIB // 10)] * 30, Machine(16, 128 * GIB, 8 * GIB), 1, 5),
        ([Demand(2 * GIB, 16 * GIB // 10)] * 30, Machine(16, 6 * GIB, 80 * GIB), 1, 3),
        ([], Machine(8), 1, 1),
    ],
)
def test_as_many_as_fit_by_what_is_scarcest(cells, machine, threads, expected):
    assert jobs(cells, machine, threads) == expected


def planned(root, row: str) -> Planned:
    return Planned(Request("d", row, 0, results=root), "d", "t", "to run")


def store(root, row: str, dataset: str, host: int, device: int | None) -> None:
    folder = root / f"{dataset}-{row}"
    folder.mkdir(parents=True)
    cost = Cost(
        parameters_trained=1, parameters_total=1, flops_per_sample=1, train_seconds=1.0, epochs=1,
        inference_seconds_per_sample=1.0, inference_batch_size=1, peak_host_bytes=host, peak_device_bytes=device,
    )  # fmt: skip
    result = Result(
        cell="0" * 64, dataset=dataset, task="t", method=row, seed=0, status="ok", cost=cost, identity={}, command="",
        started="2026-01-01T00:00:00+00:00", finished="2026-01-01T00:01:00+00:00",
    )  # fmt: skip
    (folder / "result.json").write_text(result.model_dump_json())


def test_what_earlier_cells_took_counts_and_never_less_than_is_usual(tmp_path):
    store(tmp_path, "big", "d", 5 * GIB, 9 * GIB)
    store(tmp_path, "small", "d", GIB // 4, GIB // 8)
    store(tmp_path, "new", "another", 50 * GIB, 50 * GIB)
    plan = Plan([planned(tmp_path, row) for row in ("big", "small", "new")])
    assert demands(plan, on_device=False) == [Demand(5 * GIB), Demand(HOST_BYTES), Demand(5 * GIB)]
    assert demands(plan, on_device=True) == [
        Demand(5 * GIB, 9 * GIB + CONTEXT_BYTES),
        Demand(HOST_BYTES_ON_DEVICE, GIB // 8 + CONTEXT_BYTES),
        Demand(5 * GIB, 9 * GIB + CONTEXT_BYTES),
    ]
    nothing = Plan([planned(tmp_path / "empty", "big")])
    assert demands(nothing, on_device=True) == [Demand(HOST_BYTES_ON_DEVICE, DEVICE_BYTES + CONTEXT_BYTES)]


def test_control_groups_of_version_2(tmp_path):
    own = tmp_path / "user.slice" / "job"
    own.mkdir(parents=True)
    text = "0::/user.slice/job"
    assert cpu_quota(tmp_path, text) is None
    assert cgroup_memory(tmp_path, text) is None
    (own / "cpu.max").write_text("max 100000\n")
    (own / "memory.max").write_text("max\n")
    assert cpu_quota(tmp_path, text) is None
    assert cgroup_memory(tmp_path, text) is None
    # The limit of the group around it holds too.
    (own.parent / "cpu.max").write_text("150000 100000\n")
    (own.parent / "memory.max").write_text(f"{8 * GIB}\n")
    (own.parent / "memory.current").write_text(f"{5 * GIB}\n")
    (own.parent / "memory.stat").write_text(f"anon {3 * GIB}\ninactive_file {2 * GIB}\n")
    assert cpu_quota(tmp_path, text) == 1.5
    assert cgroup_memory(tmp_path, text) == 5 * GIB


def test_control_groups_of_version_1_whose_path_is_the_hosts(tmp_path):
    for name, content in {
        "cpu/cpu.cfs_quota_us": "300000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(4 * GIB),
        "memory/memory.usage_in_bytes": str(GIB),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content + "\n")
    text = "9:name=systemd:/x\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/"
    assert cpu_quota(tmp_path, text) == 3.0
    assert cgroup_memory(tmp_path, text) == 3 * GIB
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert cpu_quota(tmp_path, text) is None
    assert cgroup_memory(tmp_path, text) is None


def test_the_kernels_own_word_on_free_memory():
    assert available("MemTotal: 10 kB\nMemAvailable:    2048 kB\n") == 2 << 20
    assert available("") is None


def test_this_machine_has_something_free():
    here = machine(on_device=False)
    assert here.cores > 0
    assert here.host_bytes is None or here.host_bytes > 0
    assert here.device_bytes is None
