# SPDX-License-Identifier: Apache-2.0
"""Counts, rates and latencies; the guide's defects: seconds compared with a limit in ms, failures missing from the
calls that rates are taken of."""
import re
import threading
import time

import pytest

from fattn import OutOfMemory
from fattn.monitor import Monitor, _Operation, is_out_of_memory


def test_nothing_yet():
    report = Monitor().report()
    assert report['status'] == 'no_data' and report['calls'] == 0


def test_counts_and_result():
    monitor = Monitor()
    assert monitor.call(divmod, 7, 3) == (2, 1)
    assert monitor.report()['operations']['divmod']['calls'] == 1


def test_slow_is_in_milliseconds():
    monitor = Monitor(slow_ms=10)
    monitor.call(time.sleep, 0.02)
    report = monitor.report()
    assert report['status'] == 'warning' and report['mean_ms'] >= 20 and 'ms' in report['why'][0]
    quick = Monitor(slow_ms=10)
    quick.call(int, 3)
    assert quick.report()['status'] == 'healthy'


def test_rates_count_failures_as_calls():
    monitor = Monitor(error_rate=0.5)
    for text in ('1', 'x', 'y', '2'):
        try:
            monitor.call(int, text)
        except ValueError:
            pass
    report = monitor.report()
    assert (report['calls'], report['errors'], report['error_rate']) == (4, 2, 0.5)
    assert report['status'] == 'healthy'
    with pytest.raises(ValueError):
        monitor.call(int, 'z')
    assert monitor.report()['status'] == 'unhealthy'


def test_only_failures_have_no_latency():
    monitor = Monitor()
    with pytest.raises(ValueError):
        monitor.call(int, 'x')
    report = monitor.report()
    assert report['mean_ms'] == 0 and report['p50_ms'] != report['p50_ms']


@pytest.mark.parametrize('error', [MemoryError(), OutOfMemory('x'), RuntimeError('NPU Out Of Memory. Tried')])
def test_out_of_memory_is_told_apart(error):
    monitor = Monitor(error_rate=1)

    def fail():
        raise error

    with pytest.raises(type(error)):
        monitor.call(fail)
    assert monitor.report()['out_of_memory'] == 1 and monitor.report()['status'] == 'warning'
    assert is_out_of_memory(error) and not is_out_of_memory(RuntimeError('shape'))


def test_quantiles():
    one = _Operation(100)
    one.latest.extend(range(1, 101))
    assert (one.quantile(0.5), one.quantile(0.9), one.quantile(0.99)) == (50, 90, 99)
    one.latest.clear()
    one.latest.append(7)
    assert one.quantile(0.5) == one.quantile(0.99) == 7


def test_the_window_forgets():
    monitor = Monitor(window=3)
    for _ in range(10):
        monitor.call(int, 1)
    assert len(monitor._operations['int'].latest) == 3 and monitor.report()['calls'] == 10
    with pytest.raises(ValueError, match='window 0'):
        Monitor(window=0)


def test_peak_bytes():
    sizes = iter([100, 300, 200])
    monitor = Monitor(memory=lambda: next(sizes))
    for _ in range(3):
        monitor.call(int, 1)
    assert monitor.report()['peak_bytes'] == 300


def test_watch_keeps_the_function():
    monitor = Monitor()

    @monitor.watch
    def double(x):
        """Twice."""
        return 2 * x

    assert double(4) == 8 and double.__doc__ == 'Twice.' and monitor.report()['calls'] == 1


def test_threads():
    monitor = Monitor()
    threads = [threading.Thread(target=lambda: [monitor.call(int, 1) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.report()['calls'] == 4000


def test_prometheus_text():
    monitor = Monitor(memory=lambda: 42)
    monitor.call(int, 1)
    with monitor.measure('a "quoted"\nname\\'):
        pass
    text = monitor.prometheus()
    sample = re.compile(r'[a-z_]+(\{([a-z]+="(\\.|[^"\\\n])*",?)+\})? [-+.eE0-9naN]+')
    for line in text.splitlines():
        assert line.startswith(('# HELP ', '# TYPE ')) or sample.fullmatch(line), line
    assert 'fattn_calls_total{operation="int"} 1' in text and 'fattn_peak_bytes 42' in text
    assert r'operation="a \"quoted\"\nname\\"' in text and text.endswith('\n')
    assert 'fattn_call_seconds_count{operation="int"} 1' in text
