"""Inference as a stage of Ray Data."""
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image

from ..formats.results import people_rows
from ..formats.tables import people_table
from .frames import InputError, read_image, to_rgb
from .inferencer import SapiensInferencer
from .result import check_keypoint_format, check_one_list


class SapiensBatch:
    """Function for ``map_batches`` of Ray Data, from images to a row for each person, as in ``people.parquet``.

        ray.data.read_binary_files('photos', include_paths=True).map_batches(
            SapiensBatch, fn_constructor_kwargs=dict(size='1b'), num_gpus=1, concurrency=8, batch_size=16,
        ).write_parquet('people')

    Args:
        keypoint_format: Keypoint set of the rows, see :meth:`~sapiens_mm.apis.result.Result.to_json`.
        skip_broken: Leave out images that cannot be read. By default an InputError ends the task.
        kwargs: Those of :class:`~sapiens_mm.apis.inferencer.SapiensInferencer`.
    """

    def __init__(self, *args, keypoint_format: str = 'model', skip_broken: bool = False, **kwargs):
        check_keypoint_format(keypoint_format)
        check_one_list(keypoint_format, 'SapiensBatch')
        self.inferencer = SapiensInferencer(*args, **kwargs)
        self.keypoint_names = self.inferencer.check_keypoint_format(keypoint_format)
        self.keypoint_format, self.skip_broken = keypoint_format, skip_broken

    def __call__(self, batch: Mapping[str, np.ndarray]):
        """Returns a ``pyarrow.Table`` of the people.

        ``batch`` has ``path``, and ``bytes`` (encoded, as by ``read_binary_files``) or ``image``, arrays (H, W) or
        (H, W, C) uint8 of any sizes; ``read_images`` does not apply their EXIF orientation.
        """
        column = 'bytes' if 'bytes' in batch else 'image'
        if column not in batch or 'path' not in batch:
            raise ValueError(f'batch: got the columns {", ".join(batch)}, expected path, and bytes or image; read '
                             'it with include_paths=True')
        images = {}
        for index, (path, value) in enumerate(zip(batch['path'], batch[column], strict=True)):
            try:
                images[index] = _decode(str(path), value)
            except InputError:
                if not self.skip_broken:
                    raise
        results = self.inferencer(list(images.values())) if images else []
        rows = [row for index, result in zip(images, results, strict=True)
                for row in people_rows(result.to_json(self.keypoint_format), str(batch['path'][index]))]
        return people_table(rows, self.keypoint_names)


def _decode(path: str, value: bytes | np.ndarray) -> np.ndarray:
    if isinstance(value, bytes):
        return read_image(path, file=BytesIO(value))
    try:
        return to_rgb(Image.fromarray(value))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f'{path}: got an array that is no image ({error}), expected (H, W) or (H, W, C) uint8'
                         ) from error
