"""Tests of the decoder of the masked autoencoder."""
import pytest
import torch

from sapiens_mm.pretrain.decoder import SapiensMAEDecoder


def decoder(**kwargs):
    torch.manual_seed(0)
    model = SapiensMAEDecoder(**{**dict(in_channels=8, grid_size=(4, 3), embed_dims=16, num_layers=1, num_heads=2),
                                 **kwargs})
    model.init_weights()
    return model.eval()


def test_refuses_a_width_without_room_for_sines_and_cosines():
    with pytest.raises(ValueError, match='18'):
        decoder(embed_dims=18)


def test_defaults_are_the_public_models():
    model = SapiensMAEDecoder(1024, (64, 64))
    assert len(model.decoder_blocks) == 8
    assert model.decoder_blocks[0].attn.num_heads == 16
    assert model.decoder_embed.weight.shape == (512, 1024)
    assert model.decoder_blocks[7].ffn.layers[1].weight.shape == (512, 2048)
    assert model.decoder_pred.weight.shape == (768, 512)
    assert model.decoder_pos_embed.shape == (1, 4097, 512)


def test_the_order_of_the_visible_patches_does_not_matter():
    model, x = decoder(), torch.randn(1, 1 + 5, 8)
    ids_restore = torch.randperm(12)[None]
    order = torch.tensor([3, 0, 4, 1, 2])
    renamed = ids_restore.clone()
    for new, old in enumerate(order.tolist()):
        renamed[ids_restore == old] = new
    swapped = torch.cat([x[:, :1], x[:, 1:][:, order]], dim=1)
    torch.testing.assert_close(model(x, ids_restore, (4, 3)), model(swapped, renamed, (4, 3)))


def test_hidden_patches_differ_by_their_place_only():
    model, x = decoder(), torch.randn(1, 1 + 5, 8)
    model.decoder_pos_embed.data.zero_()
    pred = model(x, torch.arange(12)[None], (4, 3))[0]
    assert torch.allclose(pred[5:], pred[5].expand(7, -1), atol=1e-6)
    assert not torch.allclose(pred[0], pred[5], atol=1e-3)


def test_another_grid():
    out = decoder()(torch.randn(2, 1 + 6, 8), torch.arange(24).expand(2, -1), (4, 6))
    assert out.shape == (2, 24, 768)
