# SPDX-License-Identifier: Apache-2.0
"""Exact replay: a bag's observations through the policy again, its chunks through the executor again, compared."""
