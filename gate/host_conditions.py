"""What the host does with memory that a process gave back. Facts for the log and the admin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostConditions:
    """Each is true only when it was shown; unknown counts as false."""

    init_on_free: bool
    """The kernel clears pages when they are freed (`init_on_free=1`)."""
    swap_off: bool
    core_dumps_off: bool
    """The kernel's core pattern writes no file and feeds no collector."""
    hibernation_off: bool


def host_conditions(root: Path = Path("/")) -> HostConditions:
    """Read the conditions from /proc and /sys below `root`."""

    def text(path: str) -> str | None:
        try:
            return (root / path).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return None

    cmdline = text("proc/cmdline") or ""
    swaps = text("proc/swaps")
    core_pattern = text("proc/sys/kernel/core_pattern")
    power_states = text("sys/power/state")
    power_known = (root / "sys").is_dir()
    return HostConditions(
        init_on_free="init_on_free=1" in cmdline.split(),
        swap_off=swaps is not None and len(swaps.splitlines()) <= 1,
        core_dumps_off=core_pattern in ("", "|/bin/false"),
        hibernation_off=power_known and "disk" not in (power_states or "").split(),
    )
