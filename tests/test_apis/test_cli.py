"""Tests of the command line."""
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sapiens_mm.apis import convert, meta, model_zoo, models, result_files, writer
from sapiens_mm.apis import run as run_module
from sapiens_mm.names import KINDS
from sapiens_mm.tasks import ALIASES, dense_tasks
from sapiens_mm_cli import main


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    (folder / 'sub').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (('a.png', (90, 60)), ('b.jpg', (50, 80)), ('sub/a.png', (64, 64))):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    return folder


@pytest.fixture
def run(small_models, tmp_path):
    def command(*args, names=('pose-17', 'multi')):
        given = [str(value) for name in names for value in
                 ('--config', small_models[name][0], '--checkpoint', small_models[name][1])]
        return main(['run', '--out', str(tmp_path / 'out'), '--device', 'cpu', *map(str, args), *given])

    return command


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


#: By the module, and as the installed script does.
STARTS = ['-m', 'sapiens_mm'], ['-c', 'from sapiens_mm_cli import main; raise SystemExit(main())']


@pytest.mark.parametrize('start', STARTS)
@pytest.mark.parametrize(('args', 'text'), [
    (['--help'], 'models'), (['run', '--help'], '--flip-test'), (['run', '.', '--batch-size', '0'], "got '0'"),
    (['convert', '--help'], 'label-studio'), (['convert', 'nowhere', '--to', 'coco', '--out', 'a.json'], "'nowhere'"),
    (['convert', '.', '--to', 'voc', '--out', 'a.json'], "'voc'")])
def test_help_and_wrong_options_need_no_torch(start, args, text):
    process = subprocess.run([sys.executable, '-X', 'importtime', *start, *args], capture_output=True, text=True)
    assert process.returncode == (0 if '--help' in args else 2)
    assert text in process.stdout + process.stderr
    assert re.search(r'\| +argparse$', process.stderr, re.MULTILINE)
    assert not re.search(r'\| +(torch|mmengine|numpy)$', process.stderr, re.MULTILINE)


