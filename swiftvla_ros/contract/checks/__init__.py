# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a contract, or odd, in sentences: its text, its keys, its numbers, its names."""
