"""Tests of position embeddings."""
import math

import pytest
import torch

from sapiens_mm.backbones.pos_embed import resize_pos_embed, sincos_pos_embed


def test_same_grid_is_untouched():
    pos_embed = torch.randn(1, 12, 8)
    assert resize_pos_embed(pos_embed, (4, 3), (4, 3)) is pos_embed


def test_keeps_extra_tokens_and_constants():
    pos_embed = torch.ones(1, 1 + 12, 8)
    pos_embed[:, 0] = 5
    out = resize_pos_embed(pos_embed, (4, 3), (7, 9), num_extra_tokens=1)
    assert out.shape == (1, 64, 8)
    torch.testing.assert_close(out[:, 0], pos_embed[:, 0])
    torch.testing.assert_close(out[:, 1:], torch.ones(1, 63, 8))


def test_rows_and_columns_stay_apart():
    """An embedding that only depends on the row still does after a resize, and grows downwards."""
    rows = torch.arange(4.)[:, None, None].expand(4, 3, 8).reshape(1, 12, 8)
    out = resize_pos_embed(rows, (4, 3), (8, 5)).reshape(8, 5, 8)
    torch.testing.assert_close(out, out[:, :1].expand_as(out))
    assert (out[1:, 0, 0] > out[:-1, 0, 0]).all()


def test_low_precision_is_computed_in_float32():
    pos_embed = torch.randn(1, 12, 8)
    low = resize_pos_embed(pos_embed.bfloat16(), (4, 3), (7, 9))
    assert low.dtype == torch.bfloat16
    exact = resize_pos_embed(pos_embed.bfloat16().float(), (4, 3), (7, 9))
    torch.testing.assert_close(low, exact.bfloat16())


def test_sincos_refuses_a_width_that_is_no_multiple_of_4():
    with pytest.raises(ValueError, match='30'):
        sincos_pos_embed((4, 3), 30)


def test_sincos_by_hand():
    out = sincos_pos_embed((3, 5), 8, num_extra_tokens=2)
    assert out.shape == (1, 2 + 15, 8)
    assert out[0, :2].abs().max() == 0
    row, column = 2, 4
    angles = [row, row / 100, column, column / 100]  # temperature ** (1 / 2) is 100
    expected = [f(a) for pair in (angles[:2], angles[2:]) for f in (math.sin, math.cos) for a in pair]
    torch.testing.assert_close(out[0, 2 + row * 5 + column], torch.tensor(expected))
