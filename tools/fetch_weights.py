"""Fetches a released Sapiens checkpoint by name.

    python tools/fetch_weights.py sapiens_0.3b pose-308 --out checkpoints
    python tools/fetch_weights.py --list

Beside FILE.pth lies FILE.pth.json with its source, commit, size and SHA-256. A file that agrees with its record is not
fetched again, and needs no network.
"""
import argparse
import sys

from sapiens_mm.backbones.model_zoo import LICENSE, RELEASED, released_file
from sapiens_mm.engine.fetch import CheckpointError, fetch_with_record


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Fetch a released Sapiens checkpoint',
                                     epilog=f'The released weights are under {LICENSE}.')
    parser.add_argument('size', nargs='?', help='sapiens_0.3b, sapiens_0.6b, sapiens_1b or sapiens_2b')
    parser.add_argument('task', nargs='?', help='pretrain, pose-17, pose-133, pose-308, seg-28, depth or normal')
    parser.add_argument('--out', default='checkpoints', help='folder for the file (default: %(default)s)')
    parser.add_argument('--source', help='hf://<owner>/<repo>[@<revision>]/<file> to fetch instead of a name')
    parser.add_argument('--list', action='store_true', help='show what can be had, and where it comes from')
    args = parser.parse_args(argv)
    if not args.list and not args.source and not (args.size and args.task):
        parser.error('name a size and a task (sapiens_0.3b pose-308), or use --list')
    return args


def main(argv=None) -> int:
    args = parse_args(argv)
    if args.list:
        for (size, task), file in RELEASED.items():
            print(f'sapiens_{size:5} {task:9} {file.source}')
        print('Addresses are as of the release and were not tried; --source takes any other.', file=sys.stderr)
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
