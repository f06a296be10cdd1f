"""Converters of public datasets to the files that the datasets of the other rooms read."""
from .lsp import convert_lsp
from .parts import convert_ccp, convert_celebamask, convert_human_segmentation

__all__ = ['convert_ccp', 'convert_celebamask', 'convert_human_segmentation', 'convert_lsp']
