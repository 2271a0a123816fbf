# SPDX-License-Identifier: Apache-2.0
"""What the policy sees: images and joint states, checked, on one clock, paired by stamp."""
