"""How versions are merged: the way, its weights and its settings, checked when it is made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from pointsman.registry.errors import SettingsError, unknown

from ...core.arguments import as_float, as_list, is_whole, short_repr

HOWS: Final = ("linear", "arithmetic", "svd", "ties", "dare")
MEANS: Final = ("linear", "ties", "dare")
"""Those whose weights are shares of one."""

_BELONGS: Final = {"density": ("ties", "dare"), "scale": ("ties",), "rank": ("svd",), "seed": ("dare",)}
_DEFAULTS: Final = {("ties", "density"): 0.2, ("ties", "scale"): 1.0, ("dare", "density"): 0.5, ("dare", "seed"): 0}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How versions are merged.

    Raises:
        SettingsError: Something in it cannot work.
    """

    how: str
    """One of ``HOWS``."""
    weights: tuple[float, ...]
    """One for each member."""
    density: float | None = None
    """Of ties and dare: the share of entries that is kept; 0.2 (as in the paper) and 0.5 by default."""
    scale: float | None = None
    """Of ties: what the outcome is multiplied by, the paper's λ; 1 by default."""
    rank: int | None = None
    """Of svd: the rank of the outcome; None for the first member's."""
    seed: int | None = None
    """Of dare: what the draw of dropped entries depends on; 0 by default."""

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise unknown(SettingsError, "way to merge", str(self.how), HOWS)
        for field, hows in _BELONGS.items():
            if self.how not in hows and getattr(self, field) is not None:
                raise SettingsError(f"{field} belongs to {' and '.join(hows)}; found it with {self.how}: leave it out")
            if getattr(self, field) is None:
                object.__setattr__(self, field, _DEFAULTS.get((self.how, field)))
        self._check_weights()
        if self.density is not None and not 0 < as_float(self.density) <= 1:
            raise SettingsError(
                f"density is the share that is kept, above 0 and at most 1; found {short_repr(self.density)}"
            )
        if self.scale is not None and not 0 < as_float(self.scale) < math.inf:
            raise SettingsError(f"scale has to be a number above 0; found {short_repr(self.scale)}")
        if self.rank is not None and not (is_whole(self.rank) and self.rank >= 1):
            raise SettingsError(f"rank has to be a whole number, 1 or more; found {short_repr(self.rank)}")
        if self.seed is not None and not (is_whole(self.seed) and 0 <= self.seed < 2**63):
            raise SettingsError(f"seed has to be a whole number, 0 or more; found {short_repr(self.seed)}")

    @classmethod
    def of(cls, how: str, weights: Sequence[float] | None, *, members: int, **settings: Any) -> "Recipe":
        """The recipe for so many members; without weights, each counts the same.

        Raises:
            SettingsError: Something in it cannot work, or there are too few members.
        """
        if members < 1:
            raise SettingsError("there is nothing to merge: name two members or more")
        if members == 1 and how != "arithmetic":
            raise SettingsError(
                "one member is nothing to merge: name two or more, or negate it: how 'arithmetic', with the weight -1"
            )
        if weights is None and how == "arithmetic":
            raise SettingsError(
                "arithmetic needs weights: how much is added of each member, and below 0 how much is taken away"
            )
        given = [1 / members] * members if weights is None else as_list(weights)
        if given is None:
            raise SettingsError(f"weights are a list of numbers, one for each member; found {short_repr(weights)}")
        if len(given) != members:
            raise SettingsError(f"each member has one weight: found {len(given)} for {members} members")
        return cls(how=how, weights=tuple(given), **settings)

    @property
    def is_mean(self) -> bool:
        """Whether the weights are shares of one."""
        return min(self.weights) >= 0 and math.isclose(sum(self.weights), 1, abs_tol=1e-6)

    @property
    def tags(self) -> dict[str, str]:
        """What is written down of it: ``merge`` says how, and ``merge.weights`` and so on the rest."""
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
                raise SettingsError(f"weights have to be finite numbers; found {short_repr(weight)}")
        object.__setattr__(self, "weights", tuple(map(float, self.weights)))
        if self.how not in MEANS or self.is_mean:
            return
        if min(self.weights) < 0:
            raise SettingsError(
                f"weights of {self.how} are shares, none below 0; found {min(self.weights):g}: "
                "how 'arithmetic' takes a member away"
            )
        raise SettingsError(f"weights of {self.how} add up to 1; found a sum of {sum(self.weights):g}")
