# SPDX-License-Identifier: Apache-2.0
"""Episodes of a policy in simulation, and what they say about it."""
