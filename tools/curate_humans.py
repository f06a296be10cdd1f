"""Chooses the images that show people, by the Sapiens paper's rules, from WebDataset shards.

    python tools/curate_humans.py 'laion/{00000..00999}.tar' --out humans --detector CONFIG CHECKPOINT
    python tools/curate_humans.py SHARDS --out humans --detector CONFIG CHECKPOINT --max-score pwatermark=0.8
    python tools/curate_humans.py SHARDS --out humans --detector CONFIG CHECKPOINT --shard 3/64      # an array job
    python tools/curate_humans.py --out humans                             # the report, once such jobs are through

The same command continues an interrupted run. docs/pretraining_data.md tells what is written.
"""
import argparse
import functools
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from run_arguments import add_shard_argument
from tqdm import tqdm

from sapiens_mm.engine import CheckpointError
from sapiens_mm.pretrain.curation import (
    Detect,
    Rules,
    check_names,
    curate_shard,
    curate_with_ray,
    finished_report,
    merge_reports,
    read_boxes,
)
from sapiens_mm.pretrain.sources import SourceError, TarSource


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('shards', nargs='*', metavar='SHARDS',
                        help='tar files: folders, paths or addresses, with braces or not; none: only make the report')
    parser.add_argument('--out', required=True, help='folder of the curated shards')
    people = parser.add_mutually_exclusive_group()
    people.add_argument('--detector', nargs=2, metavar=('CONFIG', 'CHECKPOINT'),
                        help="mmdet's; the config a file, or mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py")
    people.add_argument('--boxes', help='instead: JSON lines {"key": ..., "boxes": [[x0, y0, x1, y1, score], ...]}')
    parser.add_argument('--min-score', type=float, default=.9, help='a person has a higher score')
    parser.add_argument('--min-side', type=float, default=300., help='and a box of more pixels, both ways')
    parser.add_argument('--max-score', action='append', default=[], metavar='COLUMN=VALUE',
                        help="drop samples with more in a column of their .json or the shard's .parquet or .jsonl")
    parser.add_argument('--batch', type=int, default=8, help='images that the detector gets at a time')
    parser.add_argument('--device', help='of the detector, such as cuda:0')
    add_shard_argument(parser, 'only shards I, I + N, I + 2 N, ..., no report')
    parser.add_argument('--allow-pipes', action='store_true',
                        help="let addresses such as pipe:COMMAND and gs:// run the commands that read them")
    parser.add_argument('--ray', metavar='ADDRESS', help="of a Ray cluster; 'local' starts one here")
    parser.add_argument('--workers', type=int, default=1, help='with --ray: how many')
    parser.add_argument('--num-gpus', type=float, default=0, help='with --ray: GPUs of each worker')
    args = parser.parse_args()
    if args.shards and not (args.detector or args.boxes):
        parser.error('people are found by --detector CONFIG CHECKPOINT, or were found before: --boxes FILE')
    if args.workers > 1 and not args.ray:
        parser.error('--workers needs --ray; without it, start jobs of their own with --shard I/N')
    if min(args.batch, args.workers) < 1:
        parser.error(f'--batch and --workers are at least 1, got {args.batch} and {args.workers}')
    try:
        args.max_scores = {column: float(value) for column, value in
                           (entry.rsplit('=', 1) for entry in args.max_score)}
    except ValueError:
        parser.error(f"--max-score is COLUMN=VALUE such as pwatermark=0.8, got {' '.join(args.max_score)}")
    return args


def load_detector(config: str, checkpoint: str, device: str | None, batch: int, min_score: float) -> Detect:
    from sapiens_mm.apis import PersonDetector
    # Boxes of lower scores than a person needs tell "low score" from "no person" in the report.
    detector = PersonDetector(config, checkpoint, device, score_threshold=min(.3, min_score), batch_size=batch)
    return lambda images, keys: detector(images)


def find_people(args: argparse.Namespace) -> tuple[Callable[[], Detect], str]:
    """What makes the function that finds people, and what tells it from others."""
    if args.boxes:
        digest = hashlib.sha1(Path(args.boxes).read_bytes()).hexdigest()[:12]
        return functools.partial(read_boxes, Path(args.boxes).absolute()), f'{Path(args.boxes).name} {digest}'
    config, checkpoint = args.detector
    return (functools.partial(load_detector, config, checkpoint, args.device, args.batch, args.min_score),
            f"{config.rpartition('/')[2]} {checkpoint.rpartition('/')[2]}")


def curate(args: argparse.Namespace) -> list[str]:
    """Curates the shards that are this job's and not done yet; returns what was wrong with those that failed."""
    rules = Rules(args.min_score, args.min_side, args.max_scores)
    urls = TarSource(args.shards, allow_pipes=args.allow_pipes).urls
    check_names(urls)
    make_detect, detector = find_people(args)
    own = urls[args.shard[0]::args.shard[1]]
    # All are asked before the detector is made: other settings stop the run at once.
    left = [url for url in own if finished_report(url, args.out, rules, detector) is None]
    common = dict(out_dir=args.out, rules=rules, detector=detector, batch_size=args.batch,
                  allow_pipes=args.allow_pipes)

    def reports() -> Iterator[dict]:
        if args.ray:
            yield from curate_with_ray(left, make_detect=make_detect, address=args.ray, workers=args.workers,
                                       num_gpus=args.num_gpus, **common)
        elif left:
            detect = make_detect()
            yield from (curate_shard(url, detect=detect, **common) for url in left)

    failed, images, kept = [], 0, 0
    with tqdm(desc=f'curate {args.out}', unit='shard', disable=None, total=len(own),
              initial=len(own) - len(left)) as bar:
        for report in reports():
            failed += [] if report['done'] else [report['failed']]
            images, kept = images + report.get('images', 0), kept + report.get('kept', 0)
            bar.set_postfix_str(f'{kept} of {images} images kept')
            bar.update()
    print(f'{len(left) - len(failed)} shards curated, {len(own) - len(left)} were done before; '
          f'{kept} of {images} images kept')
    return failed


def main() -> None:
    args = parse_args()
    try:
        failed = curate(args) if args.shards else []
        if args.shard[1] == 1:  # each of an array's jobs would read the reports of all
            total = merge_reports(args.out)
            print(f"{args.out}/report.json and .png: {total['kept']} of {total['images']} images kept in "
                  f"{total['shards']} shards")
    except KeyboardInterrupt:
        sys.exit('interrupted: finished shards are kept, the same command continues')
    except (SourceError, CheckpointError, RuntimeError, ValueError, OSError, ImportError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    if failed:
        sys.exit('\n'.join([f'{len(failed)} shards failed; the same command tries them again:', *failed]))


if __name__ == '__main__':
    main()
