"""The files of a fusion layer."""

from collections.abc import Mapping
from typing import Final

from pointsman.registry.errors import SettingsError, WeightsError

from ..methods.fusion import DEFAULTS, configure_fusion
from .native import Stored, read_config, read_tensors

FUSION_WEIGHTS: Final = "fusion.safetensors"


FUSION_CONFIG: Final = "fusion_config.json"


def read_fusion(files: Mapping[str, bytes]) -> Stored:
    """What the files of a version hold of its fusion layer, its tensors by the places where they are.

    Raises:
        WeightsError: A file is missing or damaged, or the configuration is not that of a fusion layer.
    """
    config, tensors = read_config(files, FUSION_CONFIG)["config"], read_tensors(files, FUSION_WEIGHTS)
    if config.keys() != DEFAULTS.keys():
        odd = ", ".join(sorted(config.keys() ^ DEFAULTS.keys()))
        raise WeightsError(f"{FUSION_CONFIG} does not have the fields of a fusion layer; missing or unknown: {odd}")
    try:
        return Stored(config=configure_fusion(config), tensors=tensors)
    except SettingsError as error:
        raise WeightsError(f"{FUSION_CONFIG}: {error}") from error
