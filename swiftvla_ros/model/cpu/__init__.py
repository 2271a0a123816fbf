# SPDX-License-Identifier: Apache-2.0
"""The network for inference on a CPU: the same weights in fewer and faster kernels."""
