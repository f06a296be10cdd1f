"""Score tables beside shards (Parquet, JSON lines) and files of detected boxes."""
import os
import urllib.error
from collections.abc import Callable

import numpy as np

from ...utils.files import parse_json
from ...utils.tar_files import SourceError, is_local, open_url


def score_files(url: str) -> list[str]:
    """Returns the paths or addresses where a shard's score table may be."""
    address, question, query = (url, '', '') if is_local(url) else url.partition('?')
    if not address.endswith('.tar') or (not is_local(url) and url.startswith('pipe:')):
        return []
    return [address.removesuffix('.tar') + ending + question + query for ending in ('.parquet', '.jsonl')]


def read_scores(url: str, columns: tuple[str, ...], allow_pipes: bool) -> dict[str, dict]:
    """Reads the score table beside a shard.

    Returns:
        Key -> row; empty if there is no table.

    Raises:
        SourceError: The table cannot be read, or has no column ``key``.
        ImportError: A Parquet table needs pyarrow.
    """
    for path in score_files(url):
        if is_local(url) and not os.path.exists(path):
            continue
        try:
            with open_url(path, allow_pipes) as file:
                data = file.read()
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in (403, 404):
                continue  # stores that do not list their files answer 403 for a missing one
            raise SourceError(f'{path}: cannot be read ({error})') from error
        try:
            rows = (_parquet_rows(data, columns) if path.partition('?')[0].endswith('.parquet') else
                    [parse_json(line) for line in data.splitlines() if line.strip()])
            return {bare_key(str(row['key'])): row for row in rows}
        except (ValueError, KeyError, TypeError, OSError) as error:
            reason = str(error).partition('\n')[0]
            raise SourceError(f"{path}: got {type(error).__name__}: {reason}, expected a table of scores with a column "
                              "'key'; repair or remove the file") from error
    return {}


def _parquet_rows(data: bytes, columns: tuple[str, ...]) -> list[dict]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"score tables in .parquet need pyarrow ({error}): pip install 'sapiens_mm[pretrain]'"
                          ) from error
    file = parquet.ParquetFile(pyarrow.BufferReader(data))
    return file.read([name for name in file.schema_arrow.names if name in ('key', *columns)]).to_pylist()


def read_boxes(path: str | os.PathLike) -> Callable[[list[np.ndarray], list[str]], list[np.ndarray | None]]:
    """Reads detected boxes and returns them as a detector.

    Args:
        path: JSON lines, ``{"key": "000000123", "boxes": [[x0, y0, x1, y1, score], ...]}``: the key of a sample, unique
            over all shards, and pixels of the decoded image.

    Raises:
        ValueError: A line is malformed, or a key is repeated.
        OSError: The file cannot be read.
    """
    boxes_of = {}
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            try:
                record = parse_json(line)
                key, boxes = record['key'], _parse_boxes(record['boxes'])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f'{path}, line {number}: got {type(error).__name__}: {error}, expected {{"key": '
                                 '"000000123", "boxes": [[x0, y0, x1, y1, score], ...]}') from error
            if key in boxes_of:
                raise ValueError(f'{path}, line {number}: got key {key} twice, expected unique keys')
            boxes_of[key] = boxes
    return lambda images, keys: [boxes_of.get(bare_key(key)) for key in keys]


def _parse_boxes(value) -> np.ndarray:
    boxes = np.asarray(value, np.float32)
    boxes = boxes if boxes.size else boxes.reshape(0, 5)
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(f'boxes of shape {boxes.shape}')
    corners, scores = boxes[:, :4], boxes[:, 4]
    if not (corners[:, 2:] >= corners[:, :2]).all() or not np.isfinite(corners).all():
        raise ValueError('a box whose second corner is not right of and below the first (x, y, width, height?)')
    if not ((scores >= 0) & (scores < 1.001)).all():
        raise ValueError('a score outside of 0 to 1')
    return boxes


def bare_key(key: str) -> str:
    """Returns a sample's key without the ``./`` that tar adds if it packs the folder ``.``."""
    return key.removeprefix('./')
