"""Joins of two blocks that have the same keys in the same place."""

from __future__ import annotations

from collections.abc import Sequence

from .block import Block
from .errors import no_column

HOW = {
    "inner": "inner",
    "left_outer": "left outer",
    "right_outer": "right outer",
    "full_outer": "full outer",
    "left_semi": "left semi",
    "right_semi": "right semi",
    "left_anti": "left anti",
    "right_anti": "right anti",
}


def join(
    how: str, left_keys: Sequence[str], right_keys: Sequence[str], suffixes: tuple[str, str], left: Block, right: Block
) -> Block:
    """The joined rows. Columns of the same name on both sides get the suffixes."""
    for keys, block in ((left_keys, left), (right_keys, right)):
        for key in keys:
            if key not in block.column_names:
                raise no_column(key, block.column_names)
    both = {name for name in left.column_names if name not in left_keys}
    both &= {name for name in right.column_names if name not in right_keys}
    if both and not any(suffixes):
        raise ValueError(
            f"both sides have columns {', '.join(map(repr, sorted(both)))}: give left_suffix or right_suffix, or rename them"
        )
    return left.join(
        right,
        keys=list(left_keys),
        right_keys=list(right_keys),
        join_type=HOW[how],
        left_suffix=suffixes[0] or None,
        right_suffix=suffixes[1] or None,
        use_threads=False,
    )
