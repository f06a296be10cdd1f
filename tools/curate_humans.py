"""Selects images of people from WebDataset shards by the Sapiens paper's rules.

    python tools/curate_humans.py 'laion/{00000..00999}.tar' --out humans --detector CONFIG CHECKPOINT
    python tools/curate_humans.py SHARDS --out humans --detector CONFIG CHECKPOINT --max-score pwatermark=0.8
    python tools/curate_humans.py SHARDS --out humans --detector CONFIG CHECKPOINT --shard 3/64      # an array job
    python tools/curate_humans.py --out humans                      # the report, once all jobs have finished

The same command continues an interrupted run. docs/pretraining_data.md describes the output.
"""
import argparse
import functools
import hashlib
import sys
from collections.abc import Callable
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
from sapiens_mm.pretrain.sources import TarSource
from sapiens_mm.utils.tar_files import SourceError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('shards', nargs='*', metavar='SHARDS',
                        help='tar files: folders, paths or addresses, with or without braces; none: report only')
    parser.add_argument('--out', required=True, help='folder of the curated shards')
    people = parser.add_mutually_exclusive_group()
    people.add_argument('--detector', nargs=2, metavar=('CONFIG', 'CHECKPOINT'),
                        help='mmdet detector; CONFIG is a file or mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py')
    people.add_argument('--boxes', help='detected boxes instead: JSON lines {"key": ..., "boxes": [[x0, y0, x1, y1, '
                        'score], ...]}')
    parser.add_argument('--min-score', type=float, default=.9,
                        help='a person box needs a score above this (%(default)s)')
    parser.add_argument('--min-side', type=float, default=300.,
                        help='a person box needs both sides above this, in pixels (%(default)s)')
    parser.add_argument('--max-score', action='append', default=[], metavar='COLUMN=VALUE',
                        help="drop samples with more than VALUE in a column of their .json or of the shard's .parquet "
                        'or .jsonl; may be repeated')
    parser.add_argument('--batch', type=int, default=8, help='batch size of the detector (%(default)s)')
    parser.add_argument('--device', help='device of the detector, such as cuda:0')
    add_shard_argument(parser, 'process only shards I, I + N, I + 2 N, ... and write no report')
    parser.add_argument('--allow-pipes', action='store_true',
                        help='allow addresses such as pipe:COMMAND and gs://, which run commands')
    parser.add_argument('--ray', metavar='ADDRESS', help="address of a Ray cluster; 'local' starts one here")
    parser.add_argument('--workers', type=int, default=1, help='number of workers, with --ray (%(default)s)')
    parser.add_argument('--num-gpus', type=float, default=0, help='GPUs of each worker, with --ray (%(default)s)')
    args = parser.parse_args()
    if args.shards and not (args.detector or args.boxes):
        parser.error('SHARDS need a detector; give --detector CONFIG CHECKPOINT or --boxes FILE')
    if args.workers > 1 and not args.ray:
        parser.error('--workers needs --ray; without Ray, start several jobs with --shard I/N')
    if min(args.batch, args.workers) < 1:
        parser.error(f'--batch and --workers: got {args.batch} and {args.workers}, expected at least 1')
    try:
        args.max_scores = {column: float(value) for column, value in
                           (entry.rsplit('=', 1) for entry in args.max_score)}
    except ValueError:
        parser.error(f"--max-score: got {' '.join(args.max_score)}, expected COLUMN=VALUE such as pwatermark=0.8")
    return args


def load_detector(config: str, checkpoint: str, device: str | None, batch: int, min_score: float) -> Detect:
    from sapiens_mm.apis import PersonDetector
    # Boxes with scores below min_score distinguish "low score" from "no person" in the report.
    detector = PersonDetector(config, checkpoint, device, score_threshold=min(.3, min_score), batch_size=batch)
    return lambda images, keys: detector(images)


def select_detector(args: argparse.Namespace) -> tuple[Callable[[], Detect], str]:
    """Returns a function that loads the detector, and the detector's name in the settings."""
    if args.boxes:
        digest = hashlib.sha1(Path(args.boxes).read_bytes()).hexdigest()[:12]
        return functools.partial(read_boxes, Path(args.boxes).absolute()), f'{Path(args.boxes).name} {digest}'
    config, checkpoint = args.detector
    return (functools.partial(load_detector, config, checkpoint, args.device, args.batch, args.min_score),
            f"{config.rpartition('/')[2]} {checkpoint.rpartition('/')[2]}")


def curate(args: argparse.Namespace) -> list[str]:
    """Curates the unfinished shards of this job; returns the reasons of those that failed."""
    rules = Rules(args.min_score, args.min_side, args.max_scores)
    urls = TarSource(args.shards, allow_pipes=args.allow_pipes).urls
    check_names(urls)
    make_detect, detector = select_detector(args)
    urls = urls[args.shard[0]::args.shard[1]]
    # Other settings stop the run here, before the detector is loaded.
    unfinished = [url for url in urls if finished_report(url, args.out, rules, detector) is None]
    options = dict(out_dir=args.out, rules=rules, detector=detector, batch_size=args.batch,
                   allow_pipes=args.allow_pipes)
    if args.ray:
        reports = curate_with_ray(unfinished, make_detect=make_detect, address=args.ray, workers=args.workers,
                                  num_gpus=args.num_gpus, **options)
    else:
        detect = make_detect() if unfinished else None
        reports = (curate_shard(url, detect=detect, **options) for url in unfinished)

    failed, images, kept, finished = [], 0, 0, len(urls) - len(unfinished)
    with tqdm(desc=f'curate {args.out}', unit='shard', disable=None, total=len(urls), initial=finished) as bar:
        for report in reports:
            failed += [] if report['done'] else [report['failed']]
            images, kept = images + report.get('images', 0), kept + report.get('kept', 0)
            bar.set_postfix_str(f'{kept} of {images} images kept')
            bar.update()
    print(f'{len(unfinished) - len(failed)} shards curated, {finished} were finished before; '
          f'{kept} of {images} images kept')
    return failed


def main() -> None:
    args = parse_args()
    try:
        failed = curate(args) if args.shards else []
        if args.shard[1] == 1:  # each job of an array would read all reports
            total = merge_reports(args.out)
            print(f"{args.out}/report.json and .png: {total['kept']} of {total['images']} images kept in "
                  f"{total['shards']} shards")
    except KeyboardInterrupt:
        sys.exit('interrupted; finished shards are kept, and the same command continues')
    except (SourceError, CheckpointError, RuntimeError, ValueError, OSError, ImportError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    if failed:
        sys.exit('\n'.join([f'{len(failed)} shards failed; the same command tries them again:', *failed]))


if __name__ == '__main__':
    main()
