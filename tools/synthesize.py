"""Generates a dataset of synthetic people with labels for every task.

    python tools/synthesize.py data/people --num 1000 --workers 8
    python tools/synthesize.py data/people --num 1000 --shard 0/4       # one of four machines

The same command continues an interrupted run. docs/synthetic_humans.md describes the output.
"""
import argparse
import sys
from pathlib import Path

from run_arguments import add_shard_argument
from tqdm import tqdm

from sapiens_mm.tasks import canonical_name

try:
    from sapiens_mm.synth.generate import FRAMINGS, TASKS, Settings, generate
    from sapiens_mm.synth.poses import POSES
    from sapiens_mm.synth.preview import write_preview
except ImportError as error:
    sys.exit(f"synthetic humans need the optional extra synth ({error}): pip install 'sapiens_mm[synth]'")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Generate synthetic people with labels')
    parser.add_argument('out', help='output folder')
    parser.add_argument('--num', type=int, required=True, help='number of images')
    parser.add_argument('--size', type=int, nargs=2, default=(1024, 768), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--samples', type=int, default=4, help='light paths per pixel')
    parser.add_argument('--no-denoise', action='store_true', help='keep the noise of few light paths')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=1, help='number of processes; the output does not depend on it')
    parser.add_argument('--tasks', nargs='+', type=canonical_name, choices=TASKS, default=TASKS,
                        help='labels to write')
    parser.add_argument('--framing', nargs='+', choices=FRAMINGS, default=tuple(FRAMINGS), help='framings to draw from')
    parser.add_argument('--poses', nargs='+', choices=POSES, default=('everyday', ), help='poses to draw from')
    parser.add_argument('--max-persons', type=int, default=4, help='maximum persons in an image, 1 to 4; 0: none')
    parser.add_argument('--backgrounds', help='folder of images without people')
    parser.add_argument('--hdris', help='folder of environment maps (.hdr, .exr)')
    parser.add_argument('--assets', help="folder of MakeHuman's assets: clothes, hair, eyebrows, skins")
    add_shard_argument(parser, 'generate only images I, I + N, I + 2 N, ...')
    parser.add_argument('--preview', type=int, default=24, help='images on OUT/preview.png; 0 for none')
    args = parser.parse_args()
    if args.preview < 0:
        parser.error(f'--preview: got {args.preview}, expected a number of images, or 0 for none')
    return args


def main() -> None:
    args = parse_args()
    samples = Path(args.out) / 'samples'
    try:
        settings = Settings(
            seed=args.seed, size=tuple(args.size), samples=args.samples, denoise=not args.no_denoise,
            tasks=tuple(args.tasks), framings=tuple(args.framing), poses=tuple(args.poses),
            max_persons=args.max_persons,
            backgrounds=args.backgrounds, hdris=args.hdris, assets=args.assets)
        total, made = {}, 0
        mine = range(args.shard[0], args.num, args.shard[1])
        done = sum((samples / f'{index:06d}.json').exists() for index in mine)
        with tqdm(desc=f'synthesize {args.out}', unit='image', disable=None, initial=done, total=len(mine)) as bar:
            for _, seconds in generate(args.out, args.num, settings, args.workers, args.shard):
                bar.update()
                made += 1
                for stage, value in seconds.items():
                    total[stage] = total.get(stage, 0) + value
        if made:
            stages = ', '.join(f'{stage} {value / made:.2f}' for stage, value in total.items())
            print(f'{made} images; seconds per image on one core: {sum(total.values()) / made:.2f} ({stages})')
        if args.preview and any(samples.glob('*.json')):  # a shard may have nothing to do
            print(f'contact sheet: {write_preview(args.out, args.preview)}')
    except KeyboardInterrupt:
        sys.exit('interrupted: finished images are kept, the same command continues')
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
