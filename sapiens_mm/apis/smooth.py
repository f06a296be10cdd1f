"""``sapiens-mm smooth``: the keypoints of a video's result files, filtered forwards and backwards in time."""
import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

from ..utils.files import read_json, replacing
from ..utils.text import count
from .smoothing import KEYPOINT_THRESHOLD, butterworth


def main(args: argparse.Namespace) -> int:
    try:
        people, frames = smooth_folder(args.folder, args.out, args.cutoff, args.order, args.rate)
    except (OSError, ValueError) as error:
        print(f'sapiens-mm: {error}', file=sys.stderr)
        return 2
    print(f'{count(people, "person", "people")} in {count(frames, "frame")}: {args.out}')
    return 0


def smooth_folder(folder: str | os.PathLike, out: str | os.PathLike, cutoff: float = 6., order: int = 4,
                  rate: float | None = None) -> tuple[int, int]:
    """Filters the keypoints of each person and writes the files anew; returns the numbers of people and of frames.

    A span ends where a keypoint has a score below ``KEYPOINT_THRESHOLD``, or its person is missing. Scores and hidden
    keypoints stay. ``rate`` is in frames per second; by default that of the files' times.

    Raises a ValueError for a folder without result files, people without track ids, unknown times, a ``cutoff`` of half
    the rate or more, or an ``out`` that is the folder.
    """
    paths = sorted(Path(folder).glob('*.json'))
    if not paths:
        raise ValueError(f'{folder}: got no JSON files, expected those of the frames of a video')
    if Path(out).resolve() == Path(folder).resolve():
        raise ValueError(f'--out: got {out}, the input folder, expected another one')
    contents = [read_json(path) for path in paths]
    for path, content in zip(paths, contents):
        if not isinstance(content, dict) or not {'people', 'instances'} & set(content):
            raise ValueError(f'{path}: got JSON without instances or people, expected results of a frame')
    numbers = [_number(path) for path in paths]
    rate = _rate(contents, numbers) if rate is None else rate
    butterworth(np.zeros((1, 2)), rate, cutoff, order)  # checks the settings before the work
    tracks = _tracks(paths, contents, numbers)
    for frames in tracks.values():
        for lists in zip(*frames.values()):
            _smooth_lists(list(frames), lists, rate, cutoff, order)
    Path(out).mkdir(parents=True, exist_ok=True)
    for path, content in zip(paths, contents):
        content['smoothed'] = dict(filter='butterworth', cutoff=cutoff, order=order, rate=rate)
        with replacing(Path(out) / path.name, flush=False) as part:
            Path(part).write_text(json.dumps(content), encoding='utf-8')
    return len(tracks), len(paths)


def _number(path: Path) -> int:
    digits = path.name.split('.')[0].rpartition('_')[2]
    if not digits.isdecimal():
        raise ValueError(f'{path}: got a name without the number of a frame, expected a name such as 000012.json')
    return int(digits)


def _rate(contents: list[dict], numbers: list[int]) -> float:
    times = [(number, content['image']['time']) for number, content in zip(numbers, contents)
             if 'time' in content.get('image', {})]
    if len(times) < 2 or times[-1][1] <= times[0][1]:
        raise ValueError('--rate: got none, expected frames per second for files without times')
    return (times[-1][0] - times[0][0]) / (times[-1][1] - times[0][1])


def _tracks(paths: list[Path], contents: list[dict], numbers: list[int]) -> dict[int, dict[int, list[list[float]]]]:
    """Returns the lists of x, y, score of each track by frame: one of our format, several of OpenPose's."""
    tracks: dict[int, dict[int, list[list[float]]]] = {}
    for path, content, number in zip(paths, contents, numbers):
        if 'people' in content:
            people = [(*person['person_id'], [value for name, value in person.items() if name.endswith('_2d')])
                      for person in content['people']]
        else:
            people = [(person.get('track_id', -1), [person.get('keypoints', [])])
                      for person in content.get('instances', ())]
        if any(track < 0 for track, _ in people):
            raise ValueError(f'{path}: got people without track ids, expected those of a run with --track')
        for track, lists in people:
            tracks.setdefault(track, {})[number] = lists
    return tracks


def _smooth_lists(numbers: list[int], lists: tuple[list[float], ...], rate: float, cutoff: float, order: int) -> None:
    """Filters one list of x, y, score for each frame in place."""
    values = np.array(lists, float).reshape(len(lists), -1, 3)
    for point in range(values.shape[1]):
        seen = np.flatnonzero(values[:, point, 2] >= KEYPOINT_THRESHOLD)
        for span in np.split(seen, np.flatnonzero(np.diff(np.array(numbers)[seen]) > 1) + 1):
            values[span, point, :2] = butterworth(values[span, point, :2], rate, cutoff, order)
    for target, frame in zip(lists, values):
        target[:] = [round(value, 3) for value in frame.ravel().tolist()]
