"""Time of the dataset checks, compared with stock components without checks.

    python tools/benchmarks/checks.py
    python tools/benchmarks/checks.py --images 5000 --persons 6000   # a small one

* open: a COCO-style file of the size of COCO's training set, made here: `SapiensCocoDataset` against mmpose's
  `CocoDataset`.
* decode: a photo of 640x480 and one of 4096x3072, by the `SapiensLoadImage` of mmpose and of mmseg against mmcv's
  loader and `cv2.imread`.
* scan: images per second of `tools/check_dataset.py`, 640x480, without the time of imports.

Both sides take turns. `ratio` is our time / stock time, both of the fastest round.
"""
import argparse
import contextlib
import copy
import io
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmpose.datasets import CocoDataset
from mmpose.datasets.transforms import LoadImage

import sapiens_mm.dense
import sapiens_mm.pose
from sapiens_mm.apis.dataset_scan import Scan, scan_config
from sapiens_mm.dense.label_files import read_image


def make_annotations(path: Path, images: int, persons: int) -> None:
    """Writes persons of 17 keypoints with polygons of 30 points, as in COCO."""
    rng = np.random.default_rng(0)
    places = rng.integers(1, images + 1, persons).tolist()
    annotations = []
    for number, image in enumerate(places, 1):
        x, y, width, height = (round(float(value), 2) for value in rng.uniform((0, 0, 40, 60), (380, 240, 250, 230)))
        points = np.stack([rng.integers(x, x + width, 17), rng.integers(y, y + height, 17), rng.integers(0, 3, 17)], 1)
        points[points[:, 2] == 0] = 0
        annotations.append(dict(
            id=number, image_id=image, category_id=1, iscrowd=0, area=.53 * width * height, bbox=[x, y, width, height],
            num_keypoints=int((points[:, 2] > 0).sum()), keypoints=points.ravel().tolist(),
            segmentation=[rng.uniform(0, 400, 60).round(2).tolist()]))
    path.write_text(json.dumps(dict(
        images=[dict(id=i, file_name=f'{i:012d}.jpg', width=640, height=480) for i in range(1, images + 1)],
        annotations=annotations, categories=[dict(id=1, name='person')])))


def fastest(functions: dict, rounds: int) -> dict[str, float]:
    """Returns the CPU seconds of the fastest round of each function."""
    seconds = dict.fromkeys(functions, float('inf'))
    for _ in range(rounds):
        for name, function in functions.items():
            begin = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                function()
            seconds[name] = min(seconds[name], time.process_time() - begin)
    return seconds


def photo(path: Path, size: tuple[int, int]) -> str:
    """Writes a JPEG of (height, width) with as much detail as a photo."""
    noise = np.random.default_rng(0).integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC))
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=118287, help='of the annotation file (%(default)s)')
    parser.add_argument('--persons', type=int, default=150000, help='of the annotation file (%(default)s)')
    parser.add_argument('--scanned', type=int, default=1000, help='images of the scan (%(default)s)')
    parser.add_argument('--rounds', type=int, default=2, help='of opening; decoding has 50 times as many (%(default)s)')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_annotations(folder / 'coco.json', args.images, args.persons)
        options = dict(ann_file=str(folder / 'coco.json'), data_prefix=dict(img=str(folder)))
        metainfo = sapiens_mm.pose.metainfo.METAINFO_17
        rows = dict(open=fastest(dict(
            ours=lambda: sapiens_mm.pose.datasets.SapiensCocoDataset(**options),
            stock=lambda: CocoDataset(metainfo=copy.deepcopy(metainfo), **options)), args.rounds))
        for size in ((480, 640), (3072, 4096)):
            path, name = photo(folder / 'photo.jpg', size), f'{size[1]}x{size[0]}'
            ours, stock = sapiens_mm.pose.transforms.SapiensLoadImage(), LoadImage()
            rounds = 50 * args.rounds if size[0] < 1000 else 5 * args.rounds
            rows[f'decode {name}, pose'] = fastest(dict(
                ours=lambda: ours(dict(img_path=path)), stock=lambda: stock(dict(img_path=path))), rounds)  # noqa: B023
            rows[f'decode {name}, dense'] = fastest(dict(
                ours=lambda: read_image(path), stock=lambda: cv2.imread(path)), rounds)  # noqa: B023
        for name, row in rows.items():
            print(f'{name:28} ours {row["ours"]:9.4f} s   stock {row["stock"]:9.4f} s   '
                  f'ratio {row["ours"] / row["stock"]:.2f}', flush=True)
        scan_rate(folder, args.scanned)


def scan_rate(folder: Path, number: int) -> None:
    """Prints the number of images scanned per second."""
    image = cv2.imread(photo(folder / '1.jpg', (480, 640)))
    for i in range(2, number + 1):
        cv2.imwrite(str(folder / f'{i}.jpg'), np.roll(image, 7 * i, axis=1))
    make_annotations(folder / 'small.json', number, number)
    content = json.loads((folder / 'small.json').read_text())
    for entry in content['images']:
        entry['file_name'] = f'{entry["id"]}.jpg'
    (folder / 'small.json').write_text(json.dumps(content))
    dataset = dict(type='SapiensCocoDataset', ann_file=str(folder / 'small.json'), data_prefix=dict(img=str(folder)))
    begin = time.perf_counter()
    scan = Scan()
    scan_config(Config(dict(default_scope='mmpose', train_dataloader=dict(dataset=dataset))), scan)
    rate = scan.files / (time.perf_counter() - begin)
    print(f'{"scan":28} {rate:.0f} images a second, {len(scan.problems)} problems')


if __name__ == '__main__':
    main()
