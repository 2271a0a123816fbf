# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to graphs that run without torch: export, quantisation, and the gate that they must pass."""
