# SPDX-License-Identifier: Apache-2.0
"""Shapes once, arrays at every run."""
from __future__ import annotations

from . import _core
from .operators import find

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any


class Plan:
    """A call whose shapes, lists and numbers are checked and laid out once; it serves any number of arrays.

        plan = fattn.plan('fused_infer_attention_score', query=q, key=k, value=v, num_heads=8,
                          input_layout='BNSD')
        for layer in layers:
            out, _ = plan(query=layer.q, key=layer.k, value=layer.v)

    The arrays of a run have the shapes, strides and element types of those that the plan was made with
    (fattn.spec() stands for one that is not there yet); contents of block tables and masks may differ. Outputs
    that a plan was given must be given to every run; without any, the plan has all of them and makes them.
    """

    def __init__(self, operator: Any, *, context: Any = None, **fields: Any):
        self._operator = find(operator)
        self._plan = _core.plan(self._operator.name, fields, context)

    def __call__(self, *, workspace: Any = None, **arrays: Any) -> Any:
        """Computes; returns what the operator's function returns.

        workspace: a writable buffer of `self.workspace` bytes, aligned to 64, such as fattn.Array('u8', [bytes]).
        None = the plan's own, which serves one run at a time: a second one raises Busy. With workspaces of their
        own any number of threads run a plan together.
        """
        kind = self._operator.allocator(arrays)
        values = self._plan.run(arrays, workspace, kind.empty)
        return self._operator.results(values, kind, arrays)

    run = __call__

    @property
    def workspace(self) -> int:
        """Bytes that one run needs."""
        return self._plan.workspace

    @property
    def describe(self) -> str:
        """Operator, shapes, backend, instruction set and items in one line."""
        return self._plan.describe

    def __repr__(self) -> str:
        return f'<fattn.Plan {self.describe}>'


def plan(operator: Any, *, context: Any = None, **fields: Any) -> Plan:
    """Plan(operator, **fields); operator is a name or a function of this package."""
    return Plan(operator, context=context, **fields)
