# SPDX-License-Identifier: Apache-2.0
"""NPUGraph: operators are written down while they run, and run again on the same tensors when replayed.

As on the device, a replay reads the inputs' memory and writes the memory of what the captured calls returned; what looks
at values in between (item(), copies to the CPU) is refused during capture."""
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_capturing = []
LOOKS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default, torch.ops.aten.nonzero.default,
         torch.ops.aten.is_nonzero.default}


class Recorder(TorchDispatchMode):
    """Writes down every operator that makes or changes memory."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if operator in LOOKS:
            raise RuntimeError(f'operation not permitted when stream is capturing: {operator} looks at values; '
                               'move it out of the graph')
        results = operator(*args, **kwargs)
        returns = operator._schema.returns
        if not any(r.alias_info and not r.alias_info.is_write for r in returns):  # views follow what they look at
            self.steps.append((operator, args, kwargs, results))
        return results


class NPUGraph:
    """capture_begin, capture_end, replay, reset, pool."""

    def __init__(self, keep_graph=False):  # pylint: disable=unused-argument
        self._steps, self._recorder, self._done = [], None, False
        self._pool = graph_pool_handle()

    def capture_begin(self, pool=None, capture_error_mode='global', **_):  # pylint: disable=unused-argument
        if _capturing:
            raise RuntimeError('capture_begin: a capture is under way')
        self._steps.clear()
        self._pool = pool or self._pool
        self._recorder = Recorder(self._steps)
        self._recorder.__enter__()
        _capturing.append(self)

    def capture_end(self):
        if _capturing[-1:] != [self]:
            raise RuntimeError('capture_end: capture_begin comes first')
        _capturing.pop()
        self._recorder.__exit__(None, None, None)
        self._done = True

    @torch.no_grad()
    def replay(self):
        """Runs what was captured; results appear where the captured calls put them."""
        if not self._done:
            raise RuntimeError('replay: nothing has been captured')
        for operator, args, kwargs, results in self._steps:
            new = operator(*args, **kwargs)
            for to, value in zip(tree_leaves(results), tree_leaves(new)):
                if isinstance(to, torch.Tensor) and to is not value:
                    to.copy_(value)

    def update(self, cpu_update_input=None):
        """Lengths and the like that were captured as numbers: [{name: value, ...}] for the recorded calls that have
        the name among their keywords, in order."""
        for values in cpu_update_input or []:
            for i, (operator, args, kwargs, results) in enumerate(self._steps):
                named = {name: values[name] for name in kwargs if name in values}
                if named:
                    self._steps[i] = operator, args, {**kwargs, **named}, results

    def reset(self):
        self._steps.clear()
        self._done = False

    def pool(self):
        return self._pool

    def debug_dump(self, path):
        """One captured operator in a line."""
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines(f'{operator}\n' for operator, *_ in self._steps)

    def enable_debug_mode(self):
        pass


class graph:  # pylint: disable=invalid-name
    """with torch.npu.graph(g): captures what runs inside."""

    def __init__(self, npu_graph, pool=None, stream=None, auto_dispatch_capture=False, capture_error_mode='global', **_):  # pylint: disable=unused-argument
        from .streams import Stream, stream as stream_context
        self.graph, self.pool = npu_graph, pool
        self.context = stream_context(stream or Stream())

    def __enter__(self):
        self.context.__enter__()
        self.graph.capture_begin(self.pool)
        return self.graph

    def __exit__(self, *exception):
        self.graph.capture_end()
        self.context.__exit__(*exception)


_pools = [0]


def graph_pool_handle():
    """A handle; memory pools are not emulated."""
    _pools[0] += 1
    return (0, _pools[0])


def is_current_stream_capturing():
    return bool(_capturing)


def make_graphed_callables(callables, sample_args, num_warmup_iters=3, allow_unused_input=False, pool=None):  # pylint: disable=unused-argument
    """The callables themselves: a graph here saves no time, and eager calls compute the same."""
    return callables
