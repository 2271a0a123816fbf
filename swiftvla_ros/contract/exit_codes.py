# SPDX-License-Identifier: Apache-2.0
"""How a node's process tells whoever started it why it ended."""

# Its parameters, contract or checkpoint can't be used: starting it again would not help.
EXIT_CONFIGURATION = 2
# It stood still for so long that the others have dropped it: started again, it is found.
EXIT_STOOD_STILL = 3
