# SPDX-License-Identifier: Apache-2.0
"""Recorded data: demonstrations, grounding scenes and bags."""
