"""The bounds of numeric settings: values that every program which receives them can represent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# Three years. What a machine is told, and what the client reads back, is bounded likewise: they could not use an endless time.
MOST_SECONDS = 1e8
MOST_GIGABYTES = 1e5

Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS)]
# Zero is allowed: it means no pause at all.
Pause = Annotated[float, Field(ge=0, le=MOST_SECONDS)]
# The client alone waits, so that it may wait for ever: `.inf`.
Wait = Annotated[float, Field(ge=0)]
# `.inf` means no limit.
Usd = Annotated[float, Field(gt=0)]
Gigabytes = Annotated[float, Field(gt=0, le=MOST_GIGABYTES)]
Megabytes = Annotated[float, Field(ge=0)]
