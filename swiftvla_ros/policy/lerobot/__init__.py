# SPDX-License-Identifier: Apache-2.0
"""Policies of LeRobot as ours: LeRobot computes them, in a process of the interpreter that has it."""
