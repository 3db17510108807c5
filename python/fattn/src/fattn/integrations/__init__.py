# SPDX-License-Identifier: Apache-2.0
"""fattn under the names that other packages have for attention. Import the module you want:

sdpa          scaled_dot_product_attention(), and replacement() for torch.nn.functional's
flash_attn    flash_attn_func and its family
transformers  register(), then attn_implementation="fattn"
"""
