"""The fingerprints that releases up to 0.1 gave, which stay computable: versions are registered under them.

They were of what ``PretrainedConfig.to_diff_dict`` of transformers 4.57.6 left of a configuration: what its file says,
and what differs from the library's defaults. ``former_defaults.json`` holds the defaults of that release for the model
types that have adapters in common use, so that no other release changes what is left.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_TABLE: Final[Mapping[str, Any]] = json.loads(
    Path(__file__).with_name("former_defaults.json").read_text(encoding="utf-8")
)

COMMON: Final[Mapping[str, Any]] = _TABLE["common"]
"""The fields that every configuration of transformers 4.57.6 has, and their defaults."""

_OF_TYPE: Final[Mapping[str, Mapping[str, Any]]] = _TABLE["of_type"]
"""By model type: the fields of its own, and those of ``COMMON`` with another default."""

NOT_ENCODED: Final = frozenset(
    {
        "_name_or_path",
        "adapters",
        "architectures",
        "custom_heads",
        "dtype",
        "finetuning_task",
        "id2label",
        "label2id",
        "prediction_heads",
        "problem_type",
        "reference_compile",
        "torch_dtype",
        "transformers_version",
    }
)
"""What a configuration says of where it was saved and by what, and of heads: none of it changes an encoding."""


def former_identity(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that the former fingerprint is of.

    Args:
        config: The base's configuration, as transformers has it.
        values: The same as a dictionary, with the library's defaults where the base's own file says nothing.
    """
    own = _OF_TYPE.get(config.model_type)
    if own is None:
        fields = config.to_diff_dict()
    else:
        defaults = {**COMMON, **own}
        # A field that a later release gives to every base of the type was none of the file's; any other one is.
        added = type(config)().to_dict().keys() - defaults.keys()
        values = {**defaults, **{name: value for name, value in values.items() if name not in added}}
        values["model_type"] = config.model_type
        fields = {
            name: value
            for name, value in values.items()
            if name not in COMMON or value != COMMON[name] or value != defaults[name]
        }
    return {name: value for name, value in fields.items() if name not in NOT_ENCODED}
