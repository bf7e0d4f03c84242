"""What a process and its children cost: CPU time and resident memory, from /proc."""

import os
from pathlib import Path

_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
# Fields of /proc/<pid>/stat behind the name, which may hold spaces: parent, user time, system time, resident pages.
_PARENT, _USER, _SYSTEM, _RESIDENT = 1, 11, 12, 21


def family(pid: int) -> list[int]:
    """The process and all its living descendants."""
    parents = {int(each.name): _parent(int(each.name)) for each in Path("/proc").iterdir() if each.name.isdigit()}
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def cpu_us(pid: int) -> float:
    """User and system time of the process and its living descendants so far, in µs, to the clock tick (10 ms)."""
    return sum(_stat(each, _USER) + _stat(each, _SYSTEM) for each in family(pid)) * _TICK_US


def resident_mb(pid: int) -> float:
    """Resident memory of the greatest process of the family in MB (10^6 bytes)."""
    return max(_stat(each, _RESIDENT) for each in family(pid)) * _PAGE_MB


def _parent(pid: int) -> int:
    return _stat(pid, _PARENT)


def _stat(pid: int, place: int) -> int:
    """A field of a process; 0 of one that is gone."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(said.rpartition(")")[2].split()[place])
