# SPDX-License-Identifier: Apache-2.0
"""Feetech STS3215 servos on a serial bus: packets, registers, calibration, the arm's state machine, and an emulator."""
