"""Who may call the server: a token stands for a role, and each call needs one."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from enum import IntEnum
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.registry.errors import SettingsError

MIN_TOKEN_LENGTH: Final = 32
"""Characters of a token at least: a plain hash protects only what cannot be guessed."""

_PREDICTING: Final = frozenset({"classify", "mixed", "predict", "infer"})
"""The last parts of the paths that predict."""


class Role(IntEnum):
    """What a caller may do; each role includes those below it."""

    READ = 1
    """See what there is."""
    PREDICT = 2
    """Ask for predictions."""
    ADMIN = 3
    """Change something."""

    def __str__(self) -> str:
        return self.name.lower()


class Tokens:
    """The tokens that the server knows, as hashes.

    Args:
        roles: The role of each token, by the 32 bytes of its sha256.

    Example:
        >>> token, line = new_token(Role.PREDICT)
        >>> Tokens({bytes.fromhex(line.split()[1]): Role.PREDICT}).role_of(token.encode())
        <Role.PREDICT: 2>
    """

    def __init__(self, roles: Mapping[bytes, Role]) -> None:
        self._roles = dict(roles)

    def role_of(self, token: bytes) -> Role | None:
        """The role that a token stands for; None if it is unknown or shorter than ``MIN_TOKEN_LENGTH``.

        Every hash is compared, each in constant time, so that the time of an answer tells nothing about them.
        """
        digest = sha256(token).digest()
        role = None
        for known, stands_for in self._roles.items():
            if compare_digest(known, digest):
                role = stands_for
        return role if len(token) >= MIN_TOKEN_LENGTH else None


def new_token(role: Role) -> tuple[str, str]:
    """A new random token, and the line of a token file that gives it a role."""
    token = secrets.token_urlsafe(MIN_TOKEN_LENGTH)
    return token, f"{role} {sha256(token.encode()).hexdigest()}"


def read_tokens(path: Path) -> Tokens:
    """Read a token file: lines ``ROLE SHA256``, where ``#`` starts a comment.

    Raises:
        SettingsError: The file cannot be read, others may read or write it, or a line is none of these. No message
            quotes a line, which may hold a token by mistake.
    """
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            text = file.read().decode()
    except OSError as error:
        raise SettingsError(f"the token file '{path}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the token file '{path}' is not UTF-8 text") from error
    roles: dict[bytes, Role] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            digest, role = _read_line(words)
            if digest in roles:
                raise ValueError("the sha256 of an earlier line")
        except ValueError as error:
            raise SettingsError(
                f"line {number} of the token file '{path}' must be a role (read, predict or admin) and the sha256 of a "
                f"token of at least {MIN_TOKEN_LENGTH} characters in 64 hexadecimal digits; found {error}"
            ) from error
        roles[digest] = role
    if not roles:
        raise SettingsError(f"the token file '{path}' has no token, so that nobody could call the server")
    return Tokens(roles)


class Access:
    """Lets a call through if its caller has the role that it needs.

    Args:
        app: What answers the calls that may be made.
        tokens: The tokens that callers name; None where all callers may read and predict.
        error: Makes an error from its status, kind, message and headers.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens | None, error: Callable[..., Response]) -> None:
        self._app, self._tokens, self._error = app, tokens, error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, or refuse it with 401 or 403 before its body is read."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        needed = needed_role(scope)
        if needed is None:
            return None
        role = Role.PREDICT
        if self._tokens is not None:
            token = _bearer_token(Headers(scope=scope))
            if token is None:
                message = "this call needs a token, in one header 'Authorization: Bearer TOKEN'"
                return self._unauthorized(message, "Bearer")
            known = self._tokens.role_of(token)
            if known is None:
                return self._unauthorized("the token is unknown", 'Bearer error="invalid_token"')
            role = known
        if role >= needed:
            return None
        whose = "callers without a token have" if self._tokens is None else "the token has"
        return self._error(
            403,
            "ForbiddenError",
            f"this call needs the role {needed}; {whose} the role {role}",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'},
        )

    def _unauthorized(self, message: str, challenge: str) -> ASGIApp:
        return self._error(401, "UnauthorizedError", message, headers={"WWW-Authenticate": challenge})


def needed_role(scope: Scope) -> Role | None:
    """The role that a call needs; None for those of health, which anybody may make.

    The route that answers the call decides, as the application has it, and no part of the path that callers choose. A
    call without a route changes nothing: it is answered with 404 or 405.
    """
    route = next((route for route in scope["app"].routes if route.matches(scope)[0] is Match.FULL), None)
    path = getattr(route, "path", "")
    if path.startswith("/v2/health/"):
        return None
    if route is None or scope["method"] in ("GET", "HEAD"):
        return Role.READ
    predicts = scope["method"] == "POST" and path.rpartition("/")[2] in _PREDICTING
    return Role.PREDICT if predicts else Role.ADMIN


def _bearer_token(headers: Headers) -> bytes | None:
    """The token of the one header that names one (RFC 6750)."""
    values = headers.getlist("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip(" ").encode("latin-1") if scheme.lower() == "bearer" and token.strip(" ") else None


def _read_line(words: list[str]) -> tuple[bytes, Role]:
    """The sha256 and the role of a line.

    Raises:
        ValueError: It has none; the message says what it has, without quoting it.
    """
    if len(words) != 2:
        raise ValueError(f"{len(words)} words" if len(words) > 1 else "one word")
    role = next((role for role in Role if str(role) == words[0]), None)
    if role is None:
        raise ValueError("another first word")
    if not re.fullmatch("[0-9A-Fa-f]{64}", words[1]):
        raise ValueError(f"a second word of {len(words[1])} characters that is no sha256")
    return bytes.fromhex(words[1]), role


def _check_private(path: Path, status: os.stat_result) -> None:
    """Refuse a file that other users may read, or write to give themselves a role.

    Raises:
        SettingsError: They may.
    """
    if os.name != "posix":  # other systems tell no permissions of other users here
        return
    mode = status.st_mode & 0o777
    if mode & 0o077:
        raise SettingsError(
            f"the token file '{path}' has the permissions {mode:04o}, so other users may read or change it; "
            "allow it to its owner only: 0600"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise SettingsError(
            f"the token file '{path}' belongs to another user, who may change it; it must belong to the user who serves"
        )
