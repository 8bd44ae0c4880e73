"""The name of a pod's environment: the same packages for the same Python in the same image have the same one."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def environment_name(requirements: Sequence[str], python: str, image: str) -> str:
    """Return an environment's name, sixteen hexadecimal digits; empty where nothing is installed.

    Args:
        requirements: what is installed.
        python: the release of Python, such as `3.12`; empty for the image's own.
        image: the container's image: wheels are built for its C library, and its Python may be the environment's.
    """
    if not requirements:
        return ""
    return hashlib.sha256(json.dumps([sorted(requirements), python, image]).encode()).hexdigest()[:16]
