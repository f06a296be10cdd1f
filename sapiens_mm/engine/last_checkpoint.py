"""Resuming of a run from its newest complete checkpoint."""
import os
import os.path as osp
import re

from mmengine.dist import broadcast_object_list, is_main_process

from ..utils.text import some
from .checkpoint_file import check_whole
from .safe_pickle import CheckpointError
from .sharded_checkpoint import check_sharded

#: Name of the file in a work dir that names the last checkpoint.
POINTER = 'last_checkpoint'


def latest_checkpoint(work_dir: str) -> tuple[str | None, str]:
    """Returns the newest complete checkpoint of the run in a folder, and in a line what was skipped and why.

    ``last_checkpoint`` names it, also if the folder was moved. If either is missing or damaged, the newest complete
    ``*.pth`` is used, except ``best_*.pth``, which have no optimizer. A file is read once for its checksums (1 s per
    GB), a folder is checked by its files' sizes. The path is None without a run. No complete one: a CheckpointError.
    """
    pointer = osp.join(work_dir, POINTER)
    if not osp.isfile(pointer):
        return None, ''
    with open(pointer, 'rb') as file:
        named = file.read(1 << 16).decode(errors='replace').strip()
    skipped = []
    name, first = osp.basename(named), []
    if not name or '\0' in named or '\N{REPLACEMENT CHARACTER}' in name:
        skipped.append(f'{pointer} is {"damaged" if named else "empty"}')
    else:
        first = [path for path in (osp.join(work_dir, name), named) if _may_be_checkpoint(path)]
        if not first:
            skipped.append(f'{pointer} names {name!r}, which does not exist')
    for path in dict.fromkeys([*first[:1], *_candidates(work_dir, name)]):
        try:
            if osp.isdir(path):
                check_sharded(path)
            else:
                check_whole(path, contents=True)
        except (CheckpointError, OSError) as error:
            skipped.append(str(error))
            continue
        return path, '; '.join(skipped)
    best = sorted(name for name in os.listdir(work_dir) if re.fullmatch(r'best_.*\.pth', name))
    weights = f', or train from the weights of {some(best)}' if best else ''
    raise CheckpointError(f'{work_dir}: got no complete checkpoint to resume from ({"; ".join(skipped)}); name one '
                          f'with --resume PATH, or delete {pointer} to start over{weights}')


def resume_latest(runner) -> None:
    """Makes a runner resume from :func:`latest_checkpoint` of its work dir, if any; the main process decides."""
    decision = [None, '', '']
    if is_main_process():
        try:
            decision[:2] = latest_checkpoint(runner.work_dir)
        except CheckpointError as error:
            decision[2] = str(error)
    broadcast_object_list(decision)
    path, skipped, error = decision
    if error:
        raise CheckpointError(error)
    if skipped:
        runner.logger.warning(f'{skipped}. Resuming from {path}')
    if path is None:
        runner._resume = False
    else:
        runner._load_from, runner._resume = path, True


def _may_be_checkpoint(path: str) -> bool:
    """Whether a path is a file or a ``.pth`` folder; a truncated pointer may name any folder."""
    return osp.isfile(path) or osp.isdir(path) and path.endswith('.pth')


def _candidates(work_dir: str, name: str) -> list[str]:
    alike = r'\d+'.join(map(re.escape, re.split(r'\d+', name)))
    candidates = []
    for entry in os.scandir(work_dir):
        number = re.search(r'(\d+)\.pth$', entry.name)
        if number and _may_be_checkpoint(entry.path) and re.fullmatch(
                rf'(epoch|iter)_\d+\.pth|(?!best_)({alike})', entry.name):
            candidates.append((os.stat(entry.path).st_mtime_ns, int(number[1]), entry.path))
    return [path for *_, path in sorted(candidates, reverse=True)]
