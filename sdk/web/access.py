"""Who may call the server: a token stands for a role, and each call needs one."""

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from enum import IntEnum
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers

from pointsman.registry.errors import SettingsError

from .errors import RefusedError

MIN_TOKEN_LENGTH: Final = 32
"""Characters of a token at least: a plain hash protects only what cannot be guessed."""


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
        >>> Tokens.of_lines([line]).role_of(token.encode())
        <Role.PREDICT: 2>
    """

    def __init__(self, roles: Mapping[bytes, Role]) -> None:
        self._roles = dict(roles)

    @classmethod
    def of_lines(cls, lines: Iterable[str]) -> "Tokens":
        """Those of lines that ``new_token`` made."""
        return cls(dict(_read_line(line.split()) for line in lines))

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
    """Decides which role a caller has, and refuses calls that need a higher one.

    Args:
        tokens: The tokens that callers name; None: the server knows none.
        anonymous: The role of a caller that names no token; None: it has none.

    Example:
        >>> access = Access(tokens=None, anonymous=Role.PREDICT)
        >>> access.check(Headers({}), Role.ADMIN)
        Traceback (most recent call last):
        pointsman.sdk.web.errors.RefusedError: this call needs the role admin; callers without a token have ...
    """

    def __init__(self, *, tokens: Tokens | None, anonymous: Role | None) -> None:
        self._tokens, self._anonymous = tokens, anonymous

    def check(self, headers: Headers, needed: Role | None) -> Role | None:
        """The caller's role, which includes ``needed``.

        Args:
            headers: Those of the call.
            needed: The role that the call needs; None: anybody may make it.

        Raises:
            RefusedError: The caller has no such role, with status 401 or 403.
        """
        if needed is None:
            return self._anonymous
        token = _bearer_token(headers)
        if self._tokens is None or (token is None and "authorization" not in headers and self._anonymous is not None):
            role, whose = self._anonymous, "callers without a token have"
        elif token is None:
            raise _unauthorized("this call needs a token, in one header 'Authorization: Bearer TOKEN'", "Bearer")
        else:
            role, whose = self._tokens.role_of(token), "the token has"
            if role is None:
                raise _unauthorized("the token is unknown", 'Bearer error="invalid_token"')
        if role is None:
            raise _unauthorized("this call needs a token, in one header 'Authorization: Bearer TOKEN'", "Bearer")
        if role < needed:
            raise RefusedError(
                403,
                f"this call needs the role {needed}; {whose} the role {role}",
                kind="ForbiddenError",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'},
            )
        return role

    def refusals(self, needed: Role | None) -> tuple[int, ...]:
        """The statuses with which callers are refused where this role is needed."""
        if needed is None:
            return ()
        if self._tokens is not None:
            return (401, 403) if needed > Role.READ else (401,)
        if self._anonymous is None:
            return (401,)
        return (403,) if self._anonymous < needed else ()


def _unauthorized(message: str, challenge: str) -> RefusedError:
    return RefusedError(401, message, kind="UnauthorizedError", headers={"WWW-Authenticate": challenge})


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
