"""Who owns a store and a run, what a score was computed on, which tokenizer a base has and where it was found.

Revision: 0004
"""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