@pytest.mark.parametrize(('args', 'values'), [
    ('nowhere.jpg', ["input: got 'nowhere.jpg'"]), ('https://a.org/a.jpg', ['https://a.org/a.jpg', '--allow-urls']),
    ('nowhere.jpg https://a.org/b.jpg', ['nowhere.jpg', 'https://a.org/b.jpg']),
    ('. --save gif', ['--save', "'gif'"]), ('. --tasks hair', ['--tasks', "'hair'"]), ('. --tasks pose', ['--tasks']),
    ('. --boxes nowhere.json', ['--boxes', "'nowhere.json'"]), ('. --config no.py', ['--config', "'no.py'"]),
    ('. --batch-size 0', ['--batch-size', "'0'"]), ('. --max-persons 1.5', ['--max-persons', "'1.5'"]),
    ('. --shard 2/2', ['--shard', "'2/2'"]), ('. --device cpu --devices cpu,cpu', ['--devices', '--device']),
    ('. --smooth one-euro', ['--smooth: got one-euro', '--track']),
    ('. --track --smooth one-euro --smooth-beta -1', ['--smooth-beta', "'-1'"]),
    ('. --detect-every 0', ['--detect-every', "'0'"]), ('. --detect-every 2', ['--detect-every: got 2', '--track']),
    ('. --score-threshold 2', ['--score-threshold', "'2'"]), ('. --nms-threshold nan', ['--nms-threshold', "'nan'"]),
    ('. --keypoint-threshold 30', ['--keypoint-threshold', "'30'"]), ('. --url-timeout 0', ['--url-timeout', "'0'"]),
    ('. --url-timeout nan', ['--url-timeout', "'nan'"]), ('. --url-timeout 1e30', ['--url-timeout', "'1e30'"]),
    (f'. --config {__file__}', ['--config, --checkpoint: got 1 and 0']),
    ('. --tasks pose-17,pose-308', ['--tasks: got pose-17, pose-308']),
    ('. --tasks parts,depth --keypoint-format openpose', ["--keypoint-format: got 'openpose'"]),
    ('. --tasks depth --save json', ['--save: got json', 'depth']),
    ('. --tasks depth --save coco', ['--save: got coco']),
    ('. --save coco --keypoint-format openpose', ['--save: got coco']),
    ('. --save masks --keypoint-format pose2sim', ['--save', 'masks', 'pose2sim']),
    ('. --save masks --tasks pose-17', ['--save: got masks', 'seg']),
    *((f'. --save glb {args}', values) for args, values in (
        ('--tasks pose-17,seg', ['--save: got glb', 'depth']), ('--focal 0', ['--focal', "'0'"]),
        ('--fov 180', ['--fov', "'180'"]), ('--focal 900 --fov 40', ['--focal', '900', '40']),
        ('--depth-range 2 1', ['--depth-range', '2 and 1']), ('--depth-range 0 1', ['--depth-range', "'0'"]),
        (f'--depth-range 1 2 --reference {__file__}', ['--depth-range', '--reference']),
        ('--reference no.npy', ['--reference', "'no.npy'"]), ('--alignment none', ['--alignment', "'none'"]),
        ('--normal-convention vulkan', ['--normal-convention', "'vulkan'"]))),
    ('. --save normal16 --tasks depth', ['--save: got normal16', 'normal']),
    ('. --save matte --tasks depth', ['--save: got matte', 'seg']),
    ('. --features-layers a', ['--features-layers', "'a'"]),
    *((f'. {args}', [args.split()[0], value]) for args, value in (
        ('--features-of person', '--save features'), ('--features-pool mean --save json', '--save features'),
        ('--features-layers 3', '--save features'), ('--smooth-beta 2', '--smooth'),
        ('--smooth-min-cutoff 2 --track', '--smooth'), ('--url-timeout 5', '--allow-urls'),
        ('--size 2b --checkpoint a.pth', '--checkpoint'), (f'--detector parts --boxes {__file__}', '--boxes'),
        (f'--detector-checkpoint a.pth --boxes {__file__}', '--boxes'),
        ('--detector-checkpoint a.pth --detector parts', '--detector parts'),
        ('--score-threshold .5 --detector none', '--detector none'), ('--max-persons 2 --detector none', 'none'),
        ('--detector parts --tasks depth', '--per-person'), ('--per-person --tasks pose-17', '--per-person'),
        ('--focal 900', 'ply'), ('--fov 40 --save png', 'ply'), ('--depth-range 1 2', 'ply'),
        (f'--reference {__file__} --save matte', 'ply'), ('--per-frame-scale --save json', 'ply'),
        ('--alignment scale-shift-inverse --save ply', '--reference'), ('--normal-convention directx', 'normal16'),
        ('--steady --tasks normal', 'depth'), ('--mask seg --tasks seg', 'or normal'),
        ('--keypoint-threshold .5 --save json,png', '--save json,png')))])
def test_options_that_are_refused_before_imports(monkeypatch, capsys, args, values):
    monkeypatch.setattr('sapiens_mm_cli._import', lambda command: pytest.fail('imported'))
    with pytest.raises(SystemExit) as info:
        main(['run', *args.split()])
    assert info.value.code == 2
    err = ''.join(capsys.readouterr().err.partition('sapiens-mm')[1:])
    assert all(value in err for value in values)


def test_names_that_the_launcher_knows(monkeypatch):
    seen = []
    monkeypatch.setattr('sapiens_mm_cli._import', lambda command: SimpleNamespace(main=seen.append))
    assert main(['run', '.', '--save', ','.join(KINDS), '--tasks', ','.join([*dense_tasks(), *ALIASES])]) == 0
    for task in model_zoo.RELEASED_TASKS:
        assert main(['run', '.', '--tasks', task]) == 0
    for name in convert.READERS:
        assert main(['convert', '.', '--from', name, '--to', 'coco', '--out', 'a']) == 0
    for name in convert.WRITERS:
        assert main(['convert', '.', '--to', name, '--out', 'a']) == 0
    assert len(seen) == 1 + sum(map(len, (model_zoo.RELEASED_TASKS, convert.READERS, convert.WRITERS)))


@pytest.mark.parametrize(('args', 'value'), [
    (['{photos}', '--device', 'tpu', '--detector', 'none'], "--device: got 'tpu'"),
    (['{photos}', '--detector', 'yolo'], "--detector: got 'yolo'"),
    (['{photos}', '--tasks', 'pose-308'], '--tasks: got pose-308'),
    (['{photos}', '--keypoint-format', 'wholebody-133', '--detector', 'none'],
     "--keypoint-format: got 'wholebody-133' for 17 keypoints"),
    (['{photos}', '--tasks', 'depth,normal', '--save', 'video'], 'depth, normal: results are not kept by json'),
])
def test_invalid_options(run, photos, capsys, args, value):
    assert run(*(arg.format(photos=photos) for arg in args)) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith('sapiens-mm: ')
    assert value in err


