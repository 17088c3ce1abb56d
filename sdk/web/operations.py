"""What the document of a server says of an endpoint."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .schemas import Schema

Parameter = Mapping[str, Any]
"""An OpenAPI parameter object."""


def parameter(name: str, place: str, description: str, *, example: str) -> Parameter:
    """A text in the ``path``, which is needed and has a letter, or in a ``query`` or ``header``, which may be missing.

    Args:
        name: Its name.
        place: Where it stands.
        description: What it is.
        example: One that is answered.
    """
    is_needed = place == "path"
    return {
        "name": name,
        "in": place,
        "required": is_needed,
        "description": description,
        "schema": {"type": "string", **({"minLength": 1} if is_needed else {})},
        "example": example,
    }


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What an endpoint takes and answers with.

    Examples:
        >>> Operation(summary="What is in memory", answers={200: STATUS})
    """

    summary: str
    """What a call does, in a line."""
    answers: Mapping[int, Schema]
    """What is answered, by status, if it is no error."""
    media: str = "application/json"
    """The type of the answers."""
    body: Schema | None = None
    """What is sent; None: no body is read."""
    example: Any = None
    """A body that is answered."""
    parameters: Sequence[Parameter] = ()
    """Of the path, the query and headers; those of a path that the endpoint's has not are left out."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the answers, and what each is."""
    errors: Collection[int] = ()
    """The statuses of errors, beside those of a body that is wrong and of callers who may not call."""
