"""Tests of resizing of head outputs."""
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from sapiens_mm.dense.resize import placement, resize_argmax, resize_map


class LargestTensor(TorchDispatchMode):
    """Notes how many bytes the largest tensor has that is made."""

    def __init__(self):
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_flatten(out)[0] if isinstance(leaf, torch.Tensor)]
        self.size = max([self.size, *(tensor.numel() * tensor.element_size() for tensor in tensors)])
        return out


def smooth(channels, h, w, seed=0):
    """Logits whose arg max has large areas, as a network's have."""
    torch.manual_seed(seed)
    return F.interpolate(torch.randn(1, channels, 5, 4), (h, w), mode='bicubic')[0]


def noise(channels, h, w, seed=0):
    torch.manual_seed(seed)
    return torch.randn(channels, h, w)


def assert_same_classes(actual, values):
    """Equal, but for pixels where the two best classes are as good as equal."""
    best = values.topk(2, dim=0).values
    differs = actual.long() != values.argmax(0)
    assert (best[0] - best[1])[differs].max() < 1e-4 if differs.any() else True
    assert differs.float().mean() < 1e-3
    assert actual.dtype == torch.uint8


def test_bad_input():
    with pytest.raises(ValueError, match='300 classes'):
        resize_argmax(torch.zeros(300, 4, 4), (8, 8))
    with pytest.raises(ValueError, match=r'\(4, 0, 4, 8\)'):
        resize_map(torch.zeros(3, 4, 4), (8, 8), box=(4, 0, 4, 8))
    with pytest.raises(ValueError, match='flip=True'):
        placement(dict(ori_shape=(4, 4), flip=True), (4, 4), (4, 4))
    with pytest.raises(ValueError, match=r"\['img_path'\], expected ori_shape"):
        placement(dict(img_path='a.png'), (4, 4), (4, 4))


@pytest.mark.parametrize('make', [smooth, noise])
@pytest.mark.parametrize('size', [(97, 131), (64, 48), (41, 300), (23, 17), (1, 1)])
@pytest.mark.parametrize('max_elements', [1, 9000, 2**24])
def test_classes_equal_those_of_the_whole_interpolation(make, size, max_elements):
    logits = make(7, 64, 48)
    values = F.interpolate(logits[None], size, mode='bilinear', align_corners=False)[0]
    assert_same_classes(resize_argmax(logits, size, max_elements=max_elements), values)


def test_classes_of_single_cells():
    assert resize_argmax(torch.eye(3)[:, :1, None], (5, 4)).eq(0).all()
    row = torch.tensor([[[3., 0.]], [[0., 1.]]])  # equal after 3/4 of the way
    expected = F.interpolate(row[None], (4, 16), mode='bilinear')[0].argmax(0)
    assert expected.float().mean() not in (0, 1)
    assert torch.equal(resize_argmax(row, (4, 16)).long(), expected)


def test_map_equals_the_whole_interpolation():
    maps = noise(3, 64, 48)
    expected = F.interpolate(maps[None], (97, 131), mode='bilinear', align_corners=False)[0]
    torch.testing.assert_close(resize_map(maps, (97, 131)), expected)
    # The same by the way that boxes take.
    boxed = resize_map(maps, (197, 231), box=(10, 20, 141, 117), max_elements=5000)
    torch.testing.assert_close(boxed[:, 20:117, 10:141], expected, atol=1e-4, rtol=0)
    boxed[:, 20:117, 10:141] = 0
    assert not boxed.any()


def test_classes_in_a_box():
    logits = noise(5, 64, 48) + torch.tensor([-9., 0, 0, 0, 0])[:, None, None]  # background never wins
    values = F.interpolate(logits[None], (97, 131), mode='bilinear', align_corners=False)[0]
    actual = resize_argmax(logits, (150, 160), box=(10, 20, 141, 117))
    assert_same_classes(actual[20:117, 10:141], values)
    actual[20:117, 10:141] = 0
    assert not actual.any()


@pytest.mark.parametrize('resize', [resize_argmax, resize_map])
def test_box_that_reaches_outside(resize):
    maps = noise(3, 64, 48)
    larger = resize(maps, (150, 160), box=(15, 25, 146.5, 122.25))
    actual = resize(maps, (60, 70), box=(15 - 40, 25 - 50, 146.5 - 40, 122.25 - 50))
    expected = larger[..., 50:110, 40:110]
    if resize is resize_map:
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)
    else:
        assert (actual != expected).float().mean() < 1e-3
    assert not resize(maps, (60, 70), box=(80, 0, 90, 10)).any()
    assert not resize(maps, (60, 70), box=(-20, -20, -5, 10)).any()


def test_padding_is_left_out():
    maps = noise(3, 32, 24)
    padded = F.pad(maps, (0, 8, 0, 4), value=1e6)
    place = placement(dict(ori_shape=(91, 77), img_shape=(64, 48)), (36, 32), (72, 64))
    torch.testing.assert_close(resize_map(padded, **place), resize_map(maps, (91, 77)), atol=1e-4, rtol=0)
    assert_same_classes(resize_argmax(padded, **place), resize_map(maps, (91, 77)))
    # No whole number of cells: a plane stays the plane that it is in pixels of the original image.
    x = torch.arange(32).expand(1, 36, 32) + 0.5
    place = placement(dict(ori_shape=(90, 126), img_shape=(45, 63)), (36, 32), (72, 64))
    actual = resize_map(x, **place)
    expected = (torch.arange(126) + 0.5) / 126 * 63 / 64 * 32
    torch.testing.assert_close(actual[0, 40, 2:-2], expected[2:-2], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(('make', 'cells'), [(smooth, (64, 48)), (noise, (64, 48)), (noise, (3, 2))])
def test_memory_is_bounded(make, cells):
    """A small image with a small bound has the ratio that 28 classes have at 4K; so has one of few, large cells."""
    logits = make(28, *cells)
    with LargestTensor() as largest:
        resize_argmax(logits, (1080, 480), max_elements=28 * 480 * 10)
    whole = 28 * 1080 * 480 * 4
    assert logits.numel() * 4 <= largest.size <= 28 * 480 * 10 * 4 < whole / 100
    with LargestTensor() as largest:
        F.interpolate(logits[None], (1080, 480), mode='bilinear').argmax(1)
    assert largest.size >= whole
