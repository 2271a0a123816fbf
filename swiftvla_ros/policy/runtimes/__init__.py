# SPDX-License-Identifier: Apache-2.0
"""What computes a checkpoint's network: one module each, imported only when it is used."""

import os

# torch's OpenMP reads it when it is loaded. Threads that wait for each other by spinning take the core from the robot's
# other nodes, and from the thread that they wait for: on a machine with more work than cores a chunk took four times
# as long (docs/performance.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
