"""Models as folders, and as repositories of the Hugging Face Hub, with a model card."""
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from ..engine.fetch import fetch_repository
from ..tasks import MASKING, get_task
from ..utils.files import read_json, replacing
from ..utils.text import count, some
from ..version import __version__
from .boxes import check_limits
from .detector import DETECTORS
from .model_zoo import LICENSE, RELEASED, RELEASED_TASKS
from .models import save_model
from .network import SapiensNetwork, TaskModel

#: File of a folder that names its weights and has options of the inferencer.
CONFIG = 'config.json'
SAPIENS2 = 'sapiens2-license'
_THRESHOLDS = ('score_threshold', 'nms_threshold')
_NUMBERS = (*_THRESHOLDS, 'max_persons')
_FLAGS = ('per_person', 'flip_test')
_DETECTORS = (*DETECTORS, 'parts', 'none')
_PIPELINES = dict(keypoints='keypoint-detection', classes='image-segmentation', mask='image-segmentation',
                  depth='depth-estimation')
_USE = """```python
from sapiens_mm.apis import SapiensInferencer

inferencer = SapiensInferencer.from_pretrained('{name}')
for result in inferencer.stream('photos'):
    result.boxes, result.keypoints, result.maps
```"""


def find_pretrained(name: str | os.PathLike, revision: str | None = None) -> tuple[list[str], dict]:
    """Returns weights and options of a ``SapiensInferencer`` by the name of a folder or of a repository of the Hub.

    Raises a FileNotFoundError if there is no such folder and the name is none of a repository, a ValueError if weights
    are missing, several models fit, or there are no revisions, and a CheckpointError if a repository cannot be fetched.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise ValueError(f'pretrained: got {name!r}, expected the path of a folder, or OWNER/NAME')
    name = os.fspath(name)
    _check_text('revision', revision)
    if os.path.isdir(name):
        _check_no_revision(name, revision)
        return _read_folder(name)
    if not re.fullmatch(r'[\w-][\w.-]*/[\w-][\w.-]*', name):
        raise FileNotFoundError(f"pretrained: got '{name}', which is no folder, expected one, or OWNER/NAME of the "
                                'Hugging Face Hub; check the path')
    released = [file.source for (_, task), file in RELEASED.items() if file.repo == name and task in RELEASED_TASKS]
    if len(released) > 1:
        raise ValueError(f'pretrained: got {name}, which has {count(len(released), "model")} ({some(released)}), '
                         'expected a repository of one; pass tasks and size, or weights, to SapiensInferencer')
    if released:
        _check_no_revision(name, revision)
        return released, {}
    return _read_folder(fetch_repository(name, revision, [CONFIG, '*.safetensors']))


def _check_text(name: str, value: str | None) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ValueError(f'{name}: got {value!r}, expected text, or None')


def _check_no_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise ValueError(f"revision: got '{revision}' for {name}, which has none, expected None")


def _read_folder(folder: str) -> tuple[list[str], dict]:
    path, files = Path(folder, CONFIG), sorted(file.name for file in Path(folder).glob('*.safetensors'))
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict) or 'sapiens_mm' not in content:  # of another library
        content = {}
    named = content.get('weights', files)
    if not isinstance(named, list) or not named or any(name not in files for name in named):
        raise ValueError(f'{folder}: got the weights {some(files)}, expected '
                         f'{some(named) if named and isinstance(named, list) else "*.safetensors"}; write the folder '
                         'by save_pretrained')
    # A repository is another's: its options neither name files nor configs, which are programs.
    options = content.get('options', {})
    valid = isinstance(options, dict) and all(
        name in _FLAGS and isinstance(value, bool) or name == 'detector' and value in _DETECTORS
        or name == 'mask' and value in MASKING or name == 'max_persons'
        or name in _THRESHOLDS and value is not None for name, value in options.items())
    if not valid:
        raise ValueError(f'{path}: got the options {options}, expected some of '
                         f'{", ".join((*_NUMBERS, *_FLAGS, "detector", "mask"))}; write the folder by save_pretrained')
    try:
        check_limits(*(options.get(name) for name in _NUMBERS))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    return [str(Path(folder, name)) for name in named], options


def write_folder(folder: str | os.PathLike, models: Sequence[TaskModel], facts: dict, license: str | None = None,
                 name: str = '') -> None:
    """Writes weights in float32, `CONFIG` and a model card.

    Args:
        facts: :meth:`~sapiens_mm.apis.inferencer.SapiensInferencer.describe` of the inferencer.
        license: Of the weights, as the Hub names it; by default that of released and embedded weights.
        name: Of the repository, for the example in the card; by default the folder.

    Raises a ValueError for ONNX models, for weights that were rounded to another dtype, and without a license of own
    weights.
    """
    if license is not None and not (isinstance(license, str) and re.fullmatch(r'[\w.+-]+', license)):
        raise ValueError(f"license: got {license!r}, expected a name of the Hub, such as 'apache-2.0'")
    license, name = license or _known_license(models), name or os.path.basename(os.path.abspath(folder))
    for model in models:
        if not isinstance(model.network, SapiensNetwork):
            raise ValueError(f'save_pretrained: got {model.source}, run by {model.runtime}, expected a model in '
                             'PyTorch; load its checkpoint with the runtime torch')
        if model.network.dtype != torch.float32:
            raise ValueError(f'save_pretrained: got weights that were rounded to {facts["dtype"]}, expected float32; '
                             "load them with dtype='fp32'")
    os.makedirs(folder, exist_ok=True)
    weights = {f'{"-".join(get_task(task).name for task in model.tasks)}.safetensors': model for model in models}
    for file, model in weights.items():
        save_model(model, os.path.join(folder, file), license=license)
    protocol = facts['protocol']
    options = {key: protocol[key] for key in (*_NUMBERS, 'flip_test')}
    options['per_person'] = protocol['maps_of'] == 'persons'
    if protocol['mask']:
        options['mask'] = protocol['mask']
    if facts['boxes_of'] in _DETECTORS and (facts['boxes_of'] != 'none' or options['per_person'] or any(
            model.codec for model in models)):
        options['detector'] = facts['boxes_of']
    content = dict(sapiens_mm=__version__, license=license, weights=list(weights), options=options)
    for file, text in ((CONFIG, json.dumps(content, indent=2)), ('README.md', _card(weights, facts, license, name))):
        with replacing(os.path.join(folder, file)) as part:
            Path(part).write_text(f'{text}\n', encoding='utf-8')


def push(repo: str, models: Sequence[TaskModel], facts: dict, license: str | None, private: bool | None,
         revision: str | None, message: str, token: str | None) -> str:
    """Uploads what :func:`write_folder` writes to a repository, which is created if missing; returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id
    if not isinstance(repo, str):
        raise ValueError(f"repo: got {repo!r}, expected 'owner/name'")
    validate_repo_id(repo)  # before the weights are written
    for argument, value in (('revision', revision), ('commit_message', message), ('token', token)):
        _check_text(argument, value)
    if private not in (None, True, False):
        raise ValueError(f'private: got {private!r}, expected True, False or None')
    with tempfile.TemporaryDirectory() as folder:
        write_folder(folder, models, facts, license, repo)  # first, so that an error leaves no repository
        api = HfApi(token=token)
        repo = api.create_repo(repo, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, revision=revision, commit_message=message))