def test_unavailable_tasks(photos, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(model_zoo, 'EMBEDDED', tmp_path)
    assert main(['run', str(photos), '--size', 'tiny', '--tasks', 'depth', '--out', str(tmp_path / 'out')]) == 2
    assert "--tasks: got 'depth'" in capsys.readouterr().err
    assert main(['run', str(photos), '--size', '2b', '--tasks', 'parts', '--out', str(tmp_path / 'out')]) == 2
    assert 'seg was not released for 2b' in capsys.readouterr().err


def test_a_folder(run, photos, tmp_path, capsys):
    boxes = tmp_path / 'boxes.json'
    boxes.write_text(json.dumps({'a.png': [[5, 5, 40, 80]], 'sub/a.png': [[0, 0, 30, 60], [30, 0, 64, 60, .5]]}))
    assert run(photos, '--boxes', boxes, '--save', 'npz,png') == 0
    endings = ('depth.png', 'json', 'normal.png', 'npz', 'parts.png')
    out = tmp_path / 'out'
    assert written(out) == sorted(['meta.json', *(f'{name}.{ending}' for name in ('a.png', 'b.jpg', 'sub/a.png')
                                                  for ending in endings)])
    assert '3 images in' in capsys.readouterr().out
    people = [len(json.loads((out / f'{name}.json').read_text())['instances'])
              for name in ('a.png', 'b.jpg', 'sub/a.png')]
    assert people == [1, 0, 2]
    meta = json.loads((out / 'meta.json').read_text())
    assert [model['tasks'] for model in meta['models']] == [['pose-17'], ['seg', 'depth', 'normal']]
    assert meta['boxes_of'] == str(boxes)


def test_default_kinds(run, tmp_path, write_video, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((60, 50, 3), np.uint8))
    write_video(tmp_path / 'clip.mp4', frames=2)
    out, args = tmp_path / 'out', (tmp_path / 'a.png', tmp_path / 'clip.mp4', '--detector', 'none')
    assert run(*args) == 0
    assert written(out) == ['a.png.json', 'a.png.overlay.jpg', 'a.png.sheet.jpg', 'clip.mp4.frames/000000.json',
                            'clip.mp4.frames/000001.json', 'clip.mp4.json', 'clip.mp4.overlay.mp4', 'meta.json']
    assert 'skipping' not in capsys.readouterr().err
    assert run(*args, '--resume') == 0
    assert 'all 2 inputs are done' in capsys.readouterr().out
    (out / 'a.png.sheet.jpg').unlink()
    assert run(*args, '--resume') == 0
    assert '1 image in' in capsys.readouterr().out
    assert run(*args[1:]) == 0
    assert 'depth, normal: results are not kept by json, video; add npz, png or sheet' in (
        capsys.readouterr().err)


@pytest.mark.parametrize(('save', 'tasks', 'value'), [
    ('json', [['pose-17']], 'seg, depth, normal: results are not kept by json; add npz, png or sheet'),
    ('overlay', [['pose-17'], ['seg']], 'depth, normal: results are not kept by json, overlay'),
    ('sheet', [['pose-17'], ['seg', 'depth', 'normal']], None)])
@pytest.mark.parametrize('named', [False, True])
def test_tasks_without_kept_results_are_skipped(run, photos, tmp_path, capsys, named, save, tasks, value):
    names = ['--tasks', 'pose-17,parts,depth,normal'] if named else []
    assert run(photos, '--detector', 'none', '--save', save, *names) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if 'skipping' in line]
    assert len(warnings) == bool(value)
    assert value is None or value in warnings[0]
    models = json.loads((tmp_path / 'out/meta.json').read_text())['models']
    assert [model['tasks'] for model in models] == tasks


