# SPDX-License-Identifier: Apache-2.0
"""Recorded data → checkpoint: the grounding stage and the policy stage."""
