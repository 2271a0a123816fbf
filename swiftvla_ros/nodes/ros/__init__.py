# SPDX-License-Identifier: Apache-2.0
"""What every node shares of ROS: life cycle, QoS, messages, diagnostics, timers, frames."""
