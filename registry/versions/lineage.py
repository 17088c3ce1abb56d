"""What versions were made from, and what was made from them: functions over an open transaction."""

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.refs import ref_column
from ..database.shape import Shape, damaged
from ..records import Lineage, Parent


def lineage(connection: sa.Connection, version_id: int) -> Lineage:
    """All ancestors and descendants of a version, as one graph; two statements, however deep it is."""
    c = t.lineage.c
    up = sa.select(sa.literal(version_id).label("id")).cte("up", recursive=True)
    up = up.union(sa.select(c.parent_id).join(up, c.child_id == up.c.id).where(c.parent_id.is_not(None)))
    down = sa.select(sa.literal(version_id).label("id")).cte("down", recursive=True)
    down = down.union(sa.select(c.child_id).join(down, c.parent_id == down.c.id))
    wanted = sa.union(sa.select(up.c.id), sa.select(down.c.id)).subquery()
    refs = {
        row.id: row.ref
        for row in connection.execute(
            sa.select(t.version.c.id, ref_column())
            .join(t.adapter, t.version.c.adapter_id == t.adapter.c.id)
            # The other parents of what was made from it, too, which are not followed further.
            .where(
                t.version.c.id.in_(sa.select(wanted.c.id))
                | t.version.c.id.in_(sa.select(c.parent_id).where(c.child_id.in_(sa.select(wanted.c.id))))
            )
        )
    }
    rows = connection.execute(
        sa.select(t.lineage).where(c.child_id.in_(sa.select(wanted.c.id))).order_by(c.child_id, c.position)
    ).all()
    parents: dict[str, list[Parent]] = {}
    children: dict[str, list[str]] = {}
    for row in rows:
        present = row.parent_id in refs
        ref = refs.get(row.parent_id, row.parent_ref)
        child = refs.get(row.child_id)
        if child is None:  # a row that lost its version, as ``verify`` tells
            continue
        damage = _SHAPE.damage(row)
        if damage is not None:
            raise damaged(child, damage)
        parents.setdefault(child, []).append(Parent(ref=ref, digest=row.parent_digest, role=row.role, present=present))
        if present:
            children.setdefault(ref, []).append(child)
    return Lineage(
        ref=refs[version_id],
        parents={child: tuple(made_from) for child, made_from in parents.items()},
        children={parent: tuple(dict.fromkeys(made)) for parent, made in children.items()},
    )


_SHAPE: Final = Shape({column.name: column for column in t.lineage.c})


def parents(connection: sa.Connection, version_id: int) -> list[Parent]:
    """What one version was made from, in order."""
    c, parent = t.lineage.c, t.version.alias()
    rows = connection.execute(
        sa.select(t.lineage, ref_column(parent.c.number))
        .outerjoin(parent, c.parent_id == parent.c.id)
        .outerjoin(t.adapter, parent.c.adapter_id == t.adapter.c.id)
        .where(c.child_id == version_id)
        .order_by(c.position)
    ).all()
    for row in rows:
        _SHAPE.check(row, lambda row: f"version row {row.child_id}")
    return [
        Parent(
            ref=row.parent_ref if row.ref is None else row.ref,
            digest=row.parent_digest,
            role=row.role,
            present=row.ref is not None,
        )
        for row in rows
    ]


def ancestors(connection: sa.Connection, version_ids: Iterable[int]) -> list[int]:
    """The rows of versions and of all they were made from, parents before their children."""
    c = t.lineage.c
    ids = list(version_ids)
    up = sa.select(t.version.c.id).where(t.version.c.id.in_(ids)).cte("up", recursive=True)
    up = up.union(sa.select(c.parent_id).join(up, c.child_id == up.c.id).where(c.parent_id.is_not(None)))
    edges: dict[int, list[int]] = {
        row_id: [] for row_id in connection.scalars(sa.select(up.c.id)) if type(row_id) is int
    }
    for child, parent in connection.execute(
        sa.select(c.child_id, c.parent_id).where(c.child_id.in_(sa.select(up.c.id)), c.parent_id.is_not(None))
    ):
        if child in edges:
            edges[child].append(parent)
    order: list[int] = []
    while edges:
        # A version was made after its parents, so at least one of the rest has all its parents in the list.
        ready = sorted(child for child, parents in edges.items() if not any(parent in edges for parent in parents))
        ready = ready or sorted(edges)
        order += ready
        for child in ready:
            del edges[child]
    return order
