"""Migrates a config of the public Sapiens release, or a folder of them, to this package, and prints the changes.

    python tools/migrate_config.py sapiens/pose/configs/sapiens_pose/coco/sapiens_0.3b-210e_coco-1024x768.py mine.py
    python tools/migrate_config.py sapiens/seg/configs migrated/ --data-root /data/people
"""
import argparse
import sys
from pathlib import Path

from sapiens_mm.apis.config_migration import migrate_file, migrate_folder
from sapiens_mm.apis.config_report import ConfigError, Report
from sapiens_mm.utils.text import count


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', metavar='PUBLIC_CONFIG', help='config of the public release, or a folder of them')
    parser.add_argument('out', metavar='OUT', help='new file, or a folder for files of the same names')
    parser.add_argument('--data-root', help='root of the data (default: an environment variable, as in configs/)')
    parser.add_argument('--num-images', type=int, metavar='N', help='images of an epoch, for pretraining')
    args = parser.parse_args()
    if args.num_images is not None and args.num_images < 1:
        parser.error(f'--num-images: got {args.num_images}, expected 1 or more; count the images')
    return args


def summary(result: Report | ConfigError) -> str:
    """Returns one line about a config of a folder."""
    if isinstance(result, ConfigError):
        return f'FAILED: {result}'
    numbers = (f'{len(result.changed)} changed, {len(result.not_mapped)} not mapped, '
               f'{count(len(result.fill_in), "value")} to fill in')
    return numbers if result.complete else f'INCOMPLETE: {numbers}'


def main() -> int:
    args = parse_args()
    options = dict(data_root=args.data_root, num_images=args.num_images)
    try:
        if not Path(args.config).is_dir():
            report = migrate_file(args.config, args.out, **options)
            print(f'{report}\nwrote {args.out}' + ('' if report.complete else ', which is incomplete: replace by hand '
                                                   'the parts marked NOT MAPPED'))
            return 0 if report.complete else 1
        results = migrate_folder(args.config, args.out, **options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    for name, result in results.items():
        print(f'{name}: {summary(result)}')
    return 0 if all(isinstance(result, Report) and result.complete for result in results.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
