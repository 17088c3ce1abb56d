"""A merged version before it is registered."""

from collections.abc import Sequence
from dataclasses import dataclass

from pointsman.registry import Version

from ...formats.native import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    HEAD_CONFIG,
    HEAD_WEIGHTS,
    ModuleState,
    config_file,
    read_config,
    rename_key,
    tensor_file,
)
from .members import Member
from .recipe import Recipe
from .tensors import merged_adapter, merged_head


@dataclass(frozen=True, kw_only=True, eq=False)
class Merged:
    """The result of a merge, before it is registered."""

    name: str
    members: Sequence[Member]
    recipe: Recipe
    head_of: Member | None
    """The member whose head it has; None: it has the mean of all heads."""
    adapter: ModuleState
    head: ModuleState

    @classmethod
    def of(cls, name: str, members: Sequence[Member], recipe: Recipe, head_of: Member | None) -> "Merged":
        """Merge the members by the recipe."""
        head = merged_head(members, recipe) if head_of is None else head_of.head
        adapter = merged_adapter(members, recipe)
        return cls(name=name, members=members, recipe=recipe, head_of=head_of, adapter=adapter, head=head)

    @property
    def like(self) -> Version:
        """The member whose task and head it has."""
        return (self.head_of or self.members[0]).version

    @property
    def max_length(self) -> int:
        """Tokens that an input is cut to: those of the head's member; with a mean of heads, the most of any member."""
        return self.like.max_length if self.head_of else max(member.version.max_length for member in self.members)

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the version."""
        head = self.head_of or self.members[0]
        adapter_config = read_config(self.members[0].files, ADAPTER_CONFIG)
        head_config = read_config(head.files, HEAD_CONFIG)
        return {
            ADAPTER_WEIGHTS: tensor_file(
                {rename_key(key, self.name): tensor for key, tensor in self.adapter.tensors.items()}
            ),
            ADAPTER_CONFIG: config_file({**adapter_config, "name": self.name, "config": self.adapter.config}),
            HEAD_WEIGHTS: tensor_file(
                {f"heads.{self.name}.{key}": tensor for key, tensor in self.head.tensors.items()}
            ),
            HEAD_CONFIG: config_file({**head_config, "name": self.name}),
        }

    @property
    def parameters(self) -> int:
        """The parameters of the member with its head, corrected for another rank."""
        like = (self.head_of or self.members[0]).adapter
        return self.like.parameters + _count(self.adapter) - _count(like)

    @property
    def tags(self) -> dict[str, str]:
        """The tags that say how it was made."""
        return {**self.recipe.tags, "merge.head": "merged" if self.head_of is None else self.head_of.ref}


def _count(adapter: ModuleState) -> int:
    return sum(tensor.numel() for tensor in adapter.tensors.values())
