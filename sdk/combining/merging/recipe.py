"""How versions are merged: the formula, its weights and its settings, checked when the recipe is made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from pointsman.registry.errors import SettingsError, unknown

from ...core.arguments import as_float, as_list, is_whole, short_repr

HOWS: Final = ("linear", "arithmetic", "svd", "ties", "dare")
MEANS: Final = ("linear", "ties", "dare")
"""The formulas whose weights are shares that add up to 1."""

_FORMULAS_OF: Final = {"density": ("ties", "dare"), "scale": ("ties",), "rank": ("svd",), "seed": ("dare",)}
_DEFAULTS: Final = {("ties", "density"): 0.2, ("ties", "scale"): 1.0, ("dare", "density"): 0.5, ("dare", "seed"): 0}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How versions are merged.

    Raises:
        SettingsError: A value that cannot work.

    Examples:
        >>> Recipe.of("ties", None, members=2).weights
        (0.5, 0.5)
    """

    how: str
    """The formula, one of ``HOWS``."""
    weights: tuple[float, ...]
    """One for each member."""
    density: float | None = None
    """Of ties and dare: the share of entries that is kept; by default 0.2 (as in the paper) and 0.5."""
    scale: float | None = None
    """Of ties: the factor of the result, the paper's λ; by default 1."""
    rank: int | None = None
    """Of svd: the rank of the result; None: the first member's."""
    seed: int | None = None
    """Of dare: the seed that draws the dropped entries; by default 0."""

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise unknown(SettingsError, "formula", str(self.how), HOWS)
        for field, formulas in _FORMULAS_OF.items():
            if self.how not in formulas and getattr(self, field) is not None:
                raise SettingsError(
                    f"{field} belongs to {' and '.join(formulas)}; found it with {self.how}: leave it out"
                )
            if getattr(self, field) is None:
                object.__setattr__(self, field, _DEFAULTS.get((self.how, field)))
        self._check_weights()
        if self.density is not None and not 0 < as_float(self.density) <= 1:
            raise SettingsError(
                f"density is the share of entries that is kept, above 0 and at most 1; found {short_repr(self.density)}"
            )
        if self.scale is not None and not 0 < as_float(self.scale) < math.inf:
            raise SettingsError(f"scale must be a number above 0; found {short_repr(self.scale)}")
        if self.rank is not None and not (is_whole(self.rank) and self.rank >= 1):
            raise SettingsError(f"rank must be a whole number, at least 1; found {short_repr(self.rank)}")
        if self.seed is not None and not (is_whole(self.seed) and 0 <= self.seed < 2**63):
            raise SettingsError(f"seed must be a whole number, at least 0; found {short_repr(self.seed)}")

    @classmethod
    def of(cls, how: str, weights: Sequence[float] | None, *, members: int, **settings: Any) -> "Recipe":
        """The recipe for a number of members; without weights, all weigh the same.

        Raises:
            SettingsError: A value that cannot work, or there are too few members.
        """
        if members < 1:
            raise SettingsError("nothing to merge: name at least two members")
        if members == 1 and how != "arithmetic":
            raise SettingsError(
                "one member is nothing to merge: name at least two, or negate it: how 'arithmetic', with the weight -1"
            )
        if weights is None and how == "arithmetic":
            raise SettingsError("arithmetic needs weights, one for each member; a negative weight subtracts its update")
        given = [1 / members] * members if weights is None else as_list(weights)
        if given is None:
            raise SettingsError(f"weights are a list of numbers, one for each member; found {short_repr(weights)}")
        if len(given) != members:
            raise SettingsError(f"each member has one weight: found {len(given)} for {members} members")
        return cls(how=how, weights=tuple(given), **settings)

    @property
    def is_mean(self) -> bool:
        """Whether the weights are shares: none negative, and their sum 1."""
        return min(self.weights) >= 0 and math.isclose(sum(self.weights), 1, abs_tol=1e-6)

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the merged version: ``merge`` names the formula, ``merge.weights`` and so on its settings."""
        values = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("how", "weights")
        }
        return {
            "merge": self.how,
            "merge.weights": ",".join(map(repr, self.weights)),
            **{f"merge.{name}": str(value) for name, value in values.items() if value is not None},
        }

    def _check_weights(self) -> None:
        for weight in self.weights:
            if not math.isfinite(as_float(weight)):
                raise SettingsError(f"weights must be finite numbers; found {short_repr(weight)}")
        object.__setattr__(self, "weights", tuple(map(float, self.weights)))
        if self.how not in MEANS or self.is_mean:
            return
        if min(self.weights) < 0:
            raise SettingsError(
                f"weights of {self.how} are shares, none below 0; found {min(self.weights):g}: "
                "how 'arithmetic' subtracts a member's update"
            )
        raise SettingsError(f"weights of {self.how} add up to 1; found a sum of {sum(self.weights):g}")
