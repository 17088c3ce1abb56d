"""Whose store it is: a small file in it, ``registry.json``, names the one registry that may add and remove files.

It also names the newest write that the registry's database has to know of, so that an older copy of it is refused.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ..errors import Action, Advice, StoreError

OWNER_FILE: Final = "registry.json"
"""The file's name, in the store's root."""

LARGEST: Final = 1 << 16
"""Bytes of it that are read."""


@dataclass(frozen=True, kw_only=True)
class StoreOwner:
    """The registry that a store belongs to.

    Examples:
        >>> StoreOwner.read(store.read_owner(), store.label).registry
        '5f0c9d1b7a3e4c2d8f6a1b0c9d8e7f6a'
    """

    registry: str
    """The registry's id, from its database."""
    claimed: datetime
    """When it took the store."""
    schema: str
    """The schema of its database then."""
    preexisting: bool = False
    """Whether there were objects then that no version of it needed: another registry may need them, so garbage
    collection leaves what is older than ``claimed``."""
    generation: str | None = None
    """The token that its database got before files of new versions were last stored. A copy of the database that does
    not have it lacks some of these versions. None if nothing was stored since the store was taken."""

    def content(self) -> bytes:
        """What the file holds."""
        fields = {**vars(self), "claimed": self.claimed.isoformat()}
        return json.dumps({"format": 1, **fields}, indent=2).encode()

    @classmethod
    def read(cls, content: bytes, label: str) -> "StoreOwner":
        """The owner that the file's content names; fields of later releases are ignored.

        Args:
            content: The content.
            label: The store's name, for the message.

        Raises:
            StoreError: It is not the content of such a file.
        """
        try:
            fields = json.loads(content)
            claimed = datetime.fromisoformat(fields["claimed"])
            registry, schema, preexisting = fields["registry"], fields["schema"], fields.get("preexisting", False)
            generation = fields.get("generation")
            if not isinstance(registry, str) or not registry or claimed.tzinfo is None:
                raise ValueError("it names no registry")
            if not isinstance(generation, str | None):
                raise TypeError("its generation is no text")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{OWNER_FILE} in the object store {label} does not say which registry the store belongs to ({error})",
                advice=Advice(Action.ADOPT_STORE),
            ) from error
        return cls(
            registry=registry,
            claimed=claimed,
            schema=str(schema),
            preexisting=bool(preexisting),
            generation=generation,
        )
