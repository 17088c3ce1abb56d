"""Upkeep: check, repair, clean, back up and diagnose a registry, and move versions between registries.

One operation a module: ``verify`` reads everything and lists problems, ``repair`` restores files from good copies,
``garbage`` removes files that no version needs, ``adopt`` takes over an object store, ``backup`` copies a registry,
``bundle_export`` and ``bundle_import`` move versions in one file, and ``doctor`` looks a registry over quickly, also
one that cannot be opened.
"""

from .adopt import Adoption, adopt_store
from .backup import Backup, back_up
from .bundle_export import export_bundle
from .bundle_import import Imported, import_bundle
from .doctor import Diagnosis, diagnose
from .garbage import Garbage, collect_garbage
from .problems import Problem
from .repair import Repair, repair
from .verify import Report, verify

__all__ = [
    "Adoption",
    "Backup",
    "Diagnosis",
    "Garbage",
    "Imported",
    "Problem",
    "Repair",
    "Report",
    "adopt_store",
    "back_up",
    "collect_garbage",
    "diagnose",
    "export_bundle",
    "import_bundle",
    "repair",
    "verify",
]
