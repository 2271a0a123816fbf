# SPDX-License-Identifier: Apache-2.0
"""Episodes as training data, from bags, LeRobot datasets and this package's own store."""
