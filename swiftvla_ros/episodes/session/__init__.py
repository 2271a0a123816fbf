# SPDX-License-Identifier: Apache-2.0
"""A sitting in which one demonstration after another is recorded: what comes next, and what each episode is worth."""
