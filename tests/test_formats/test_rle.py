"""Tests of run-length encodings."""
import numpy as np
import pytest
from xtcocotools import mask as coco_masks

from sapiens_mm.formats.rle import decode_brush, decode_coco, encode_brush, encode_coco, fill_polygon


@pytest.mark.parametrize('rle', [dict(size=[2, 3], counts=[5]), dict(size=[2, 3], counts=[-1, 7]),
                                 dict(size=[2, 3], counts='9')])
def test_damaged_coco(rle):
    with pytest.raises(ValueError, match='2 x 3'):
        decode_coco(rle)


@pytest.mark.parametrize('change', [lambda rle: rle[:6], lambda rle: [0, *rle[1:3], 1, *rle[4:]],
                                    lambda rle: [*rle[:4], 0, *rle[5:]]])
def test_damaged_brush(change):
    rle = encode_brush(np.eye(5, 7, dtype=bool))
    with pytest.raises(ValueError, match='5 x 7'):
        decode_brush(change(rle), 5, 7)


@pytest.mark.parametrize('seed', range(5))
def test_round_trips(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 60), rng.integers(1, 60))) > rng.random()
    rle = encode_coco(mask)
    assert rle['counts'].encode() == coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))['counts']
    assert np.array_equal(decode_coco(rle), mask)
    assert np.array_equal(decode_brush(encode_brush(mask), *mask.shape), mask)


def test_long_runs():
    mask = np.zeros((300, 500), bool)
    mask[100:, 3:] = True
    assert np.array_equal(decode_coco(encode_coco(mask)), mask)
    assert np.array_equal(decode_coco(dict(size=[2, 2], counts=[1, 2, 1])), [[False, True], [True, False]])
    assert np.array_equal(decode_brush(encode_brush(mask), 300, 500), mask)


def test_a_brush_bit_by_bit():
    # 1 x 2 pixels, the right one in the mask: 8 values of 8 bits, lengths of 3, 4, 8, 16 bits; two runs of 4 values.
    bits = (f'{8:032b}' '00111' '0010' '0011' '0111' '1111' '1' '00' '011' '00000000' '1' '00' '011' '11111111')
    expected = [int(bits[at:at + 8].ljust(8, '0'), 2) for at in range(0, len(bits), 8)]
    assert encode_brush(np.array([[False, True]])) == expected
    # Literals, as Label Studio writes antialiased edges.
    literals = f'{4:032b}' '00111' '0010' '0011' '0111' '1111' '0' '00' '011' + ''.join(
        f'{value:08b}' for value in (9, 8, 7, 6))
    rle = [int(literals[at:at + 8].ljust(8, '0'), 2) for at in range(0, len(literals), 8)]
    assert decode_brush(rle, 1, 1).tolist() == [[True]]


def test_polygons():
    square = np.array([[2, 1], [5, 1], [5, 4], [2, 4.]])
    assert np.argwhere(fill_polygon(square, (6, 7))).tolist() == [[y, x] for y in (1, 2, 3) for x in (2, 3, 4)]
    assert fill_polygon(square - 3, (6, 7)).sum() == 2  # cut by the image
    angles = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    polygon = 25 + np.stack([24 * np.cos(angles), 20 * np.sin(angles)], 1)
    mask = coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects([polygon.ravel().tolist()], 50, 50)))
    assert (mask != fill_polygon(polygon, (50, 50))).mean() < .02
    assert not fill_polygon(np.zeros((0, 2)), (4, 4)).any()
