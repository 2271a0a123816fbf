# SPDX-License-Identifier: Apache-2.0
"""What computes a checkpoint's network: one module each, imported only when it is used."""
