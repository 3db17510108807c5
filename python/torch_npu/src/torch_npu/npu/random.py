# SPDX-License-Identifier: Apache-2.0
"""Random numbers of the devices: a Philox generator each, whose state is seed and offset (16 bytes)."""
import torch

from ._state import ALIAS, device_count, index_of

if ALIAS:
    default_generators = (torch.default_generator, ) * device_count()
else:
    from .. import _C
    default_generators = tuple(_C.default_generator(i) for i in range(device_count()))


def generator(device='npu'):
    return default_generators[index_of(device)]


def get_rng_state(device='npu'):
    """A uint8 tensor on the CPU."""
    return generator(device).get_state()


def set_rng_state(new_state, device='npu'):
    generator(device).set_state(new_state)


def get_rng_state_all():
    return [g.get_state() for g in default_generators]


def set_rng_state_all(new_states):
    for g, state in zip(default_generators, new_states):
        g.set_state(state)


def manual_seed(seed):  # pylint: disable=redefined-outer-name
    """Of the current device; the offset begins at 0."""
    generator().manual_seed(int(seed))


def manual_seed_all(seed):  # pylint: disable=redefined-outer-name
    for g in default_generators:
        g.manual_seed(int(seed))


def seed():
    """A seed of chance for the current device."""
    generator().seed()


def seed_all():
    number = default_generators[0].seed()
    for g in default_generators[1:]:
        g.manual_seed(number)


def initial_seed():
    return generator().initial_seed()