def _known_license(models: Sequence[TaskModel]) -> str:
    own = [model.source for model in models if not model.license]
    if own:
        raise ValueError(f'license: got none for {some(own)}, expected one, such as apache-2.0; weights that were '
                         f'trained from the released ones are under {LICENSE}: cc-by-nc-4.0')
    return ', '.join(dict.fromkeys(model.license for model in models)).lower().replace(' ', '-')


def _card(weights: dict[str, TaskModel], facts: dict, license: str, name: str) -> str:
    tasks = [task for model in weights.values() for task in model.tasks]
    pipeline = next((_PIPELINES[get_task(task).kind] for task in tasks if get_task(task).kind in _PIPELINES),
                    'image-feature-extraction')
    # The Hub knows only common licenses by name.
    named = [f'license: {license}'] if SAPIENS2 not in license else [
        'license: other', f'license_name: {license}', 'license_link: https://github.com/facebookresearch/sapiens2']
    lines = ['---', *named, 'library_name: sapiens_mm', f'pipeline_tag: {pipeline}', 'tags:',
             *(f'- {tag}' for tag in ('sapiens', 'human', *tasks)), '---', '', f'# {name}', '',
             f'Sapiens human vision models for sapiens_mm {__version__}: {", ".join(tasks)}. License of the weights: '
             f'{license}.', '', _USE.format(name=name), '', '| file | tasks | input (H x W) | parameters |',
             '|---|---|---|---|']
    for file, model in weights.items():
        number = sum(parameter.numel() for parameter in model.network.parameters())
        lines.append(f'| {file} | {", ".join(model.tasks)} | {model.input_size[0]} x {model.input_size[1]} | '
                     f'{number / 1e6:.1f} M |')
    lines += ['', '## Vocabulary', '']
    for model in weights.values():
        for task, meta in model.metainfo.items():
            names = list(meta.get('keypoint_id2name', {}).values()) or meta.get('classes')
            if names:
                lines += [f'{task} ({len(names)}): {", ".join(names)}', '']
    protocol = json.dumps(facts['protocol'], indent=2)
    return '\n'.join([*lines, '## Protocol', '', f'Boxes of {facts["boxes_of"]}.', '', '```json', protocol, '```'])
