# SPDX-License-Identifier: Apache-2.0
"""Runs in the rerun viewer, an extra."""
