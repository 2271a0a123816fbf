# SPDX-License-Identifier: Apache-2.0
"""What will have been executed when a chunk arrives: measured delay and rows ahead."""
