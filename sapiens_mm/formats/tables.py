"""Tables of people and of images in Parquet, written in parts and merged."""
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath

from ..utils.files import replacing
from .results import people_rows

_ROWS, _BATCH = 2000, 100  # results of a row group; of those at a time as Python objects, which take ten times more


@dataclass
class Row:
    """An image or frame: the content of its JSON, or an error. ``seconds`` is the mean time of its neighbors."""
    image: str
    content: dict | None = None
    seconds: float | None = None
    error: str | None = None


def import_pyarrow():
    """Returns ``pyarrow`` and ``pyarrow.parquet``, or raises a ValueError that says how to install them."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f"save: parquet needs pyarrow ({error}): pip install 'sapiens_mm[scale]'") from error
    return pyarrow, parquet


def people_schema(keypoint_names: Sequence[str] | None):
    """Returns the ``pyarrow.Schema`` of :func:`~.results.people_rows`, without keypoints if there are no names."""
    pa, _ = import_pyarrow()
    floats, number = pa.float32(), len(keypoint_names or ())
    fields = dict(image=pa.string(), frame=pa.int32(), time=pa.float64(), width=pa.int32(), height=pa.int32(),
                  person=pa.int32(), track_id=pa.int32(), score=floats, bbox=pa.list_(floats, 4))
    if keypoint_names is not None:
        fields |= dict(keypoints=pa.list_(floats, 2 * number), keypoint_scores=pa.list_(floats, number))
    return pa.schema(list(fields.items()))


def people_table(rows: list[dict], keypoint_names: Sequence[str] | None):
    """Returns rows of :func:`~.results.people_rows` as a ``pyarrow.Table``; ValueError for another keypoint set."""
    pa, _ = import_pyarrow()
    return pa.Table.from_pylist(rows, people_schema(keypoint_names))


def write_part(people: str | os.PathLike, images: str | os.PathLike, rows: Iterable[Row],
               keypoint_names: Sequence[str] | None) -> None:
    """Writes both tables of some images. They are complete if ``images`` exists, which is written last."""
    pa, parquet = import_pyarrow()
    metadata = {'keypoint_names': json.dumps(keypoint_names)}
    schemas = [schema.with_metadata(metadata) for schema in (people_schema(keypoint_names), _images_schema())]
    with replacing(images) as images_file, replacing(people) as people_file, \
            parquet.ParquetWriter(people_file, schemas[0], compression='zstd') as people_writer, \
            parquet.ParquetWriter(images_file, schemas[1], compression='zstd') as images_writer:
        rows = iter(rows)
        while group := list(islice(_batch_tables(rows, schemas), _ROWS // _BATCH)):
            for writer, batches in zip((people_writer, images_writer), zip(*group)):
                writer.write_table(pa.concat_tables(batches))


def _batch_tables(rows: Iterator[Row], schemas: Sequence) -> Iterator[tuple]:
    """Yields tables of people and of images."""
    pa, _ = import_pyarrow()
    while batch := list(islice(rows, _BATCH)):
        persons = [person for row in batch if row.content for person in people_rows(row.content, row.image)]
        yield (pa.Table.from_pylist(persons, schemas[0]),
               pa.Table.from_pylist(list(map(_image_row, batch)), schemas[1]))


def merge(parts: Sequence[tuple[str, str]], people: str | os.PathLike, images: str | os.PathLike, **metadata) -> None:
    """Merges parts, (people, images) each, into two files, whose schemas get the metadata as JSON.

    The rows of an image are those of the last part that has it. ``people`` is replaced first.
    """
    pa, parquet = import_pyarrow()
    last: dict[str, int] = {}
    for number, (_, path) in enumerate(parts):
        for name, error in _names_and_errors(path):
            last[name] = number
            if error is None:
                last.update(dict.fromkeys(folders(name), number))  # drops the error of a tar file that was repaired
    metadata = {key: json.dumps(value) for key, value in metadata.items()}
    names = keypoint_names_of([path for path, _ in parts])
    for target, paths, schema in ((people, [path for path, _ in parts], people_schema(names)),
                                  (images, [path for _, path in parts], _images_schema())):
        schema = schema.with_metadata({'keypoint_names': json.dumps(names), **metadata})
        with replacing(target) as part, parquet.ParquetWriter(part, schema, compression='zstd') as writer:
            for number, path in enumerate(paths):
                for batch in _batches(path):
                    kept = [last.get(name) == number for name in batch['image'].to_pylist()]
                    if any(kept):
                        writer.write_table(pa.Table.from_batches([batch]).filter(pa.array(kept)).cast(schema))


def done_images(path: str | os.PathLike) -> Iterator[str]:
    """Yields the images in a table of images that have no error; a ValueError if it cannot be read."""
    return (name for name, error in _names_and_errors(path) if error is None)


def keypoint_names_of(paths: Iterable[str | os.PathLike]) -> list[str] | None:
    """Returns the keypoint names of the first table of people that has them; None without one."""
    _, parquet = import_pyarrow()
    for path in paths:
        with _open(path) as file:
            metadata = file.schema_arrow.metadata or {}
            names = json.loads(metadata.get(b'keypoint_names', b'null'))
        if names is not None:
            return names
    return None


def has_people(path: str | os.PathLike) -> bool:
    with _open(path) as file:
        return file.metadata.num_rows > 0


def _images_schema():
    pa, _ = import_pyarrow()
    return pa.schema([('image', pa.string()), ('frame', pa.int32()), ('time', pa.float64()), ('width', pa.int32()),
                      ('height', pa.int32()), ('people', pa.int32()), ('seconds', pa.float64()),
                      ('error', pa.string())])


def _image_row(row: Row) -> dict:
    values = dict(image=row.image, seconds=row.seconds, error=row.error)
    if row.content is not None:
        image = row.content['image']
        values |= dict(frame=image.get('frame'), time=image.get('time'), width=image['width'], height=image['height'],
                       people=len(row.content['instances']))
    return values


def _open(path: str | os.PathLike):
    pa, parquet = import_pyarrow()
    try:
        return parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f'{os.fspath(path)}: got no complete Parquet file, expected a table; remove it') from error


def _batches(path: str | os.PathLike, columns: list[str] | None = None) -> Iterator:
    with _open(path) as file:
        yield from file.iter_batches(_ROWS, columns=columns)


def _names_and_errors(path: str | os.PathLike) -> Iterator[tuple[str, str | None]]:
    for batch in _batches(path, ['image', 'error']):
        yield from zip(batch['image'].to_pylist(), batch['error'].to_pylist())


def folders(name: str) -> tuple[str, ...]:
    """Returns the folders that contain a name, the nearest first."""
    return _folders_of(name.rpartition('/')[0])


@lru_cache
def _folders_of(folder: str) -> tuple[str, ...]:
    return (folder, *map(str, list(PurePosixPath(folder).parents)[:-1])) if folder else ()
