# SPDX-License-Identifier: Apache-2.0
"""Streams and events. Work is done when a call returns, in the order of the calls, so every stream is always idle and an
event is reached when it is recorded; the times between events are real."""
import time

import torch

from ._state import ALIAS, current_device, index_of, set_device

if ALIAS:

    class _StreamBase:
        """A stream by name only."""
        _next = 0

        def __init__(self, device=None, priority=0, **_):
            _StreamBase._next += 1
            self.stream_id, self.device_index, self.priority = _StreamBase._next, index_of(device), priority
            self.device = torch.device('cpu')

        def query(self):
            return True

        def synchronize(self):
            pass

        def wait_event(self, event):
            pass

        def wait_stream(self, stream):
            pass

        def record_event(self, event=None):
            event = event or Event(enable_timing=True)
            event.record(self)
            return event

    class _EventBase:
        """A moment."""

        def __init__(self, *_, **__):
            self.at = None

        def record(self, stream=None):  # pylint: disable=unused-argument
            self.at = time.perf_counter()

        def wait(self, stream=None):
            pass

        def query(self):
            return True

        def synchronize(self):
            pass

        def elapsed_time(self, end):
            if self.at is None or end.at is None:
                raise RuntimeError('elapsed_time: both events must have been recorded')
            return (end.at - self.at) * 1e3
else:
    _StreamBase = torch.Stream


class Stream(_StreamBase):
    """torch.npu.Stream(device=None, priority=0)."""

    if not ALIAS:

        def __new__(cls, device=None, priority=0, **named):
            if 'stream_id' in named:
                return super().__new__(cls, **named)
            return super().__new__(cls, device=torch.device('npu', index_of(device)), priority=priority)

    @property
    def npu_stream(self):
        return self.stream_id


class ExternalStream(Stream):
    """A stream of somebody else's, known by its number."""

    if not ALIAS:

        def __new__(cls, stream_ptr, device=None, **_):
            return super().__new__(cls, stream_id=stream_ptr, device_index=index_of(device),
                                   device_type=int(torch._C._autograd.DeviceType.PrivateUse1))


class _EventType(type):
    """torch's events compare and time only with their own type, so Event() gives one, and it counts as an Event."""

    def __instancecheck__(cls, event):
        return isinstance(event, torch.Event) and event.device.type == 'npu'


if ALIAS:

    class Event(_EventBase):
        """torch.npu.Event(enable_timing=False, blocking=False, interprocess=False)."""
else:

    class Event(metaclass=_EventType):
        """torch.npu.Event(enable_timing=False, blocking=False, interprocess=False)."""

        def __new__(cls, enable_timing=False, blocking=False, interprocess=False):
            if interprocess:
                raise RuntimeError('Event: interprocess events are not emulated')
            return torch.Event('npu', enable_timing=enable_timing, blocking=blocking)


ExternalEvent = Event  # waits for nobody, either


_streams = {}


def default_stream(device=None):
    """The stream with the number 0."""
    index = index_of(device)
    if index not in _streams:
        _streams[index] = _numbered(0, index)
    return _streams[index]


def _numbered(number, index):
    if ALIAS:
        stream = Stream(index)
        stream.stream_id = number
        return stream
    return Stream(stream_id=number, device_index=index, device_type=int(torch._C._autograd.DeviceType.PrivateUse1))


def current_stream(device=None):
    if ALIAS:
        return _streams.get('now') or default_stream(device)
    found = torch.accelerator.current_stream(index_of(device))
    return _numbered(found.stream_id, found.device_index)


def set_stream(stream):  # pylint: disable=redefined-outer-name
    """None changes nothing."""
    if stream is None:
        return
    if ALIAS:
        _streams['now'] = stream
    else:
        set_device(stream.device_index)
        torch.accelerator.set_stream(stream)


class StreamContext:
    """with torch.npu.stream(s): its device and itself are current inside."""

    def __init__(self, stream):  # pylint: disable=redefined-outer-name
        self.stream = stream

    def __enter__(self):
        if self.stream is not None:
            self.device, self.before = current_device(), current_stream(self.stream.device_index)
            set_stream(self.stream)
        return self.stream

    def __exit__(self, *exception):
        if self.stream is not None:
            set_stream(self.before)
            set_device(self.device)


def stream(stream):  # pylint: disable=redefined-outer-name
    return StreamContext(stream)


def synchronize(device=None):
    """All work is done when a call returns."""
    index_of(device)