def test_show(run, photos, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(run_module, 'check_display', lambda: None)
    monkeypatch.setattr(run_module, 'show', lambda result, threshold: True)
    assert run(photos, '--detector', 'none', '--save', 'json', '--show') == 0
    assert 'depth, normal: results are not kept by json, --show; add npz, png or sheet' in (
        capsys.readouterr().err)
    models = json.loads((tmp_path / 'out/meta.json').read_text())['models']
    assert [model['tasks'] for model in models] == [['pose-17'], ['seg']]
    assert run(photos, '--detector', 'none', '--save', 'json', '--show', '--resume') == 0
    assert 'skipping' not in capsys.readouterr().err


@pytest.mark.parametrize(('args', 'loaded'), [
    (['--save', 'json', '--detector', 'none'], ['pose-308']),
    (['--save', 'overlay', '--tasks', 'normal,depth', '--detector', 'none'], ['depth']),
    (['--save', 'json', '--detector', 'parts'], ['pose-308', 'seg']),  # for detection
    (['--save', 'json', '--detector', 'none', '--mask', 'foreground'], ['pose-308']),
    (['--save', 'overlay', '--tasks', 'depth,normal', '--mask', 'foreground'], ['depth', 'foreground']),
    (['--save', 'npz', '--detector', 'none'], ['pose-308', 'seg', 'depth', 'normal'])])
def test_weights_of_skipped_tasks_are_not_fetched(photos, tmp_path, small_models, monkeypatch, args, loaded):
    fetched = []

    def load(size, task, **kwargs):
        fetched.append(task)
        return models.load_model(*small_models[task][::-1], **kwargs)

    monkeypatch.setattr('sapiens_mm.apis.models.load_released', load)
    assert main(['run', str(photos), '--out', str(tmp_path / 'out'), '--device', 'cpu', *args]) == 0
    assert fetched == loaded
    if 'parts' in args:
        meta = json.loads((tmp_path / 'out/meta.json').read_text())
        assert ([model['tasks'] for model in meta['models']], meta['boxes_of']) == ([['pose-308']], 'parts')


def test_compile(run, photos, capsys, monkeypatch):
    monkeypatch.setattr('torch.nn.Module.compile', lambda self: None)
    assert run(photos, '--detector', 'none', '--save', 'json', '--compile', names=['pose-17']) == 0
    assert 'compiling the models' in capsys.readouterr().err


def test_unreadable_inputs_do_not_stop_the_run(run, photos, tmp_path, capsys):
    (photos / 'b.jpg').write_text('no image')
    (photos / 'c.png').write_bytes(b'')
    args = photos, 'nowhere.jpg', '--detector', 'none', '--save', 'json'
    assert run(*args, names=['pose-17']) == 1
    out, err = capsys.readouterr()
    assert '2 images in' in out
    assert '3 could not be read' in out
    for name in ('b.jpg: ', 'c.png: ', 'nowhere.jpg'):
        assert name in err
        assert name in out
    assert written(tmp_path / 'out') == ['a.png.json', 'meta.json', 'sub/a.png.json']
    for name in ('b.jpg', 'c.png'):
        (photos / name).unlink()
    assert run(*args, '--resume', names=['pose-17']) == 1  # all others are done
    assert 'nowhere.jpg' in capsys.readouterr().out


def test_resume_skips_finished_inputs(run, photos, tmp_path, capsys):
    args = photos, '--detector', 'none', '--save', 'json', '--resume'
    assert run(*args, names=['pose-17']) == 0
    done = tmp_path / 'out/b.jpg.json'
    (tmp_path / 'out/a.png.json').unlink()
    before = done.stat().st_mtime_ns
    assert run(*args, names=['pose-17']) == 0
    assert '1 image in' in capsys.readouterr().out
    assert done.stat().st_mtime_ns == before
    assert run(*args, names=['pose-17']) == 0
    out, err = capsys.readouterr()
    assert 'all 3 inputs are done' in out
    assert 'pose-17 of ' in out
    assert 'instead of' not in err


@pytest.mark.parametrize(('more', 'name', 'changes'), [
    (['--batch-size', '2'], 'pose-17', ''), (['--tasks', 'pose-17'], 'pose-17', ''),
    (['--score-threshold', '.5', '--flip-test'], 'pose-17',
     'flip_test False instead of True; score_threshold 0.3 instead of 0.5'),
    (['--tasks', 'pose-133', '--keypoint-format', 'coco-17'], 'pose-133',
     'tasks pose-17 instead of pose-133; keypoint_format model instead of coco-17')])
def test_resume_reports_changed_options(run, photos, tmp_path, capsys, more, name, changes):
    args = photos / 'a.png', photos / 'b.jpg', '--detector', 'parts', '--save', 'json'
    assert run(*args, names=['pose-17']) == 0
    meta = (tmp_path / 'out/meta.json').read_bytes()
    for done in (True, False):  # before any model is loaded, and after
        if not done:
            (tmp_path / 'out/b.jpg.json').unlink()
        capsys.readouterr()
        assert run(*args, *more, '--resume', names=[name]) == 0
        warnings = [line for line in capsys.readouterr().err.splitlines() if 'instead of' in line]
        assert [line.partition(' run had ')[2].removesuffix(' (weights are not compared)')
                for line in warnings] == ([changes] if changes else [])
        assert not done or (tmp_path / 'out/meta.json').read_bytes() == meta


@pytest.mark.parametrize('args', [[], ['--per-person', '--track', '--max-persons', '3', '--flip-test'],
                                  ['--tasks', 'depth']])
def test_planned_meta(tmp_path, capsys, monkeypatch, args):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((60, 50, 3), np.uint8))
    args = ['run', str(tmp_path / 'a.png'), '--size', 'tiny', '--device', 'cpu', '--out', str(tmp_path / 'out'), *args]
    assert main(args) == 0
    before, known = json.loads((tmp_path / 'out/meta.json').read_text()), []
    compare = meta.meta_differences
    monkeypatch.setattr(run_module, 'meta_differences', lambda before, now: known.append(now) or compare(before, now))
    assert main([*args, '--resume']) == 0
    assert 'instead of' not in capsys.readouterr().err
    now, = known
    assert set(now['models'][0]['tasks']) == {task for model in before['models'] for task in model['tasks']}
    assert set(before['protocol']) - set(now['protocol']) == {'box_padding', 'batch_size'}
    assert set(now) - {'models', 'protocol'} == {'boxes_of', 'keypoint_format'}


