# SPDX-License-Identifier: Apache-2.0
"""The network as it is computed on a GPU."""
