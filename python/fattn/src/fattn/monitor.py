# SPDX-License-Identifier: Apache-2.0
"""Monitor: how often, how fast, how much memory, how many errors. For services; any number of threads."""
import collections
import contextlib
import functools
import threading
import time

_QUANTILES = (0.5, 0.9, 0.99)


def is_out_of_memory(error):
    """Does an exception of this library, of PyTorch or of Python say that memory ran out?"""
    return isinstance(error, MemoryError) or 'out of memory' in str(error).lower()


class Monitor:
    """Counts calls.

        monitor = fattn.Monitor(memory=torch.npu.max_memory_allocated)
        out = monitor.call(torch_npu.npu_fusion_attention, q, k, v, head_num=8, input_layout='BNSD')
        with monitor.measure('decode'): ...
        print(monitor.report()['status'], monitor.prometheus())

    memory: a function that tells the peak of allocated bytes, or None.
    window: latencies that the quantiles are taken of, the latest of each operation.
    slow_ms, error_rate, oom_rate: above them a report is no longer 'healthy'.
    """

    def __init__(self, memory=None, window=1024, slow_ms=10.0, error_rate=0.05, oom_rate=0.01):
        if window < 1:
            raise ValueError(f'window {window} is not at least 1')
        self._memory = memory
        self._window = window
        self._limits = {'slow_ms': slow_ms, 'error_rate': error_rate, 'oom_rate': oom_rate}
        self._lock = threading.Lock()
        self.reset()

    def reset(self):
        """Forgets everything."""
        with self._lock:
            self._operations = {}
            self._peak = 0

    @contextlib.contextmanager
    def measure(self, name):
        """Counts what the `with` block does as one call of `name`; an exception goes on to the caller."""
        start = time.perf_counter()
        try:
            yield
        except BaseException as error:
            self._add(name, time.perf_counter() - start, error)
            raise
        self._add(name, time.perf_counter() - start, None)

    def call(self, function, *args, **kwargs):
        """function(*args, **kwargs), counted under its name."""
        with self.measure(_name_of(function)):
            return function(*args, **kwargs)

    def watch(self, function):
        """A decorator: every call is counted."""

        @functools.wraps(function)
        def watched(*args, **kwargs):
            with self.measure(_name_of(function)):
                return function(*args, **kwargs)

        return watched

    def _add(self, name, seconds, error):
        peak = self._memory() if self._memory else 0
        with self._lock:
            one = self._operations.setdefault(name, _Operation(self._window))
            one.calls += 1
            one.errors += error is not None
            one.out_of_memory += error is not None and is_out_of_memory(error)
            if error is None:
                one.seconds += seconds
                one.latest.append(seconds)
            self._peak = max(self._peak, peak)

    def report(self):
        """A dict: status ('no_data', 'healthy', 'warning', 'unhealthy'), why (a list of sentences), calls, errors,
        out_of_memory, error_rate and oom_rate (shares of all calls, 0..1), mean_ms (of calls without an error),
        p50_ms, p90_ms, p99_ms, peak_bytes, and the same by name under operations."""
        with self._lock:
            parts = {name: one.figures() for name, one in self._operations.items()}
            total = _Operation.sum(self._operations.values()).figures()
            peak = self._peak
        status, why = self._judge(total)
        return {'status': status, 'why': why, **total, 'peak_bytes': peak, 'operations': parts}

    def _judge(self, total):
        limits = self._limits
        if total['calls'] == 0:
            return 'no_data', []
        why = []
        if total['error_rate'] > limits['error_rate']:
            why.append(f"{total['error_rate']:.1%} of the calls failed, more than {limits['error_rate']:.1%}")
        unhealthy = bool(why)
        if total['oom_rate'] > limits['oom_rate']:
            why.append(f"{total['oom_rate']:.1%} ran out of memory, more than {limits['oom_rate']:.1%}")
        if total['mean_ms'] > limits['slow_ms']:
            why.append(f"a call takes {total['mean_ms']:.3g} ms, more than {limits['slow_ms']:.3g}")
        return ('unhealthy' if unhealthy else 'warning' if why else 'healthy'), why

    def prometheus(self, prefix='fattn'):
        """The figures in Prometheus' text format, version 0.0.4: counters, a summary in seconds, a gauge in bytes."""
        with self._lock:
            parts = {name: one.copy() for name, one in self._operations.items()}
            peak = self._peak
        lines = []
        for metric, help_text, value in (
            ('calls', 'calls, failed ones included', lambda one: one.calls),
            ('errors', 'calls that raised', lambda one: one.errors),
            ('out_of_memory', 'calls that ran out of memory', lambda one: one.out_of_memory)):
            lines += [f'# HELP {prefix}_{metric}_total {help_text}', f'# TYPE {prefix}_{metric}_total counter']
            lines += [f'{prefix}_{metric}_total{{operation="{_escape(name)}"}} {value(one)}'
                      for name, one in parts.items()]
        lines += [f'# HELP {prefix}_call_seconds time of a call', f'# TYPE {prefix}_call_seconds summary']
        for name, one in parts.items():
            label = f'operation="{_escape(name)}"'
            lines += [f'{prefix}_call_seconds{{{label},quantile="{q}"}} {one.quantile(q):.9g}' for q in _QUANTILES]
            lines += [f'{prefix}_call_seconds_sum{{{label}}} {one.seconds:.9g}',
                      f'{prefix}_call_seconds_count{{{label}}} {one.calls - one.errors}']
        lines += [f'# HELP {prefix}_peak_bytes most memory that was allocated', f'# TYPE {prefix}_peak_bytes gauge',
                  f'{prefix}_peak_bytes {peak}']
        return '\n'.join(lines) + '\n'


class _Operation:
    """What is known of the calls of one name."""

    def __init__(self, window):
        self.calls = self.errors = self.out_of_memory = 0
        self.seconds = 0.0
        self.latest = collections.deque(maxlen=window)

    def copy(self):
        return _Operation.sum([self])

    @staticmethod
    def sum(operations):
        total = _Operation(None)
        for one in operations:
            total.calls += one.calls
            total.errors += one.errors
            total.out_of_memory += one.out_of_memory
            total.seconds += one.seconds
            total.latest.extend(one.latest)
        return total

    def quantile(self, q):
        """The smallest latency that a share q of the latest does not exceed; NaN before the first."""
        if not self.latest:
            return float('nan')
        ordered = sorted(self.latest)
        return ordered[max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1)]

    def figures(self):
        good = self.calls - self.errors
        return {'calls': self.calls, 'errors': self.errors, 'out_of_memory': self.out_of_memory,
                'error_rate': self.errors / self.calls if self.calls else 0.0,
                'oom_rate': self.out_of_memory / self.calls if self.calls else 0.0,
                'mean_ms': self.seconds / good * 1e3 if good else 0.0,
                **{f'p{round(q * 100)}_ms': self.quantile(q) * 1e3 for q in _QUANTILES}}


def _name_of(function):
    return getattr(function, '__name__', None) or str(function)


def _escape(label):
    return label.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')
