"""A request as it arrived, and an answer that is an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

API_KEY = "rpa_PLANTED_ACCOUNT_KEY"


class RefusalError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, detail: str, errors: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    at: float
    answered: list[int] = field(default_factory=list)
