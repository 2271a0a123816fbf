# SPDX-License-Identifier: Apache-2.0
"""What is wrong with this machine, and what mends it: rows judged from gathered facts."""
