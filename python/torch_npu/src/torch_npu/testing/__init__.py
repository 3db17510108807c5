# SPDX-License-Identifier: Apache-2.0
"""torch_npu.testing: what tests written for the device import."""
