# SPDX-License-Identifier: Apache-2.0
"""The SwiftVLA network (arXiv 2512.00903): backbone, action expert, Fusion Tokens, losses and sampling."""
