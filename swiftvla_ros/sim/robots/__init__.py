# SPDX-License-Identifier: Apache-2.0
"""Robots without hardware, behind the same setpoints as a driver."""
