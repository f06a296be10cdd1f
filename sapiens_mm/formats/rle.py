"""Encodings of masks: COCO's run lengths and polygons, and Label Studio's brushes (thi.ng's rle-pack)."""
from collections.abc import Sequence

import numpy as np

_LENGTH_BITS = (3, 4, 8, 16)  # of rle-pack's runs


def encode_coco(mask: np.ndarray) -> dict:
    """Encodes a mask (H, W) bool as COCO's RLE with a compressed string: ``{'size': [H, W], 'counts': str}``."""
    runs = _runs(mask.ravel(order='F'))
    counts = [length for _, length in runs]
    if runs and runs[0][0]:
        counts.insert(0, 0)  # the first run is of background
    text = []
    for index, number in enumerate(counts):
        number -= counts[index - 2] if index > 2 else 0
        more = True
        while more:
            digit = number & 31
            number >>= 5
            more = number != (-1 if digit & 16 else 0)
            text.append(chr((digit | 32 if more else digit) + 48))
    return dict(size=list(mask.shape), counts=''.join(text))


def decode_coco(rle: dict) -> np.ndarray:
    """Decodes COCO's RLE, compressed or a list of counts, to (H, W) bool; a ValueError if it is damaged."""
    (height, width), counts = rle['size'], rle['counts']
    if isinstance(counts, str):
        numbers, number, shift = [], 0, 0
        for character in counts:
            digit = ord(character) - 48
            number |= (digit & 31) << shift
            shift += 5
            if not digit & 32:
                number -= (1 << shift) if digit & 16 else 0
                numbers.append(number + (numbers[-2] if len(numbers) > 2 else 0))
                number, shift = 0, 0
        counts = numbers
    counts = np.array(counts, int)
    if (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(f'RLE: got {counts.sum()} pixels, expected {height} x {width}')
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def fill_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels (H, W) bool whose centers are in a polygon (V, 2) of x, y from the image's corner."""
    mask = np.zeros(size, bool)
    (x, y), (next_x, next_y) = points.T, np.roll(points, -1, axis=0).T
    for row in range(max(int(y.min(initial=0)), 0), min(int(np.ceil(y.max(initial=0))), size[0])):
        center = row + .5
        hit = (y <= center) != (next_y <= center)
        crossings = np.sort(x[hit] + (center - y[hit]) * (next_x - x)[hit] / (next_y - y)[hit])
        for start, end in np.ceil(crossings - .5).clip(0, size[1]).astype(int).reshape(-1, 2).tolist():
            mask[row, start:end] = True
    return mask


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encodes a mask (H, W) bool as the bytes of Label Studio's ``rle``: an image of RGBA, 255 in the mask.

    Bits: 32 of the number of values, 5 of their size - 1, 4 x 4 of the sizes of lengths - 1; then runs of 1 bit (1), 2
    for the size of the length, the length - 1, and 8 of the value (https://github.com/thi-ng/umbrella, rle-pack).
    """
    bits = [f'{mask.size * 4:032b}', f'{7:05b}', *(f'{size - 1:04b}' for size in _LENGTH_BITS)]
    for value, length in _runs(mask.ravel()):
        length *= 4
        while length:
            part = min(length, 1 << _LENGTH_BITS[-1])
            kind = next(kind for kind, size in enumerate(_LENGTH_BITS) if part <= 1 << size)
            bits.append(f'1{kind:02b}{part - 1:0{_LENGTH_BITS[kind]}b}{255 * value:08b}')
            length -= part
    text = ''.join(bits)
    array = np.frombuffer(text.encode(), np.uint8) - ord('0')
    return np.packbits(array).tolist()


def decode_brush(rle: Sequence[int], height: int, width: int) -> np.ndarray:
    """Decodes Label Studio's ``rle`` to a mask (H, W) bool, set where it is opaque; a ValueError if damaged."""
    bits = np.unpackbits(np.array(rle, np.uint8))
    text, at = (bits + ord('0')).tobytes().decode(), 0

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int(text[at - size:at], 2)

    values = np.zeros(height * width * 4, np.uint8)
    try:
        number, size = read(32), read(5) + 1
        if number != len(values) or size != 8:
            raise ValueError(f'{number} values of {size} bits')
        sizes, start = [read(4) + 1 for _ in range(4)], 0
        while start < number:
            is_run, end = read(1), start + 1 + read(sizes[read(2)])
            if end > number:
                raise ValueError('more values')
            if is_run:
                values[start:end] = read(8)
            else:
                literals = np.packbits(bits[at:at + 8 * (end - start)])
                values[start:end] = literals
                at += 8 * (end - start)
            start = end
    except ValueError as error:
        raise ValueError(f'brush: got damaged RLE ({error}), expected {height} x {width} pixels of RGBA') from error
    return values[3::4].reshape(height, width) > 0


def _runs(values: np.ndarray) -> list[tuple[bool, int]]:
    """Returns value and length of each run of equal values."""
    starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
    return list(zip(values[starts].tolist(), np.diff(starts, append=len(values)).tolist()))
