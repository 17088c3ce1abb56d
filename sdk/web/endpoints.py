"""The paths of a server, each with the role that it needs."""

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .access import Access, Role
from .errors import ErrorForm, openai_form
from .operations import Operation

Answer = Callable[[HttpRequest], Awaitable[Response]]
"""From a call to its answer."""


class Endpoint(Route):
    """A path that answers one method, with the role that callers need.

    The role belongs to the route that answers, and not to the text of the path, which callers choose.

    Args:
        method: ``GET``, which has HEAD with it, ``POST``, ``PUT`` or ``DELETE``.
        path: With parameters in braces, ``/v1/models/{ref:path}``.
        answer: Answers a call.
        role: What a caller must be; None: anybody may call.
        operation: What the document of the server says of it; None: it is not in it.
        error_form: From an error to the body of its answer.
    """

    def __init__(
        self,
        method: str,
        path: str,
        answer: Answer,
        *,
        role: Role | None,
        operation: Operation | None = None,
        error_form: ErrorForm = openai_form,
    ) -> None:
        super().__init__(path, answer, methods=[method])
        self.method, self.role, self.operation, self.error_form = method, role, operation, error_form

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call whose path fits, if its caller has the role.

        Raises:
            RefusedError: It has not.
        """
        call = scope["state"]["call"]
        call.route = self.path_format
        scope["state"]["error_form"] = self.error_form
        access: Access = scope["app"].state.access
        # A method that the path has not changes nothing: it is answered with 405.
        needed = self.role if scope["method"] in (self.methods or ()) else self.role and Role.READ
        call.role = access.check(Headers(scope=scope), needed)
        await super().handle(scope, receive, send)
