"""A process of `kedro run`, on one computer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.scheduler import Process, Task

if TYPE_CHECKING:
    from pathlib import Path


class Client(Process):
    """One process of `kedro run`, on one computer."""

    def __init__(self, name: str, home: Path) -> None:
        super().__init__(name)
        self.home = home
        self.disk_full = False
        self.killed = False
        self.main: Task | None = None
        self.values: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, BaseException] = {}
        self.left: list[str] = []
        self.ended_at: float | None = None
