# SPDX-License-Identifier: Apache-2.0
"""The executor's ROS side: commands out, operators' inputs in."""
