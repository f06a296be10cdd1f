"""``meta.json``, which says how the results in a folder were made."""
import json
import os
import os.path as osp

from ..tasks import canonical_name
from ..utils.files import read_json, replacing
from ..utils.text import differences


def meta_path(folder: str | os.PathLike, shard: tuple[int, int] | None = None) -> str:
    """Returns the path of the file; the shards (index, number) of a run have one each."""
    return osp.join(folder, 'meta.json' if shard is None else f'meta-{shard[0]:05d}-of-{shard[1]:05d}.json')


def read_meta(path: str) -> dict:
    """Returns the content, empty without the file; raises a ValueError for other content."""
    try:
        content = read_json(path)
        _facts(content), list(content.get('earlier', ()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f'{path} does not describe the results in its folder') from error
    return content


def write_meta(path: str, content: dict) -> None:
    try:
        os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
        with replacing(path) as part, open(part, 'w', encoding='utf-8') as file:
            json.dump(content, file, indent=2)
    except OSError as error:
        raise OSError(f'{path} cannot be written: {error.strerror}') from error


def meta_differences(before: dict, now: dict) -> str:
    """Returns the :func:`differences` between two contents of ``meta.json`` that change results."""
    before, now = _facts(before), _facts(now)
    return differences(before, {name: now[name] for name in before if name in now})


def _facts(meta: dict) -> dict:
    models = {canonical_name(task): model for model in meta.get('models', ()) for task in model['tasks']}
    facts = {'tasks': ', '.join(sorted(models))} if models else {}
    facts |= {f'weights of {task}': (model['sha256'] or '')[:8] or model['source']
              for task, model in models.items() if 'source' in model}
    facts |= {f'runtime of {task}': f'{model["runtime"]} in {model["dtype"]}'
              for task, model in models.items() if 'runtime' in model}
    facts |= {name: value for name, value in meta.get('protocol', {}).items() if name != 'batch_size'}
    return facts | {name: meta[name] for name in ('boxes_of', 'keypoint_format') if name in meta}
