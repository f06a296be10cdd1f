"""Sources of inference: files, folders, patterns, tar files, URLs, cameras and arrays as one stream of frames."""
import glob
import hashlib
import os
import os.path as osp
import urllib.parse
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from ..tasks import dense_tasks
from ..utils.files import read_json
from ..utils.tar_files import SourceError, expand, tar_members
from ..utils.text import first_line
from .frames import (
    URL_TIMEOUT,
    Frame,
    InputError,
    Source,
    has_video,
    is_url,
    is_web,
    open_store,
    read_frames,
    read_image,
    to_rgb,
)

IMAGES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff', '.gif')
VIDEOS = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.mts', '.m2ts', '.3gp', '.wmv',
          '.flv', '.ogv', '.mxf')  # without .ts, which in folders may be TypeScript
#: Suffixes of results that are images or videos; see :class:`~sapiens_mm.apis.result_files.ResultFiles`.
RESULTS = ('.overlay.jpg', '.sheet.jpg', '.overlay.mp4', *(f'.{task.result}.png' for task in dense_tasks().values()))

SourceErrorHandler = Callable[[Source, InputError], None]


def find_sources(inputs: Sequence[str | os.PathLike], allow_urls: bool = False,
                 without: str | os.PathLike | None = None, on_error: Callable[[InputError], None] | None = None,
                 url_timeout: float = URL_TIMEOUT) -> list[Source]:
    """Finds the sources of files, folders (recursively), patterns, camera numbers and URLs.

    Files of a folder or pattern are sorted by name. Other file types and results (`RESULTS`) below a ``meta.json`` of
    this package are skipped. A tar file of images is one source; folders' are skipped. Braces name several tar files:
    ``'laion/{00000..00999}.tar'``. Addresses other than http(s), such as ``s3://``, are read by fsspec, and may be
    patterns, or folders with a slash at the end.

    Args:
        without: Folder whose results are skipped in folders and patterns.
        on_error: Called with the error of an input, which is then skipped. By default the error is raised.
        url_timeout: Seconds that downloading a URL may take.

    Raises:
        InputError: An input is missing or unreadable, has no images or videos, or is a URL without ``allow_urls``.
    """
    files, others = [], []  # files with the folders that their names are relative to
    for entry in _expanded(map(os.fspath, inputs)):
        try:
            if is_url(entry):
                others += [replace(source, timeout=url_timeout) for source in _url_sources(entry, allow_urls)]
            elif entry.isdecimal() and not osp.exists(entry):
                others.append(_camera_source(entry))
            elif osp.isdir(entry):
                files += [(path, osp.abspath(entry)) for path in _readable(_walk(entry, on_error), entry, without)]
            elif osp.isfile(entry):
                files.append((entry, osp.dirname(osp.abspath(entry))))
            elif glob.has_magic(entry):
                matches = (path for path in glob.glob(entry, recursive=True) if osp.isfile(path))
                files += [(path, osp.dirname(osp.abspath(path))) for path in _readable(matches, entry, without)]
            else:
                raise InputError(f"input: got '{entry}', which does not exist, expected an image, video, folder, "
                                 'pattern or camera number; check the path')
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
    root = osp.commonpath([folder for _, folder in files]) if files else ''
    sources = [Source(path, osp.relpath(osp.abspath(path), root).replace(os.sep, '/'), _kind(path))
               for path, _ in files]
    return list({source.name: source for source in sources + others}.values())  # drops duplicates


def _camera_source(number: int | str) -> Source:
    return Source(str(number), f'camera{number}', 'camera')


def _expanded(entries: Iterable[str]) -> Iterator[str]:
    for entry in entries:
        if '{' in entry and entry.endswith('.tar') and not osp.exists(entry):
            try:
                yield from expand(entry)
            except SourceError as error:
                raise InputError(str(error)) from error
        else:
            yield entry


def _url_sources(entry: str, allow_urls: bool) -> list[Source]:
    if not allow_urls:
        raise InputError(f'input: got the URL {entry}, expected a file; to download it, add --allow-urls '
                         '(allow_urls=True)')
    if is_web(entry) or not (entry.endswith('/') or glob.has_magic(entry)):
        return [_url_source(entry)]
    try:
        import fsspec
        store, path = fsspec.core.url_to_fs(entry)
        if not entry.endswith('/') and store.isfile(path):  # a key may have '[' or '*'
            return [_url_source(entry)]
        found = store.find(path) if entry.endswith('/') else store.glob(path)
        urls = [store.unstrip_protocol(path) for path in sorted(found)]
    except Exception as error:  # of the store's library
        raise InputError(f'{entry}: {type(error).__name__}: {first_line(error)}; addresses other than http(s) need pip '
                         "install 'sapiens_mm[scale]' and the library of the store, such as s3fs") from error
    urls = [url for url in urls if url.lower().endswith(_suffixes(entry))]
    if not urls:
        raise InputError(f"'{entry}' has no images ({', '.join(IMAGES)}) or videos ({', '.join(VIDEOS)})")
    return list(map(_url_source, urls))


