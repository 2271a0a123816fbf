# SPDX-License-Identifier: Apache-2.0
"""What watches a run: verdicts on it, and what to turn where it is slow."""
