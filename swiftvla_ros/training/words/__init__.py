# SPDX-License-Identifier: Apache-2.0
"""Trains what reads a policy's instructions, from sentences and what they mean."""