def _url_source(entry: str) -> Source:
    if not is_web(entry):  # '?' and '#' are characters of a store's keys
        path = entry.partition('://')[2]
        return Source(entry, '/'.join(_safe_parts(path)), _kind_of_name(path))
    try:
        url = urllib.parse.urlsplit(entry)
    except ValueError as error:
        raise InputError(f'input: got {entry}, expected a valid URL ({error})') from error
    parts = _safe_parts(f'{url.netloc}{url.path}')
    if url.query:  # the only difference of some URLs, hashed as it may be too long for a file name
        *folders, base = parts or ['']
        parts = [*folders, f'{hashlib.sha256(url.query.encode()).hexdigest()[:8]}_{base}']
    return Source(entry, '/'.join(parts), _kind_of_name(url.path))


def _safe_parts(path: str) -> list[str]:
    return [part for part in path.replace(':', '_').split('/') if part not in ('', '.', '..')]


def _walk(entry: str, on_error: Callable[[InputError], None] | None) -> Iterator[str]:
    """Yields the files below a folder; links to folders are followed last, and no folder is visited twice."""
    def refuse(error: OSError) -> None:
        refused = InputError(f"'{error.filename}' cannot be read: {error.strerror}")
        if on_error is None:
            raise refused from error
        on_error(refused)

    waiting, seen = deque([entry]), set()
    while waiting:
        for folder, folders, names in os.walk(waiting.popleft(), onerror=refuse):
            real = osp.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            waiting += sorted(path for path in (osp.join(folder, name) for name in folders) if osp.islink(path))
            yield from (osp.join(folder, name) for name in names)


def _readable(paths: Iterable[str], entry: str, without: str | os.PathLike | None) -> list[str]:
    has_results = {osp.abspath(without): True} if without is not None else {}

    def in_results(folder: str) -> bool:
        if folder not in has_results:
            parent = osp.dirname(folder)
            metas = glob.iglob(osp.join(glob.escape(folder), 'meta*.json'))  # shards have their own
            has_results[folder] = any(map(_is_meta, metas)) or (parent != folder and in_results(parent))
        return has_results[folder]

    readable = sorted(path for path in paths if path.lower().endswith(_suffixes(entry))
                      and not (path.endswith(RESULTS) and in_results(osp.dirname(osp.abspath(path)))))
    if not readable:
        raise InputError(f"'{entry}' has no images ({', '.join(IMAGES)}) or videos ({', '.join(VIDEOS)})")
    return readable


def _suffixes(entry: str) -> tuple[str, ...]:
    return IMAGES + VIDEOS + (('.tar', ) if entry.endswith('.tar') else ())


def _is_meta(path: str) -> bool:
    with suppress(OSError, ValueError):
        content = read_json(path)
        return isinstance(content, dict) and 'sapiens_mm' in content
    return False


def _kind_of_name(name: str) -> str:
    name = name.lower()
    return 'tar' if name.endswith('.tar') else 'video' if name.endswith(VIDEOS) else 'image'


def _kind(path: str) -> str:
    kind = _kind_of_name(path)
    return 'video' if kind == 'image' and not path.lower().endswith(IMAGES) and has_video(path) else kind


def file_source(path: str) -> Source:
    """Returns a file (not a link) as a source with its base name, even if it looks like a pattern, number or URL."""
    if not osp.isfile(path) or osp.islink(path):
        raise InputError(f'{path}: file does not exist')
    path = osp.abspath(path)
    return Source(path, osp.basename(path), _kind(path))


def known_sources(inputs) -> list[Source]:
    if isinstance(inputs, Iterator):
        return []
    entries = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    paths = [entry for entry in entries if isinstance(entry, (str, os.PathLike))]
    return [entry for entry in entries if isinstance(entry, Source)] + find_sources(paths, on_error=lambda error: None)