def test_resume_writes_new_kinds(run, photos, tmp_path, write_video, capsys):
    clip, out = write_video(tmp_path / 'clip.mp4', frames=2), tmp_path / 'out'
    args = photos / 'a.png', clip, '--detector', 'none', '--tasks', 'pose-17,depth'
    assert run(*args, '--save', 'overlay') == 0
    assert run(*args, '--save', 'overlay,png', '--resume') == 0
    assert (out / 'photos/a.png.depth.png').exists()
    assert (out / 'clip.mp4.frames/000001.depth.png').exists()
    capsys.readouterr()
    assert run(*args, '--save', 'overlay,png', '--resume') == 0
    assert 'all 2 inputs are done' in capsys.readouterr().out


def test_meta_keeps_earlier_runs(run, photos, tmp_path, capsys):
    args = photos, '--detector', 'parts', '--save', 'json'
    for threshold in (.3, .5, .5, .4):
        assert run(*args, '--score-threshold', threshold, '--resume', names=['pose-17']) == 0
        (tmp_path / 'out/b.jpg.json').unlink()
    meta = json.loads((tmp_path / 'out/meta.json').read_text())
    assert [content['protocol']['score_threshold'] for content in (*meta['earlier'], meta)] == [.3, .5, .4]
    assert 'earlier' not in meta['earlier'][1]
    (tmp_path / 'out/meta.json').write_text('[1]')
    capsys.readouterr()
    assert run(*args, '--resume', names=['pose-17']) == 0
    assert 'meta.json' in capsys.readouterr().err


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_frame_and_closes_the_video(run, number, tmp_path, write_video, capsys, monkeypatch):
    av = pytest.importorskip('av')
    clip = write_video(tmp_path / 'clip.mp4', frames=30)
    write, count = writer.ResultWriter.write, []

    def interrupted(self, result):
        count.append(0)
        if len(count) == 3:
            signal.raise_signal(number)
        return write(self, result)

    monkeypatch.setattr(writer.ResultWriter, 'write', interrupted)
    before = signal.getsignal(number)
    assert run(clip, '--detector', 'none', '--save', 'video', names=['pose-17']) == 128 + number
    assert signal.getsignal(number) is before
    assert '3 frames in' in capsys.readouterr().out
    assert not (tmp_path / 'out/clip.mp4.json').exists()
    with av.open(str(tmp_path / 'out/clip.mp4.overlay.mp4')) as container:
        assert len(list(container.decode(video=0))) == 3
    monkeypatch.setattr(writer.ResultWriter, 'write', write)
    assert run(clip, '--detector', 'none', '--save', 'video', '--resume', '--track', names=['pose-17']) == 0
    assert json.loads((tmp_path / 'out/clip.mp4.json').read_text())['video']['frames'] == 30
    person, = json.loads((tmp_path / 'out/clip.mp4.frames/000029.json').read_text())['instances']
    assert person['track_id'] == 1


