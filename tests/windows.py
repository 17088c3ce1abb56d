"""What the tests of the dashboard in a browser share."""

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script> \u202egnol & "quoted"'
"""What no page may take for markup."""

OpenPage = Callable[..., Page]
"""Opens a page in a window of its own: ``open_page(site, "#/runs", token=site.admin)``."""


@dataclass
class Site:
    """A server of the dashboard."""

    url: str
    admin: str
    """A token that may change labels; callers without one may look."""
