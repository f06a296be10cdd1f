"""Fetches a released Sapiens checkpoint by name.

    python tools/fetch_weights.py sapiens_0.3b pose-308 --out checkpoints
    python tools/fetch_weights.py --list

FILE.json records its source, commit, size and SHA-256. A file that matches its record is not downloaded again.
"""
import argparse
import sys

from sapiens_mm.apis.model_zoo import LICENSE, RELEASED, released_file
from sapiens_mm.engine.fetch import CheckpointError, fetch_with_record


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Fetch a released Sapiens checkpoint',
                                     epilog=f'The released weights are under {LICENSE}.')
    parser.add_argument('size', nargs='?', help='sapiens_0.3b, sapiens_0.6b, sapiens_1b or sapiens_2b')
    parser.add_argument('task', nargs='?', help='pretrain, pose-17, pose-133, pose-308, seg, depth, normal or '
                        'foreground')
    parser.add_argument('--out', default='checkpoints', help='output folder (%(default)s)')
    parser.add_argument('--source', help='hf://<owner>/<repo>[@<revision>]/<file> instead of size and task')
    parser.add_argument('--list', action='store_true', help='list the released checkpoints')
    args = parser.parse_args(argv)
    if not args.list and not args.source and not (args.size and args.task):
        parser.error('expected a size and a task (sapiens_0.3b pose-308), or --list')
    return args


def main(argv=None) -> int:
    args = parse_args(argv)
    if args.list:
        for (size, task), file in RELEASED.items():
            print(f'sapiens_{size:5} {task:10} {file.source}')
        print('The addresses are those of the release, untested; pass others as --source.', file=sys.stderr)
        return 0
    try:
        source = args.source or released_file(args.size, args.task).source
        print(fetch_with_record(source, args.out))
    except (CheckpointError, ValueError) as error:
        print(f'fetch_weights: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
