"""What a program tells of the datasets that it carries out, when its node asks (see `client/telling.py`).

The question comes in another thread than the one that carries the dataset out. The counters of the operators are read while they
change: each is one number, so what is told is at most a moment old.
"""

from __future__ import annotations

import weakref
from typing import Any

from ..client import current
from .execution.executor import Execution
from .execution.operators import InputOperator, Operator
from .progress import fraction

EXECUTIONS_MAX = 100
"""So many are told of."""
_known: weakref.WeakSet[Execution] = weakref.WeakSet()


def know(execution: Execution) -> None:
    """Tell of this execution, until it has ended or nobody has it any more."""
    runtime: Any = current.runtime
    telling = getattr(runtime, "telling", None)
    if telling is None:
        return  # an inline runtime, or a worker without one: there is nobody who could ask
    _known.add(execution)
    telling.questions["datasets"] = _datasets


def _datasets(_: Any) -> list[dict[str, Any]]:
    going_on = [execution for execution in list(_known) if not execution.ended]
    return [_execution(execution) for execution in going_on[:EXECUTIONS_MAX]]


def _execution(execution: Execution) -> dict[str, Any]:
    shown = [operator for operator in execution.operators if not isinstance(operator, InputOperator)]
    return {
        "id": f"{id(execution):x}",
        "seconds": execution.stats().seconds,
        "operators": [_operator(operator) for operator in shown],
    }


def _operator(operator: Operator) -> dict[str, Any]:
    stats = operator.stats
    return {
        "name": operator.name,
        "part": fraction(operator),
        "done": operator.finished,
        "tasks": stats.tasks,
        "running": operator.running,
        "queued": len(getattr(operator, "queue", ())),
        "rows": stats.rows_out,
        "blocks": stats.blocks_out,
        "bytes": stats.bytes_out,
    }
