"""Sizes of the vision transformers by name, and indices of their blocks."""
from collections.abc import Sequence

__all__ = ['SAPIENS', 'SAPIENS2', 'block_indices', 'find_arch']


def _sizes(heads_and_layers: dict[str, tuple[int, int, int]]) -> dict[str, dict]:
    return {name: dict(embed_dims=width, num_layers=layers, num_heads=heads, feedforward_channels=width * 4)
            for name, (width, layers, heads) in heads_and_layers.items()}


#: Of ``SapiensViT``: name -> width, blocks, heads, hidden channels of the MLP.
SAPIENS = _sizes({
    'sapiens_tiny': (192, 12, 3), 'sapiens_0.1b': (768, 12, 12), 'sapiens_0.3b': (1024, 24, 16),
    'sapiens_0.6b': (1280, 32, 16), 'sapiens_1b': (1536, 40, 24), 'sapiens_2b': (1920, 48, 32)})
#: Of ``Sapiens2ViT``.
SAPIENS2 = _sizes({
    'sapiens2_tiny': (192, 12, 3), 'sapiens2_0.1b': (768, 12, 12), 'sapiens2_0.4b': (1024, 24, 16),
    'sapiens2_0.8b': (1280, 32, 16), 'sapiens2_1b': (1536, 40, 24), 'sapiens2_5b': (2432, 56, 32)})


def find_arch(arch: str | dict, zoo: dict[str, dict]) -> dict:
    """Returns an architecture by its name, with or without what the names of ``zoo`` begin with, or a dict as it is.

    Raises a ValueError for an unknown name, or a dict with other keys or a width that the heads do not divide.
    """
    first = next(iter(zoo))
    if isinstance(arch, dict):
        expected = set(zoo[first])
        if set(arch) != expected:
            raise ValueError(f'arch: got a dict with {sorted(arch)}, expected exactly {sorted(expected)}')
        if arch['embed_dims'] % arch['num_heads']:
            raise ValueError(f"arch: got embed_dims={arch['embed_dims']}, expected a multiple of num_heads, "
                             f"{arch['num_heads']}")
        return arch
    name, start = str(arch).lower(), f'{first.partition("_")[0]}_'
    name = name if name.startswith(start) else f'{start}{name}'
    if name not in zoo:
        raise ValueError(f"arch: got '{arch}', expected one of {', '.join(zoo)} or a dict")
    return zoo[name]


def block_indices(out_indices: int | Sequence[int], num_layers: int) -> list[int]:
    """Returns blocks in ascending order from 0; a ValueError if one does not exist, or is named twice."""
    indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    found = sorted(i + num_layers if i < 0 else i for i in indices)
    if len(set(found)) < len(indices):
        raise ValueError(f'out_indices: got {out_indices}, which names a block twice; name each once')
    if not indices or found[0] < 0 or found[-1] >= num_layers:
        raise ValueError(f'out_indices: got {out_indices}, expected blocks from 0 to {num_layers - 1} '
                         f'(or -{num_layers} to -1)')
    return found
