"""The dashboard as a server of its own."""

from collections.abc import Collection

from starlette.types import ASGIApp

from pointsman.registry import Base, Registry

from ..web.access import Access
from ..web.app import build_app
from ..web.endpoints import Endpoint
from . import api, pages


def endpoints(registry: Registry, *, base: Base | None = None) -> list[Endpoint]:
    """The pages and their API, for a server that has other endpoints too.

    Args:
        registry: What they show.
        base: The base that the same server answers with; None: it makes no predictions.
    """
    return [*pages.endpoints(), *api.endpoints(registry, base=base)]


def dashboard(registry: Registry, *, access: Access, hosts: Collection[str] | None) -> ASGIApp:
    """The application of ``registry ui``.

    Args:
        registry: What it shows; it is closed by its owner.
        access: Which role a caller has.
        hosts: The names under which it may be called, in lower case; None: any name.

    Examples:
        >>> app = dashboard(registry, access=Access(tokens=None, anonymous=Role.READ), hosts=["127.0.0.1"])
    """
    return build_app(endpoints(registry), access=access, hosts=hosts)
