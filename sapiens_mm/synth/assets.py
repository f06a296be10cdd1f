"""The user's photos, environment maps and MakeHuman's assets, listed and checked before rendering."""
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from .extra import mitsuba, read_hdri
from .makehuman_files import AssetFiles

PHOTO_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
HDRI_SUFFIXES = ('.hdr', '.exr')


@dataclass
class Assets:
    """The user's photos without people and environment maps, sorted by name, and ``makehuman``'s assets.
    ``fingerprints`` of ``backgrounds``, ``hdris`` and ``assets``: number and digest of names and sizes, which do not
    depend on the folder; None without files.
    """
    photos: list = field(default_factory=list)
    hdris: list = field(default_factory=list)
    makehuman: AssetFiles | None = None
    fingerprints: dict = field(default_factory=lambda: dict(backgrounds=None, hdris=None, assets=None))

    @classmethod
    def find(cls, backgrounds=None, hdris=None, makehuman=None) -> 'Assets':
        """Lists and reads the images in two folders at any depth, and the assets in a third. Raises a
        FileNotFoundError for a folder without any, and a ValueError for an unreadable one.
        """
        assets = cls()
        if backgrounds is not None:
            assets.photos = _listed(Path(backgrounds), PHOTO_SUFFIXES)
            for path in assets.photos:
                read_photo(path, reduced=True)
            assets.fingerprints['backgrounds'] = _fingerprint(Path(backgrounds), assets.photos)
        if hdris is not None:
            assets.hdris = _listed(Path(hdris), HDRI_SUFFIXES)
            for path in assets.hdris:
                check_hdri(path)
            assets.fingerprints['hdris'] = _fingerprint(Path(hdris), assets.hdris)
        if makehuman is not None:
            assets.makehuman = AssetFiles.read(Path(makehuman))
            assets.fingerprints['assets'] = _fingerprint(Path(makehuman), assets.makehuman.paths)
        return assets


def _listed(folder: Path, suffixes: tuple) -> list:
    paths = sorted(p for p in folder.rglob('*') if p.suffix.lower() in suffixes and p.is_file())
    if not paths:
        kind = 'a folder without any' if folder.is_dir() else 'no folder'
        raise FileNotFoundError(f'{folder}: got {kind}, expected a folder with images ({", ".join(suffixes)})')
    return paths


def _fingerprint(folder: Path, paths: list) -> str:
    entries = '\n'.join(f'{Path(os.path.relpath(path, folder)).as_posix()} {path.stat().st_size}' for path in paths)
    return f'{len(paths)} files ({hashlib.sha256(entries.encode()).hexdigest()[:12]})'


def read_photo(path, reduced: bool = False) -> np.ndarray:
    """Reads a photo as (H, W, 3) uint8 RGB, at an eighth of its size if ``reduced``; ValueError if unreadable."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ValueError(f'{path}: cannot read the image: {error.strerror or error}') from error
    flag = cv2.IMREAD_REDUCED_COLOR_8 if reduced else cv2.IMREAD_COLOR
    image = cv2.imdecode(content, flag) if len(content) else None
    if image is None:
        raise ValueError(f'{path}: got an empty, truncated or unknown file, expected an image; remove or replace it')
    return np.ascontiguousarray(image[..., ::-1])


def check_hdri(path) -> None:
    """Reads an environment map; raises a ValueError if Mitsuba cannot read it, or it is smaller than 2 x 2."""
    mitsuba()  # a missing extra is not the file's fault
    try:
        size = read_hdri(path).size()
    except Exception as error:
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        raise ValueError(f'{path}: cannot read the HDRI: {reason}') from error
    if min(size[0], size[1]) < 2:
        raise ValueError(f'{path}: got an HDRI of {size[0]} x {size[1]} pixels, expected at least 2 x 2')
