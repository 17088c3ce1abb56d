"""Keeping a registry in order: verify, repair, collect garbage, back up, move versions between registries."""

from .backup import Backup, back_up
from .bundle import export_bundle
from .bundle_import import Imported, import_bundle
from .doctor import Diagnosis, diagnose
from .garbage import Garbage, collect_garbage
from .repair import Repair, repair
from .verify import Problem, Report, verify

__all__ = [
    "Backup",
    "Diagnosis",
    "Garbage",
    "Imported",
    "Problem",
    "Repair",
    "Report",
    "back_up",
    "collect_garbage",
    "diagnose",
    "export_bundle",
    "import_bundle",
    "repair",
    "verify",
]
