"""The number of workers follows affinity and the CPU quota of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from combinations import for_each

from fanin.execution.usable_cores import count_usable_cores, read_cpu_quota

V1 = "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n"

QUOTAS: dict[str, tuple[dict[str, str], float | None]] = {
    "none is known": ({}, None),
    "version 2, in a container": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"},
        1.5,
    ),
    "version 2, no limit": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"},
        None,
    ),
    "version 2, the group above is narrower": (
        {
            "proc/self/cgroup": "0::/user/job\n",
            "sys/fs/cgroup/user/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/user/job/cpu.max": "400000 100000\n",
        },
        2.0,
    ),
    "version 1": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
        },
        3.0,
    ),
    "version 1, in a container that does not see its path": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        0.5,
    ),
    "version 1, no limit": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "no numbers": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "a lot\n"},
        None,
    ),
}


@for_each("case", QUOTAS)
def test_the_quota_is_read(tmp_path: Path, case: str) -> None:
    files, quota = QUOTAS[case]
    system = tmp_path / case
    for name, text in files.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)
    assert read_cpu_quota(system) == quota


def test_workers_follow_affinity_and_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    for quota, cores in (("max", 64), ("150000", 2), ("20000", 1), ("12800000", 64)):
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota} 100000\n")
        assert count_usable_cores(tmp_path) == cores
