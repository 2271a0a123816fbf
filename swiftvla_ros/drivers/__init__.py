# SPDX-License-Identifier: Apache-2.0
"""Devices on a cable: what speaks to them, without ROS."""
