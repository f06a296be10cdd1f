"""Renders depth, normals and masks of textured scans, under the protocol of the paper's benchmarks.

    python tools/dataset_converters/render_scans.py THuman2.0_Release data/thuman2 --backgrounds photos_without_people
    python tools/dataset_converters/render_scans.py my_scan.glb data/my_scan --size 256 192 --samples 16
    python tools/dataset_converters/render_scans.py Hi4D data/hi4d --layout hi4d

Scans get three images each (face, upper body, full body); Hi4D's photos get labels. The same command continues an
interrupted run. `sapiens_mm/synth/scans.py` and `hi4d.py` list the assumptions about each dataset.
"""
import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from run_arguments import add_shard_argument  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Render textured scans with depth, normals and masks')
    parser.add_argument('source', help='a scan (.obj, .ply, .glb), a folder of scans, THuman2.0 or Hi4D')
    parser.add_argument('out', help='folder for images, masks, depth, normal and cameras')
    parser.add_argument('--layout', choices=('scans', 'hi4d'), default='scans',
                        help='hi4d: label real photos from their scans (default: %(default)s)')
    parser.add_argument('--size', nargs=2, type=int, default=(1024, 768), metavar=('HEIGHT', 'WIDTH'),
                        help='pixels of a rendered image (default: 1024 768)')
    parser.add_argument('--samples', type=int, default=32, help='rays per pixel (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--up', choices=('y', 'z'), default='y', help='up axis of the scans (default: %(default)s)')
    parser.add_argument('--unit', type=float, help='meters per unit of the scans (default: 1)')
    parser.add_argument('--height', type=float, help='height of every scan in meters (default for THuman2.0: 1.7)')
    parser.add_argument('--yaw', type=float, default=0.0,
                        help='degrees to turn scans, counter-clockwise seen from above, so that they face +z (y up) or '
                        '-y (z up)')
    parser.add_argument('--yaws', help='JSON file with further degrees for each scan: {"0000": 90, ...}')
    parser.add_argument('--turn', type=float, default=20.0,
                        help='largest angle in degrees from the front to the camera (default: %(default)s)')
    parser.add_argument('--framings', nargs='+', default=['face', 'upper_body', 'full_body'])
    parser.add_argument('--backgrounds', help='folder of photos without people (default: procedural rooms)')
    parser.add_argument('--hdris', help='folder of .hdr and .exr environments (default: procedural light)')
    parser.add_argument('--allow-untextured', action='store_true', help='render scans without colors gray')
    parser.add_argument('--pairs', nargs='+', type=int, default=(28, 32, 37), help='Hi4D: pairs (default: 28 32 37)')
    parser.add_argument('--camera', type=int, default=4, help='Hi4D: camera (default: 4)')
    parser.add_argument('--stride', type=int, default=1, help='Hi4D: use every n-th frame (default: all)')
    parser.add_argument('--threads', type=int, help='threads of the renderer (default: all cores)')
    add_shard_argument(parser, 'only scans (of Hi4D: photos) I, I + N, I + 2 N, ...')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        made = run(args)
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted: finished images are kept, the same command continues', file=sys.stderr)
        return 130
    print(f'{made} new images in {args.out}')
    return 0


def run(args) -> int:
    from sapiens_mm.synth.assets import Assets
    from sapiens_mm.synth.extra import set_threads
    from sapiens_mm.synth.hi4d import label_hi4d
    from sapiens_mm.synth.scan_files import Placement
    from sapiens_mm.synth.scans import render_scans

    if args.threads is not None:
        set_threads(args.threads)
    start = time.monotonic()

    def progress(done, total, name):
        line = f'{done}/{total} images, {time.monotonic() - start:.0f} s, {name}'
        if sys.stderr.isatty():
            print(f'\r{line:<78}', end='\n' if done == total else '', file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    if args.layout == 'hi4d':
        return label_hi4d(args.source, args.out, pairs=tuple(args.pairs), camera=args.camera, stride=args.stride,
                          shard=args.shard, progress=progress)
    return render_scans(args.source, args.out, size=tuple(args.size), samples=args.samples, seed=args.seed,
                        placement=Placement(args.up, args.unit, args.height, args.yaw),
                        yaws=read_yaws(args.yaws) if args.yaws else None,
                        assets=Assets.find(args.backgrounds, args.hdris), framings=tuple(args.framings),
                        turn=args.turn, shard=args.shard, allow_untextured=args.allow_untextured, progress=progress)


def read_yaws(path: str) -> dict:
    from sapiens_mm.utils.files import read_json
    yaws = read_json(path)
    if not isinstance(yaws, dict) or not all(isinstance(v, (int, float)) for v in yaws.values()):
        raise ValueError(f'{path}: got {yaws!r:.60}, expected degrees by scan: {{"0000": 90, ...}}')
    return yaws


if __name__ == '__main__':
    sys.exit(main())