def frames_of_inputs(inputs, on_error: SourceErrorHandler | None = None) -> Iterator[Frame]:
    lazy = isinstance(inputs, Iterator)
    entries = inputs if lazy or isinstance(inputs, (list, tuple)) else [inputs]
    paths = [] if lazy else [entry for entry in entries if isinstance(entry, (str, os.PathLike))]
    # Names are unique over all paths, but each path is read at its place, also twice, as boxes go by place.
    ignore = on_error and (lambda error: None)  # reported at its place below
    names = {source.path: source.name for source in find_sources(paths, on_error=ignore)} if len(paths) > 1 else {}
    taken: dict[str, str] = {}  # name -> path of an iterator, whose paths are not known beforehand
    for number, entry in enumerate(entries):
        if isinstance(entry, (np.ndarray, Image.Image)):
            yield from _array_frame(entry, number, on_error)
            continue
        if isinstance(entry, Source):
            sources = [entry]
        elif isinstance(entry, (int, np.integer)) and not isinstance(entry, bool):
            sources = [_camera_source(entry)]
        elif isinstance(entry, (str, os.PathLike)):
            path = os.fspath(entry)
            report = on_error and (lambda error, path=path: on_error(Source(path, path), error))
            sources = [replace(source, name=names.get(source.path, source.name))
                       for source in find_sources([entry], on_error=report)]
            for source in sources if lazy else ():
                if taken.setdefault(source.name, source.path) != source.path:
                    source.name = f'{number:06d}/{source.name}'
        else:
            raise InputError(f'input {number}: got a {type(entry).__name__}, expected an image ((H, W, 3) uint8 RGB or '
                             "Pillow's), a path, a camera number, a Source, or a list or iterator of these")
        yield from frames_of(sources, on_error)


def frames_of(sources: Iterable[Source], on_error: SourceErrorHandler | None = None) -> Iterator[Frame]:
    for source in sources:
        try:
            yield from _frames_of_tar(source, on_error) if source.kind == 'tar' else read_frames(source)
        except InputError as error:
            if on_error is None:
                raise
            on_error(source, error)


def _frames_of_tar(source: Source, on_error: SourceErrorHandler | None) -> Iterator[Frame]:
    for member, data in _members(source):
        try:
            if data is None:
                raise InputError(f'{member.path}: got a further image of this name, expected different names')
            if source.skip is None or not source.skip(member):
                yield Frame(member, read_image(member.path, file=BytesIO(data)))
        except InputError as error:
            if on_error is None:
                raise
            on_error(member, error)


def _members(source: Source) -> Iterator[tuple[Source, bytes | None]]:
    """Yields the images in a tar file, encoded; a name that was there before gets a number, and None as its content.

    Raises an InputError if the file is damaged, has no images, or cannot be fetched.
    """
    names = Counter()
    store = is_url(source.path) and not is_web(source.path)
    try:
        for member, data in tar_members(source.path, select=_is_image, open_stream=open_store if store else None):
            name = '/'.join(part for part in member.split('/') if part not in ('', '.', '..'))
            names[name] += 1
            again = f' ({names[name]})' if names[name] > 1 else ''  # else the row of its error would be the first's
            yield (Source(f'{source.path}/{member}', f'{source.name}/{name}{again}', tar=source.name),
                   None if again else data)
    except SourceError as error:
        raise InputError(str(error)) from error
    except Exception as error:
        if not store:
            raise
        raise InputError(f'{source.path}: {type(error).__name__}: {first_line(error)}') from error  # of its library
    if not names:
        raise InputError(f'{source.path}: got a tar file without images, expected some named {", ".join(IMAGES)}')


def _is_image(name: str) -> bool:
    base = name.rpartition('/')[2]
    return base.lower().endswith(IMAGES) and not base.startswith('.')


def _array_frame(image: np.ndarray | Image.Image, number: int, on_error: SourceErrorHandler | None) -> Iterator[Frame]:
    source = Source('', f'{number:06d}')
    try:
        frame = Frame(source, _to_array(image, number))
    except InputError as error:
        if on_error is None:
            raise
        on_error(source, error)
        return
    yield frame


def _to_array(image: np.ndarray | Image.Image, number: int) -> np.ndarray:
    if isinstance(image, Image.Image):
        try:
            return to_rgb(ImageOps.exif_transpose(image))
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f'image {number}: {first_line(error)}') from error
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f'image {number}: got {image.shape} {image.dtype}, expected (H, W, 3) uint8 RGB')
    if not image.size:
        raise InputError(f'image {number}: got {image.shape}, an image without pixels, expected H and W of at least 1')
    return image
