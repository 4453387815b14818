"""A host condition is true only when it was shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gate.host_conditions import HostConditions, host_conditions

SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"


def host(root: Path, **files: str) -> HostConditions:
    paths = {
        "cmdline": "proc/cmdline",
        "swaps": "proc/swaps",
        "core_pattern": "proc/sys/kernel/core_pattern",
        "power": "sys/power/state",
    }
    for name, content in files.items():
        path = root / paths[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return host_conditions(root)


def test_what_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    assert host_conditions(tmp_path) == HostConditions(False, False, False, False)


def test_a_hardened_host(tmp_path: Path) -> None:
    found = host(
        tmp_path,
        cmdline="BOOT_IMAGE=/vmlinuz init_on_free=1 quiet\n",
        swaps=SWAPS,
        core_pattern="|/bin/false\n",
        power="freeze mem\n",
    )
    assert found == HostConditions(True, True, True, True)


@pytest.mark.parametrize(
    ("name", "content", "condition"),
    [
        ("cmdline", "init_on_free=0", "init_on_free"),
        ("cmdline", "xinit_on_free=1 init_on_free=11", "init_on_free"),
        ("swaps", SWAPS + "/dev/sda2 partition 1 0 -2\n", "swap_off"),
        ("core_pattern", "core", "core_dumps_off"),
        ("core_pattern", "|/usr/lib/systemd/systemd-coredump %P", "core_dumps_off"),
        ("power", "freeze mem disk\n", "hibernation_off"),
    ],
)
def test_a_host_that_keeps_something(
    tmp_path: Path, name: str, content: str, condition: str
) -> None:
    good = {
        "cmdline": "init_on_free=1",
        "swaps": SWAPS,
        "core_pattern": "",
        "power": "mem",
    }
    found = vars(host(tmp_path, **(good | {name: content})))
    assert found == {key: key != condition for key in found}


def test_this_host_can_be_asked() -> None:
    assert isinstance(host_conditions(), HostConditions)
