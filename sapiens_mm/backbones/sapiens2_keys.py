"""Names of tensors of Sapiens2 backbones: of the release's files, of the library's, and of `Sapiens2ViT`."""
import re

from torch import Tensor

__all__ = ['to_module_keys']

_LIBRARY = ('embeddings.', 'model.layer.', 'norm.')
#: Name in the release's files -> name in the library.
_RELEASE = {
    'cls_token': 'embeddings.cls_token', 'storage_tokens': 'embeddings.register_tokens',
    'patch_embed.projection': 'embeddings.patch_embeddings', 'ln1': 'norm'
}
_BLOCK = {
    'ln1': 'norm1', 'ln2': 'norm2', 'attn.wq': 'attention.q_proj', 'attn.wk': 'attention.k_proj',
    'attn.wv': 'attention.v_proj', 'attn.proj': 'attention.o_proj', 'attn.q_norm': 'attention.q_norm',
    'attn.k_norm': 'attention.k_norm', 'attn.gamma.weight': 'layer_scale1.lambda1', 'ffn.w3': 'mlp.down_proj'
}


def to_module_keys(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of a backbone, without prefix, by the names in ``Sapiens2ViT``.

    The release's two layers of the MLP in one become two, and its periods of positions are left out: the library
    computes them. Other names stay as they are.
    """
    renamed = {}
    for key, value in weights.items():
        stem, _, leaf = key.rpartition('.')
        match = re.fullmatch(r'blocks\.(\d+)\.(.+)', key)
        if key == 'rope_embed.periods':
            continue
        if key.startswith(_LIBRARY):
            renamed[f'vit.{key}'] = value
        elif key in _RELEASE:
            renamed[f'vit.{_RELEASE[key]}'] = value
        elif stem in _RELEASE:
            renamed[f'vit.{_RELEASE[stem]}.{leaf}'] = value
        elif match:
            renamed.update(_of_block(f'vit.model.layer.{match[1]}', match[2], value))
        else:
            renamed[key] = value
    return renamed


def _of_block(block: str, name: str, value: Tensor) -> dict[str, Tensor]:
    stem, _, leaf = name.rpartition('.')
    if stem == 'ffn.w12' and value.dim() and len(value) % 2 == 0:
        return {f'{block}.mlp.{part}.{leaf}': half
                for part, half in zip(('gate_proj', 'up_proj'), value.chunk(2))}
    if name in _BLOCK:
        return {f'{block}.{_BLOCK[name]}': value}
    return {f'{block}.{_BLOCK.get(stem, stem)}.{leaf}': value}