def test_a_truncated_video_is_reported_and_not_done(run, tmp_path, write_noise, capsys):
    whole = write_noise(tmp_path / 'whole.mp4', options=dict(movflags='faststart')).read_bytes()
    (tmp_path / 'clip.mp4').write_bytes(whole[:len(whole) // 2])
    args = tmp_path / 'clip.mp4', '--detector', 'none', '--save', 'json'
    for more in ([], ['--resume']):
        assert run(*args, *more, names=['pose-17']) == 1
        out, err = capsys.readouterr()
        assert 'clip.mp4: truncated or damaged after' in err
        assert '1 could not be read' in out
    assert (tmp_path / 'out/clip.mp4.frames/000009.json').exists()
    assert not (tmp_path / 'out/clip.mp4.json').exists()


def test_models(capsys):
    assert main(['models']) == 0
    out = capsys.readouterr().out
    line, = (line for line in out.splitlines() if line.startswith('1b') and 'pose-308' in line)
    assert 'CC-BY-NC 4.0' in line
    tiny = [line for line in out.splitlines() if line.startswith('tiny')]
    assert tiny
    assert all(' CC-BY-NC 4.0 ' in line for line in tiny)
    assert 'hf://facebook/sapiens-pose-1b/sapiens_1b_goliath_best_goliath_AP_639.pth' in line
    assert float(line.split()[2]) == pytest.approx(1170, rel=.02)


def test_models_import_no_host(root):
    code = ("import sys\nsys.path.insert(0, sys.argv[1])\nfrom sapiens_mm_cli import main\nmain(['models'])\n"
            "print(*(name in sys.modules for name in ('mmpose', 'mmseg', 'mmdet')))")
    process = subprocess.run([sys.executable, '-c', code, root], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == 'False False False'
    assert process.stderr == ''


def test_doctor(capsys):
    code = main(['doctor'])
    out = capsys.readouterr().out
    assert 'mmpose' in out
    wrong = [line for line in out.splitlines() if line.startswith('wrong ')]
    assert out.splitlines()[-1] == (f'{len(wrong)} checks failed' if len(wrong) > 1 else
                                    '1 check failed' if wrong else 'all checks passed')
    assert code == bool(wrong)


@pytest.mark.parametrize(('content', 'value'), [
    ('[1, 2]', 'boxes.json'), ('{"a.png": [[9, 9, 5, 50]]}', 'box 0: got .9.0, 9.0, 5.0'),
    ('{"a.png": [[1, 2, 3, 4, 5, 6]]}', 'a.png'), ('{"a.png": [[1, NaN, 30, 40]]}', 'box 0: .*nan'),
    ('{"other.png": [[1, 2, 30, 40]]}', 'other.png'), ('{}', 'got none')])
def test_invalid_boxes(tmp_path, capsys, content, value):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((60, 50, 3), np.uint8))
    (tmp_path / 'boxes.json').write_text(content)
    assert main(['run', str(tmp_path / 'a.png'), '--size', 'tiny', '--device', 'cpu', '--out', str(tmp_path / 'out'),
                 '--boxes', str(tmp_path / 'boxes.json')]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert re.search(value, line)


def test_limits_of_given_boxes(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((60, 50, 3), np.uint8))
    boxes = [[1, 2, 30, 40, .01], [1, 2, 30, 40, .01], [9, 9, 9, 40], [2, 2, 45, 50, .9]]
    (tmp_path / 'boxes.json').write_text(json.dumps({'a.png': boxes}))
    args = ['run', str(tmp_path / 'a.png'), '--size', 'tiny', '--device', 'cpu', '--tasks', 'pose-17', '--save', 'json',
            '--out', str(tmp_path / 'out'), '--boxes', str(tmp_path / 'boxes.json')]
    names = 'score_threshold', 'nms_threshold', 'max_persons'
    for more, left, limits in (([], [.01, .01, 1, .9], (None, None, None)),
                               (['--score-threshold', '.5'], [1, .9], (.5, None, None)),
                               (['--nms-threshold', '.6', '--max-persons', '2'], [1, .9], (None, .6, 2))):
        assert main([*args, *more]) == 0
        assert ', 1 box of ' in capsys.readouterr().out
        people = json.loads((tmp_path / 'out/a.png.json').read_text())['instances']
        assert [person['score'] for person in people] == left
        protocol = json.loads((tmp_path / 'out/meta.json').read_text())['protocol']
        assert tuple(protocol[name] for name in names) == limits
        assert main([*args, *more, '--resume']) == 0
        assert 'instead of' not in capsys.readouterr().err


def test_boxes_that_match_several_inputs(photos, tmp_path, capsys):
    (tmp_path / 'boxes.json').write_text('{"b.jpg": [[1, 2, 30, 40]], "a.png": [[1, 2, 30, 40]]}')
    assert main(['run', str(photos), '--size', 'tiny', '--device', 'cpu', '--out', str(tmp_path / 'out'), '--boxes',
                 str(tmp_path / 'boxes.json')]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert 'a.png, sub/a.png' in line
    assert not (tmp_path / 'out').exists()


def test_images_without_boxes(tmp_path, capsys):
    for name in 'ab':
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((60, 50, 3), np.uint8))
    (tmp_path / 'boxes.json').write_text('{"a.png": [[1, 2, 30, 40]]}')
    args = ['run', str(tmp_path), '--size', 'tiny', '--device', 'cpu', '--tasks', 'pose-17', '--out',
            str(tmp_path / 'out'), '--boxes', str(tmp_path / 'boxes.json')]
    assert main(args) == 0
    assert 'no boxes for 1 of 2 inputs, which get no people: b.png' in capsys.readouterr().err
    # Written images do not become inputs.
    assert main(args) == 0
    assert '2 images in' in capsys.readouterr().out
    assert json.loads((tmp_path / 'out/meta.json').read_text())['boxes_of'] == str(tmp_path / 'boxes.json')
    # Only the one that the boxes leave out remains.
    (tmp_path / 'out/b.png.json').unlink()
    assert main([*args, '--resume']) == 0
    assert '1 image in' in capsys.readouterr().out
    assert main([*args[:args.index('--boxes')], '--resume', '--detector', 'none', '--out', str(tmp_path / 'new')]) == 0
    assert json.loads((tmp_path / 'new/meta.json').read_text())['boxes_of'] == 'none'


@pytest.mark.parametrize(('args', 'value'), [
    (['--out', '{file}'], "a.png' is not writable"), (['--show'], '--show: got no display')])
def test_outputs_that_are_not_available(tmp_path, capsys, monkeypatch, args, value):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    file = str(tmp_path / 'a.png')
    cv2.imwrite(file, np.zeros((60, 50, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert main(['run', file, '--size', 'tiny', '--device', 'cpu', *(arg.format(file=file) for arg in args)]) == 2
    line, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('sapiens-mm')]
    assert value in line


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_a_download(tmp_path, number):
    with socket.create_server(('127.0.0.1', 0)) as server:
        process = subprocess.Popen(
            [sys.executable, '-m', 'sapiens_mm', 'run', f'http://127.0.0.1:{server.getsockname()[1]}/a.png',
             '--allow-urls', '--size', 'tiny', '--device', 'cpu', '--out', str(tmp_path / 'out')],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        connection, _ = server.accept()
        with connection:
            connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n')
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert 'Traceback' not in err
    assert out.startswith('0 images in ')


@pytest.mark.parametrize('start', STARTS)
def test_a_closed_pipe(start):
    with subprocess.Popen([sys.executable, *start, 'models'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert 'Traceback' not in err
    assert 'Exception' not in err
    assert 'rror' not in err
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize('module', ['torch', 'mmengine', 'sapiens_mm.apis.inferencer'])
@pytest.mark.parametrize('start', STARTS)
def test_ctrl_c_during_imports(tmp_path, start, module):
    (tmp_path / 'sitecustomize.py').write_text(f"""
import importlib.abc, os, signal, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == '{module}':
            try:
                signal.raise_signal(signal.SIGINT)
            except BaseException as error:  # as some modules do
                raise ImportError('stopped') from error
sys.meta_path.insert(0, Finder())
""")
    process = subprocess.run([sys.executable, *start, 'run', str(tmp_path)], capture_output=True, text=True, env={
        **os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path])})
    assert process.stderr == 'sapiens-mm: stopped\n'
    assert process.returncode == 130


@pytest.mark.parametrize('name', ['meta.json', 'clip.mp4.json', 'boxes.json'])
def test_deeply_nested_json(run, photos, tmp_path, write_video, capsys, name):
    clip = write_video(tmp_path / 'clip.mp4', frames=2)
    args, more = (photos, clip, '--save', 'json'), ('--detector', 'none')
    assert run(*args, *more, names=['pose-17']) == 0
    path = tmp_path / ('out' if name != 'boxes.json' else '') / name
    path.write_text('[' * 100_000)
    capsys.readouterr()
    more = ('--boxes', path) if name == 'boxes.json' else more
    assert run(*args, '--resume', *more, names=['pose-17']) == (2 if name == 'boxes.json' else 0)
    err = capsys.readouterr().err
    assert 'Traceback' not in err
    assert name in err or name == 'clip.mp4.json'  # that is written anew


def test_no_task(capsys):
    with pytest.raises(SystemExit) as info:
        main(['run', 'a.png', '--tasks', ''])
    assert info.value.code == 2
    assert '--tasks' in capsys.readouterr().err


def test_ctrl_c_while_models_load(tmp_path, capsys, monkeypatch):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((60, 50, 3), np.uint8))

    def load(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('sapiens_mm.apis.inferencer.load_models', load)
    assert main(['run', str(tmp_path / 'a.png'), '--out', str(tmp_path / 'out')]) == 130
    assert capsys.readouterr().err == 'sapiens-mm: stopped\n'


def test_a_file_name_that_is_too_long(run, photos, tmp_path, capsys):
    name = 'x' * 251 + '.png'
    (photos / 'b.jpg').rename(photos / name)
    assert run(photos, '--detector', 'none', names=['pose-17']) == 1
    out, err = capsys.readouterr()
    assert f'{name}: File name too long' in err
    assert '2 images in' in out
    assert f'1 could not be written:\n  {name}: File name too long' in out
    assert '--resume' not in out
    assert [file for file in written(tmp_path / 'out') if file.endswith('.json')] == [
        'a.png.json', 'meta.json', 'sub/a.png.json']


@pytest.mark.parametrize(('code', 'value'), [(errno.ENOSPC, 'disk full'), (errno.EACCES, 'is not writable')])
def test_a_full_or_read_only_disk(run, photos, tmp_path, capsys, monkeypatch, code, value):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(result_files.ResultFiles, '_write_sheet', refuse)
    if code == errno.EACCES:
        monkeypatch.setattr(result_files.ResultFiles, '_write_sheet', lambda *args: monkeypatch.setattr(
            'tempfile.TemporaryFile', refuse) or refuse())
    assert run(photos, '--detector', 'none', names=['pose-17']) == 1
    out, err = capsys.readouterr()
    assert f'a.png: {os.strerror(code)}' in err
    assert out.startswith('0 images in ')
    assert value in out
    assert '--resume' in out
    assert '1 could not be written' in out


def test_an_unwritable_meta(run, photos, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(meta, 'replacing', refuse)
    assert run(photos, '--detector', 'none', names=['pose-17']) == 2
    line, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('sapiens-mm')]
    assert line.endswith('meta.json cannot be written: No space left on device')


def test_summary(photos, tmp_path, write_video, capsys):
    clip = write_video(tmp_path / 'clip.mp4', frames=2)
    args = ['run', str(photos / 'a.png'), str(clip), '--size', 'tiny', '--device', 'cpu', '--tasks', 'pose-17',
            '--save', 'json', '--out', str(tmp_path / 'out')]
    assert main([*args, '--detector', 'none']) == 0
    assert capsys.readouterr().out == f'1 image and 2 frames in {tmp_path / "out"}\n'
    assert main([*args, '--score-threshold', '1']) == 0
    assert capsys.readouterr().out == f'1 image and 2 frames in {tmp_path / "out"}, no people in 3 of them\n'
    (tmp_path / 'out/clip.mp4.json').unlink()
    assert main([*args, '--detector', 'none', '--resume']) == 0
    assert capsys.readouterr().out == f'2 frames in {tmp_path / "out"}, 1 input done before\n'
    assert main([*args, '--detector', 'none', '--resume']) == 0
    assert main(['run', str(photos / 'a.png'), *args[3:-1], str(tmp_path / 'other'), '--score-threshold', '1']) == 0
    assert capsys.readouterr().out.endswith(f'1 image in {tmp_path / "other"}, no people in it\n')
    assert main(['run', str(photos / 'a.png'), *args[3:-1], str(tmp_path / 'other'), '--resume']) == 0
    assert capsys.readouterr().out.startswith('the only input is done in ')
