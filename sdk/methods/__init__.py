"""Adapter methods: their names, their full configurations, and the bases that support them."""

from .catalogue import DEFAULT_METHOD, FORMER_NAMES, LONGEST_NAME, METHODS, Method, find_method, part_names
from .configure import ONLY_TRAINING, configure, full_config, is_vera, parts_of

__all__ = [
    "DEFAULT_METHOD",
    "FORMER_NAMES",
    "LONGEST_NAME",
    "METHODS",
    "ONLY_TRAINING",
    "Method",
    "configure",
    "find_method",
    "full_config",
    "is_vera",
    "part_names",
    "parts_of",
]
