"""PNG files that Pillow does not write: 16 bits for each of three channels."""
import os
import struct
import zlib

import numpy as np


def write_png16(path: str | os.PathLike, image: np.ndarray, text: dict[str, str] | None = None) -> None:
    """Writes an image (H, W, 3) uint16 RGB with texts in ASCII by their keywords."""
    height, width = image.shape[:2]
    rows = np.ascontiguousarray(image, '>u2').view(np.uint8).reshape(height, -1)
    # The filter "up": the difference to the row above compresses better.
    rows = np.concatenate([np.full((height, 1), 2, np.uint8), np.diff(rows, axis=0, prepend=np.uint8(0))], axis=1)
    chunks = [(b'IHDR', struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)),
              *((b'tEXt', f'{keyword}\0{value}'.encode('ascii')) for keyword, value in (text or {}).items()),
              (b'IDAT', zlib.compress(rows.tobytes())), (b'IEND', b'')]
    with open(path, 'wb') as file:
        file.write(b'\x89PNG\r\n\x1a\n')
        for name, content in chunks:
            file.write(struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content)))
