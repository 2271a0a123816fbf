# SPDX-License-Identifier: Apache-2.0
"""Other projects' weights as checkpoints, and ours, with what trains them, as LeRobot's."""
