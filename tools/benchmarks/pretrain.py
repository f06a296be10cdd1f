"""Time and memory of a step of masked autoencoding, compared with mmpretrain's `MAE` with the same ViT.

    pip install mmpretrain==1.2.0
    python tools/benchmarks/pretrain.py                                     # 0.3b, 1024 x 1024, batch 1, float32
    python tools/benchmarks/pretrain.py --dtype bfloat16 --size 512 --steps 5

Each variant runs in its own process, with its own peak memory: forward, backward and AdamW. The first step, which
also creates the optimizer's state, is not timed. The processes take turns, `--rounds` times, and the fastest round
counts. `beyond` is the peak without libraries, weights, gradients and AdamW's two moments, four bytes each.
"""
import argparse
import json
import subprocess
import sys
import time

from measure import peak_memory

ARCHES = {
    'tiny': dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768),
    '0.1b': dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
    '0.3b': dict(embed_dims=1024, num_layers=24, num_heads=16, feedforward_channels=4096),
}
VARIANTS = ('mmpretrain', 'ours', 'ours, checkpointed')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--arch', choices=ARCHES, default='0.3b')
    parser.add_argument('--size', type=int, default=1024, help='side of the images in pixels')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--dtype', choices=['float32', 'bfloat16'], default='float32')
    parser.add_argument('--steps', type=int, default=2, help='timed steps in each round')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--out', help='JSON file for the results')
    parser.add_argument('--variant', choices=VARIANTS, help=argparse.SUPPRESS)  # of a child process
    return parser.parse_args()


def build(variant: str, arch: dict, size: int):
    """Returns a function from images to the loss, and the model."""
    from mmengine.registry import MODELS, init_default_scope
    if variant == 'mmpretrain':
        try:
            import mmpretrain.models  # noqa: F401  (registers)
        except ImportError as error:
            raise SystemExit(f'{error}; to compare with mmpretrain, pip install mmpretrain==1.2.0') from None
        init_default_scope('mmpretrain')
        model = MODELS.build(
            dict(
                type='MAE',
                backbone=dict(type='MAEViT', arch=arch, patch_size=16, img_size=size, mask_ratio=0.75),
                neck=dict(
                    type='MAEPretrainDecoder', num_patches=(size // 16)**2, embed_dim=arch['embed_dims'],
                    decoder_embed_dim=512, decoder_depth=8, decoder_num_heads=16),
                head=dict(
                    type='MAEPretrainHead', norm_pix=True, patch_size=16,
                    loss=dict(type='PixelReconstructionLoss', criterion='L2'))))
        return (lambda images: model(images, None, mode='loss')['loss']), model
    import sapiens_mm.pretrain  # noqa: F401  (registers)
    with_cp = variant == 'ours, checkpointed'
    model = MODELS.build(
        dict(type='SapiensMAE', backbone=dict(type='SapiensViT', arch=arch, img_size=size, with_cp=with_cp),
             neck=dict(with_cp=with_cp)))
    return (lambda images: model.loss(images)['loss']), model


def measure(args: argparse.Namespace) -> dict:
    """Trains a variant for some steps in this process."""
    import torch
    from mmengine.utils import digit_version
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    build(args.variant, dict(ARCHES['tiny'], num_layers=1), 64)  # imports the libraries
    libraries = peak_memory()
    loss_of, model = build(args.variant, ARCHES[args.arch], args.size)
    model.init_weights()
    model.train()
    trained = [param for param in model.parameters() if param.requires_grad]
    fused = digit_version(torch.__version__) >= digit_version('2.4')  # the first with fused AdamW on a CPU
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=fused)
    images = torch.randn(args.batch, 3, args.size, args.size)
    seconds = []
    for _ in range(1 + args.steps):
        start = time.perf_counter()
        with torch.autocast('cpu', torch.bfloat16, enabled=args.dtype == 'bfloat16'):
            loss = loss_of(images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    held = 4 * sum(param.numel() for param in trained) * 4
    return dict(seconds=min(seconds[1:]), peak=peak_memory(), beyond=peak_memory() - libraries - held, loss=loss.item(),
                parameters=sum(param.numel() for param in model.parameters()))


def main() -> None:
    args = parse_args()
    if args.variant:
        import logging
        logging.disable(logging.WARNING)
        print(json.dumps(measure(args)))
        return
    results = {name: [] for name in VARIANTS}
    for _ in range(args.rounds):
        for name in VARIANTS:
            out = subprocess.run([sys.executable, *sys.argv, '--variant', name], stdout=subprocess.PIPE, text=True)
            if out.returncode:
                raise SystemExit(f"'{name}' ended with status {out.returncode}" +
                                 (': killed, probably out of memory' if out.returncode == -9 else '; see above'))
            results[name].append(json.loads(out.stdout.splitlines()[-1]))
    print(f'{args.arch}, {args.batch} x 3 x {args.size} x {args.size}, {args.dtype}, {args.threads} threads')
    print(f'{"":20}{"s/step":>9}{"ratio":>8}{"peak GB":>9}{"ratio":>8}{"beyond GB":>11}{"ratio":>8}{"loss":>8}')
    best = {name: dict(rounds[0], **{key: min(one[key] for one in rounds) for key in ('seconds', 'peak', 'beyond')})
            for name, rounds in results.items()}
    stock = best['mmpretrain']
    for name, row in best.items():
        columns = [f'{row[key] / unit:{width}.2f}{row[key] / stock[key]:8.2f}'
                   for key, unit, width in (('seconds', 1, 9), ('peak', 1e9, 9), ('beyond', 1e9, 11))]
        print(f'{name:20}{"".join(columns)}{row["loss"]:8.3f}')
    if args.out:
        with open(args.out, 'w') as file:
            json.dump(dict(vars(args), rounds=results), file, indent=1)


if __name__ == '__main__':
    main()
