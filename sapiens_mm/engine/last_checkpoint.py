"""The ``last_checkpoint`` file of a run, written atomically and verified when read."""
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
    """The newest whole checkpoint of the run in a folder.

    ``last_checkpoint`` names it; if the folder was copied or moved since, the file is looked for in it. Where that is
    empty or damaged, or names a checkpoint that is missing or damaged, the newest whole ``*.pth`` takes its place
    (file, or folder of a sharded run). A file is read once for its checksums, about a second per GB; a folder is
    judged by the sizes of its files. ``best_*.pth`` are no candidates: they have no optimizer.

    Returns:
        Its path, or None where there was no run; and what was passed over and why, in a line, or ``''``.

    Raises:
        CheckpointError: There was a run, but no checkpoint of it is whole.
    """
    pointer = osp.join(work_dir, POINTER)
    if not osp.isfile(pointer):
        return None, ''
    with open(pointer, 'rb') as file:
        named = file.read(1 << 16).decode(errors='replace').strip()
    wrong = []
    name, first = osp.basename(named), []
    if not name or '\0' in named or '\N{REPLACEMENT CHARACTER}' in name:
        wrong.append(f'{pointer} is {"damaged" if named else "empty"}')
    else:
        first = [path for path in (osp.join(work_dir, name), named) if _may_be_checkpoint(path)]
        if not first:
            wrong.append(f'{pointer} names {name!r}, which is not there')
    for path in dict.fromkeys([*first[:1], *_candidates(work_dir, name)]):
        try:
            if osp.isdir(path):
                check_sharded(path)
            else:
                check_whole(path, contents=True)
        except (CheckpointError, OSError) as error:
            wrong.append(str(error))
            continue
        return path, '; '.join(wrong)
    best = sorted(name for name in os.listdir(work_dir) if re.fullmatch(r'best_.*\.pth', name))
    weights = f' Of the weights alone there are {some(best)}.' if best else ''
    raise CheckpointError(f'{work_dir} has no whole checkpoint to resume from: {"; ".join(wrong)}.{weights} Name one '
                          f'with --resume PATH, or delete {pointer} to start anew')


def resume_latest(runner) -> None:
    """Makes a runner resume from :func:`latest_checkpoint` of its work dir; where there is none, nothing changes.

    The main process decides for all.
    """
    found = [None, '', '']
    if is_main_process():
        try:
            found[:2] = latest_checkpoint(runner.work_dir)
        except CheckpointError as error:
            found[2] = str(error)
    broadcast_object_list(found)
    path, passed_over, error = found
    if error:
        raise CheckpointError(error)
    if passed_over:
        runner.logger.warning(f'{passed_over}. The run resumes from {path}')
    if path is None:
        runner._resume = False
    else:
        runner._load_from, runner._resume = path, True


def _may_be_checkpoint(path: str) -> bool:
    """Whether a path is that of a file, or of a folder called like a checkpoint; a pointer cut off may name any."""
    return osp.isfile(path) or osp.isdir(path) and path.endswith('.pth')


def _candidates(work_dir: str, name: str) -> list[str]:
    """Checkpoints named by MMEngine or like another one, newest first; of equally old ones the highest number."""
    alike = r'\d+'.join(map(re.escape, re.split(r'\d+', name)))
    found = []
    for entry in os.scandir(work_dir):
        number = re.search(r'(\d+)\.pth$', entry.name)
        if number and _may_be_checkpoint(entry.path) and re.fullmatch(
                rf'(epoch|iter)_\d+\.pth|(?!best_)({alike})', entry.name):
            found.append((os.stat(entry.path).st_mtime_ns, int(number[1]), entry.path))
    return [path for *_, path in sorted(found, reverse=True)]
