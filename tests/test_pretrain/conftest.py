"""Tar files and images that the tests of pretraining share."""
import io
import tarfile

import numpy as np
from PIL import Image


def tar_bytes(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write_tar(path, members: dict[str, bytes]) -> str:
    path.write_bytes(tar_bytes(members))
    return str(path)


def encode(image: Image.Image, kind: str = 'PNG', **kwargs) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **kwargs)
    return out.getvalue()


def gray_png(value: int, size: tuple[int, int] = (4, 4)) -> bytes:
    return encode(Image.fromarray(np.full((*size, 3), value, np.uint8)))
