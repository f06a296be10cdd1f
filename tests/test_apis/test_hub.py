"""Tests of models as folders and repositories, with the embedded model and without a network."""
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from sapiens_mm.apis import SapiensInferencer
from sapiens_mm.apis.hub import CONFIG, find_pretrained
from sapiens_mm.engine.checkpoint import CheckpointError
from sapiens_mm.vocabularies.body_parts import PART_NAMES


@pytest.fixture(scope='module')
def inferencer():
    return SapiensInferencer(['pose-17', 'seg'], size='tiny', device='cpu', dtype='fp32', score_threshold=.2,
                             per_person=True, flip_test=True)


@pytest.fixture(scope='module')
def folder(inferencer, tmp_path_factory):
    path = tmp_path_factory.mktemp('hub') / 'schönes Modell'
    inferencer.save_pretrained(path)
    return path


def test_invalid_names(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        find_pretrained('nowhere')
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        find_pretrained(tmp_path)
    with pytest.raises(ValueError, match='sapiens-pose-coco'):
        find_pretrained('noahcao/sapiens-pose-coco')
    for name in (None, 3, b'me/mine'):
        with pytest.raises(ValueError, match=repr(name)):
            find_pretrained(name)
    monkeypatch.setattr('sapiens_mm.engine.fetch.why_no_hub', lambda: 'no network here')
    with pytest.raises(CheckpointError, match='me/mine'):
        find_pretrained('me/mine')


@pytest.mark.parametrize('changes', [
    dict(weights=['/etc/passwd']), dict(weights=[]), dict(weights=3), dict(options=dict(size='1b')), dict(options=3),
    dict(weights=[['seg.safetensors']]), dict(weights=[None]), dict(options=dict(detector='rtmdet.py')),
    dict(options=dict(flip_test='yes')), dict(options=dict(flip_test=1)), dict(options=dict(max_persons=True)),
    dict(options=dict(max_persons=1.5)), dict(options=dict(score_threshold=True)),
    dict(options=dict(score_threshold=None)), dict(options=dict(nms_threshold=float('nan')))])
def test_foreign_options(folder, tmp_path, changes):
    shutil.copytree(folder, tmp_path / 'copy')
    path = tmp_path / 'copy' / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match='copy'):
        find_pretrained(tmp_path / 'copy')


def test_a_folder_gives_the_same_results(inferencer, folder, coco_real):
    loaded = SapiensInferencer.from_pretrained(folder, device='cpu', dtype='fp32')
    assert loaded.tasks == inferencer.tasks
    assert loaded.describe()['protocol'] == inferencer.describe()['protocol']
    assert loaded.boxes_of == inferencer.boxes_of == 'parts'
    photo = coco_real / '000000000785.jpg'
    (result, ), (expected, ) = loaded(photo), inferencer(photo)
    assert result.to_json() == expected.to_json()
    assert np.array_equal(result.parts, expected.parts)
    chosen = SapiensInferencer.from_pretrained(str(folder), tasks=['seg'], device='cpu', flip_test=False)
    assert (chosen.tasks, chosen.flip_test) == (('seg', ), False)


def test_files_without_options(folder, tmp_path):
    shutil.copy(folder / 'seg.safetensors', tmp_path)
    (tmp_path / CONFIG).write_text('{"model_type": "vit"}')  # of another library
    assert find_pretrained(tmp_path) == ([str(tmp_path / 'seg.safetensors')], {})


def test_the_card(folder):
    _, front, text = (folder / 'README.md').read_text('utf-8').split('---\n', 2)
    front = yaml.safe_load(front)
    assert (front['license'], front['library_name']) == ('cc-by-nc-4.0', 'sapiens_mm')
    assert front['pipeline_tag'] == 'keypoint-detection'
    assert "from_pretrained('schönes Modell')" in text
    assert all(name in text for name in (*PART_NAMES, 'left_shoulder', '"flip_test": true', '"box_padding": 1.25'))


