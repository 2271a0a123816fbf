# SPDX-License-Identifier: Apache-2.0
"""Larger parts of one node each."""
