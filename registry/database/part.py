"""What the parts of ``Registry`` have in common; each room adds its public methods in a class of its own."""

from pathlib import Path

from ..storage.objects import Store
from .database import Database


class RegistryPart:
    """The places that the methods of ``Registry`` work on."""

    home: Path
    """The registry's directory, absolute."""
    database: Database
    store: Store
