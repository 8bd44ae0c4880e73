"""A digest of a value: the same for the same value in every process, and another for whatever a function could tell apart."""

from __future__ import annotations

import pickle
from typing import Any


class DigestError(Exception):
    """Signals that a value cannot be followed: only cloudpickle can write it, as with a lambda."""


def value_digest(value: Any) -> str:
    """Return a digest of a value.

    A pickle's bytes do not serve: the order of a set differs between processes, and a text that two objects share is written once. This
    is joblib's hash, which handles both, but for the order of a dict, which a function sees and joblib's hash leaves out.

    Raises:
        DigestError: the value cannot be followed.
    """
    from joblib.hashing import NumpyHasher  # noqa: PLC0415  # only for values that are neither a table nor JSON

    class Hasher(NumpyHasher):
        def save(self, part: Any) -> None:
            # By value: equal sets are equal, whether they are one object or two. A subclass may hold more than its items.
            super().save(_Unordered(type(part).__name__, _ordered(part)) if type(part) in (set, frozenset) else part)

        def _batch_setitems(self, items: Any, *more: Any) -> None:
            pickle._Pickler._batch_setitems(self, items, *more)  # type: ignore[attr-defined]  # noqa: SLF001  # past joblib's, which sorts

    def digest(part: Any) -> str:
        return str(Hasher(hash_name="sha1").hash(part))

    def _ordered(items: Any) -> list[Any]:
        kinds = {type(item) for item in items}
        # Others may have no order, or, as sets have, one that is not total.
        return sorted(items) if len(kinds) <= 1 and kinds <= {str, int, bytes} else sorted(digest(item) for item in items)

    try:
        return digest(value)
    except Exception as error:  # whatever a class raises for it: a masked array has a ValueError
        raise DigestError(str(error)) from error


class _Unordered:
    """The items of a set, in an order that is the same in every process."""

    def __init__(self, kind: str, items: list[Any]) -> None:
        self.kind = kind
        self.items = items
