# SPDX-License-Identifier: Apache-2.0
"""How people say what the simulated arm shall do, and what they say that it can't: a grammar, with parts held out."""
