"""Peak memory and seconds of training steps of a backbone on the CPU, with and without activation checkpointing.

    python tools/benchmarks/memory.py                                  # 0.3b at 1024x768
    python tools/benchmarks/memory.py --arch 0.6b --shape 512 384 --with-cp on

Each variant runs two steps (forward, loss, backward, AdamW) in its own process: the first one creates the optimizer's
state, the second is like all others. `peak` is the peak memory of the process, libraries included, and `start` its
memory before the model is built; `state` is the size of float32 weights, gradients and AdamW's two moments, which every
step needs. The checkpointed step of 0.3b at 1024x768 should stay below 8 GB.
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from measure import peak_memory

GB = 1e9


def measure(arch: str, shape: tuple[int, int], batch: int, with_cp: bool, steps: int = 2) -> dict:
    """Trains a model for some steps in this process, and times the last one."""
    import torch

    from sapiens_mm.backbones import SapiensViT
    from sapiens_mm.engine.launch import return_freed_memory
    if with_cp:  # as tools/train.py does
        return_freed_memory()
    start = peak_memory()
    torch.manual_seed(0)
    model = SapiensViT(arch, img_size=shape, with_cp=with_cp).train()
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = torch.randn(batch, 3, *shape)
    for _ in range(steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = model(images)[0].square().mean()
        loss.backward()
        optimizer.step()
        seconds = time.perf_counter() - began
    state = 4 * sum(param.numel() * param.element_size() for param in model.parameters())
    return dict(arch=arch, shape=list(shape), batch=batch, with_cp=with_cp, start_gb=start / GB, state_gb=state / GB,
                peak_gb=peak_memory() / GB, seconds=seconds, loss=loss.item())


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--arch', default='0.3b', help='arch of SapiensViT')
    parser.add_argument('--shape', nargs=2, type=int, default=[1024, 768], metavar=('H', 'W'), help='image size')
    parser.add_argument('--batch', type=int, default=1, help='images in the batch')
    parser.add_argument('--with-cp', choices=['on', 'off', 'both'], default='both', help='variants to run')
    parser.add_argument('--out', type=Path, help='also write the results to this JSON file')
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> list[dict]:
    args = parse_args(argv)
    if args.child:
        print(json.dumps(measure(args.arch, tuple(args.shape), args.batch, args.with_cp == 'on')))
        return []
    rows = []
    print(f'{"arch":16}{"image":>11}{"batch":>7}{"with_cp":>9}{"start":>10}{"state":>10}{"peak":>10}{"step":>11}')
    for with_cp in ('on', 'off') if args.with_cp == 'both' else (args.with_cp, ):
        command = [sys.executable, __file__, '--child', '--arch', args.arch, '--shape', *map(str, args.shape),
                   '--batch', str(args.batch), '--with-cp', with_cp]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        entry = json.loads(out.splitlines()[-1])
        sizes = ''.join(f'{entry[key]:>7.2f} GB' for key in ('start_gb', 'state_gb', 'peak_gb'))
        print(f'{args.arch:16}{"x".join(map(str, args.shape)):>11}{args.batch:>7}{with_cp:>9}{sizes}'
              f'{entry["seconds"]:>9.2f} s', flush=True)
        rows.append(entry)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + '\n')
    return rows


if __name__ == '__main__':
    main()
