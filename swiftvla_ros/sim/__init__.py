# SPDX-License-Identifier: Apache-2.0
"""The simulated SO-101: world, tasks, scripted expert, demonstrations, rollouts."""