@pytest.mark.parametrize(('arguments', 'value'), [
    (dict(license=True), 'True'), (dict(license='mit\ntags: []'), 'tags'), (dict(license=''), "''"),
    (dict(private='no'), "'no'"), (dict(revision=1), '1'), (dict(revision=' '), "' '"),
    (dict(commit_message=b'a'), 'a'), (dict(token=True), 'True'), (dict(repo=None), 'None'),
    (dict(repo='a/b/c'), 'a/b/c')])
def test_invalid_uploads(inferencer, monkeypatch, arguments, value):
    monkeypatch.setattr('huggingface_hub.HfApi', lambda **kwargs: pytest.fail('reached the Hub'))
    with pytest.raises(ValueError, match=re.escape(value)):
        inferencer.push_to_hub(**{'repo': 'me/mine', **arguments})


def test_invalid_arguments_of_loading(folder):
    for options in (dict(weights='a.pth'), dict(size='1b'), dict(revision=True), dict(revision='main')):
        with pytest.raises(ValueError, match=next(iter(options))):
            SapiensInferencer.from_pretrained(folder, **options)
    with pytest.raises(ValueError, match='main'):
        find_pretrained('facebook/sapiens-pose-1b', 'main')


def test_what_is_not_saved(folder, tmp_path):
    own = SapiensInferencer(weights=str(folder / 'seg.safetensors'), device='cpu', dtype='fp32', detector=None)
    own.models[0].license = None
    with pytest.raises(ValueError, match=r'license.*seg\.safetensors'):
        own.save_pretrained(tmp_path / 'a')
    rounded = SapiensInferencer(['seg'], size='tiny', device='cpu', dtype='bf16')
    with pytest.raises(ValueError, match='bfloat16'):
        rounded.save_pretrained(tmp_path / 'a')
    assert not (tmp_path / 'a').exists()
    own.save_pretrained(tmp_path / 'a', license='mit')
    assert json.loads((tmp_path / 'a' / CONFIG).read_text())['license'] == 'mit'


def test_uploads(inferencer, folder, monkeypatch):
    calls = []

    class Recorder:
        def __init__(self, token):
            calls.append(token)

        def create_repo(self, repo, **options):
            calls.append((repo, options))
            return type('Address', (), dict(repo_id='me/mine'))

        def create_branch(self, repo, branch, **options):
            calls.append((repo, branch))

        def upload_folder(self, repo_id, folder_path, revision, commit_message):
            loaded = SapiensInferencer.from_pretrained(folder_path, device='cpu')
            calls.append((repo_id, revision, loaded.tasks, Path(folder_path, 'README.md').read_text('utf-8')))
            return 'https://hub/commit'

    monkeypatch.setattr('huggingface_hub.HfApi', Recorder)
    assert inferencer.push_to_hub('mine', private=True, revision='v1', token='secret') == 'https://hub/commit'
    token, created, branch, (*uploaded, card) = calls
    assert (token, created, branch) == ('secret', ('mine', dict(private=True, exist_ok=True)), ('me/mine', 'v1'))
    assert uploaded == ['me/mine', 'v1', inferencer.tasks]
    assert "from_pretrained('mine')" in card


def test_repositories(folder, monkeypatch):
    fetched = []
    monkeypatch.setattr('sapiens_mm.apis.hub.fetch_repository', lambda *args: fetched.append(args) or str(folder))
    weights, options = find_pretrained('me/mine', 'v1')
    assert fetched == [('me/mine', 'v1', [CONFIG, '*.safetensors'])]
    assert [path.rsplit('/', 1)[1] for path in weights] == ['pose.safetensors', 'seg.safetensors']
    assert options['detector'] == 'parts'
    weights, options = find_pretrained('facebook/sapiens-pose-1b')
    assert weights == ['hf://facebook/sapiens-pose-1b/sapiens_1b_goliath_best_goliath_AP_639.pth']
    assert options == {}
