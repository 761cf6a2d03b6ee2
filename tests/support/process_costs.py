"""What processes cost: CPU seconds, resident memory and open files of a process tree, from Linux's /proc."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")

# Fields of /proc/<pid>/stat, counted after the command's closing parenthesis (proc(5) counts from 1, these from 3).
_PARENT = 1
_CPU_TIMES = slice(11, 15)  # user and system time, its own and that of ended children it has waited for


def cpu_seconds(root: int) -> float:
    """Return the CPU seconds that ``root`` and its descendants have used so far."""
    ticks = sum(sum(map(int, fields[_CPU_TIMES])) for _, fields in _tree(root))
    return ticks / _TICKS_PER_SECOND


def process_ids(root: int) -> list[int]:
    """Return the ids of ``root`` and its descendants."""
    return [pid for pid, _ in _tree(root)]


def busy_seconds() -> float:
    """Return the CPU seconds that the whole machine has been busy since it started, on all cores together."""
    user, nice, system, _idle, _waiting, *rest = (_PROC / "stat").read_text().partition("\n")[0].split()[1:9]
    return sum(map(int, (user, nice, system, *rest))) / _TICKS_PER_SECOND


def memory_mb(root: int) -> tuple[float, float]:
    """Return the resident memory of the largest child of ``root`` (a server's worker) in MB: now, and at its peak."""
    sizes = [_memory(pid) for pid, _ in _tree(root) if pid != root]
    return max(now for now, _ in sizes), max(peak for _, peak in sizes)


def open_files(pid: int) -> int:
    """Return how many files, sockets and pipes ``pid`` has open."""
    return len(list((_PROC / str(pid) / "fd").iterdir()))


def _memory(pid: int) -> tuple[float, float]:
    lines = (line.partition(":") for line in (_PROC / str(pid) / "status").read_text().splitlines())
    kilobytes = {name: float(value.split()[0]) for name, _, value in lines if name in {"VmRSS", "VmHWM"}}
    return kilobytes["VmRSS"] * 1024 / 1e6, kilobytes["VmHWM"] * 1024 / 1e6


def _tree(root: int) -> Iterator[tuple[int, list[str]]]:
    """Yield process id and stat fields of ``root`` and its living descendants."""
    stats = dict(_stats())
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        waiting.extend(children.get(pid, []))
        yield pid, stats[pid]


def _stats() -> Iterator[tuple[int, list[str]]]:
    for directory in _PROC.iterdir():
        if directory.name.isdigit():
            try:
                stat = (directory / "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            yield int(directory.name), stat.rpartition(")")[2].split()
