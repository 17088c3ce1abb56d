"""The files of a fusion layer: ``fusion.safetensors`` and ``fusion_config.json``."""

from collections.abc import Mapping
from typing import Final

from pointsman.registry.errors import SettingsError, WeightsError

from ..methods.fusion import DEFAULTS, configure_fusion
from .native import ModuleState, read_config, read_tensors

FUSION_WEIGHTS: Final = "fusion.safetensors"


FUSION_CONFIG: Final = "fusion_config.json"


def read_fusion(files: Mapping[str, bytes]) -> ModuleState:
    """The fusion layer in the files of a version.

    Raises:
        WeightsError: A file is missing or damaged, or the configuration is not that of a fusion layer.
    """
    config, tensors = read_config(files, FUSION_CONFIG)["config"], read_tensors(files, FUSION_WEIGHTS)
    if config.keys() != DEFAULTS.keys():
        differing = ", ".join(sorted(config.keys() ^ DEFAULTS.keys()))
        raise WeightsError(
            f"{FUSION_CONFIG} does not have the fields of a fusion layer; missing or unknown: {differing}"
        )
    try:
        return ModuleState(config=configure_fusion(config), tensors=tensors)
    except SettingsError as error:
        raise WeightsError(f"{FUSION_CONFIG}: {error}") from error
