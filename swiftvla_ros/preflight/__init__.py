# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a running system before its arm moves: rows judged from gathered facts, and what arming asks."""
