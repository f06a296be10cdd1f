"""The web page: its models, its server with requests that no browser sends, and the page in a headless browser."""
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from sapiens_mm.apis.app import App, _exit_on_signals, find_examples
from sapiens_mm.apis.models import load_model, save_model
from sapiens_mm.apis.sources import InputError
from sapiens_mm_cli import main

CHROMIUM = {name: shutil.which(name) for name in ('chromium', 'chromedriver')}


@pytest.fixture(scope='module')
def app(small_models):
    return App([tuple(map(str, small_models[name])) for name in ('pose-17', 'multi')], 'cpu', None, max_frames=10)


def write_photo(path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (180, 240), interpolation=cv2.INTER_LINEAR))
    return path


@pytest.fixture
def photo(tmp_path):
    return write_photo(tmp_path / 'photo.png')


def broken_files(folder, write_video):
    """File -> offending value in its error."""
    (folder / 'text.png').write_text('no image')
    (folder / 'nothing.jpg').touch()
    cv2.imwrite(str(folder / 'large.png'), np.zeros((8000, 6000), np.uint8))
    cv2.imwrite(str(folder / 'whole.jpg'), np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8))
    (folder / 'cut.jpg').write_bytes((folder / 'whole.jpg').read_bytes()[:2000])
    (folder / 'text.mp4').write_text('no video')
    write_video(folder / 'long.mp4', frames=11)
    return {'text.png': '', 'nothing.jpg': '', 'cut.jpg': '', 'text.mp4': '', 'large.png': '6000 x 8000',
            'long.mp4': '10 frames'}


def test_files_that_cannot_be_used_are_named_without_their_folder(app, tmp_path, write_video):
    for name, value in broken_files(tmp_path, write_video).items():
        with pytest.raises(InputError) as error:
            app.run(str(tmp_path / name), tmp_path, 'own', ['seg'])
        assert value in str(error.value)
        assert str(error.value).startswith(f'{name}: ')
        assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['0', '*.png', '[p]hoto.png', '', '.', '..', 'link.png', 'missing.png', 'folder',
                                  'http://127.0.0.1:1/a.png', 'concat:photo.png', 'photo.png/', 'photo.png\x00'])
def test_a_path_is_a_file_and_nothing_else(app, photo, monkeypatch, name):
    monkeypatch.chdir(photo.parent)
    (photo.parent / 'link.png').symlink_to(photo)
    (photo.parent / 'folder').mkdir()
    for path in (name, f'{photo.parent}/{name}'):
        with pytest.raises(InputError) as error:
            app.run(path, photo.parent, 'own', ['seg'])
        assert f'{photo.parent}' not in str(error.value)


@pytest.mark.parametrize(('name', 'limits', 'value'), [
    ('photo.png', dict(max_pixels=180 * 240 - 1), '180 x 240'),
    ('clip.mp4', dict(max_pixels=64 * 48 - 1), '64 x 48'),
    ('clip.mp4', dict(max_frames=3), '3 frames'),
    ('clip.mp4', dict(max_video_pixels=4 * 64 * 48 - 1), 'million pixels'),
    ('clip.mkv', dict(max_frames=3), '3 frames')])
def test_limits_are_checked_before_anything_is_decoded(app, photo, write_video, monkeypatch, name, limits, value):
    clip = write_video(photo.with_name('clip.mp4'), frames=4)
    if name == 'clip.mkv':  # which does not say how many frames it has
        import av
        with av.open(str(clip)) as source, av.open(str(photo.with_name(name)), 'w') as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    path = str(photo.with_name(name))
    assert app.run(path, photo.parent, 'own', ['seg']).json
    for limit, number in limits.items():
        monkeypatch.setattr(app, limit, number)
    monkeypatch.setattr(app, '_load', lambda *args: pytest.fail('models are loaded'))
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda *args: pytest.fail('the image is decoded'))
    monkeypatch.setattr('sapiens_mm.apis.frames._read_video', lambda *args: pytest.fail('the video is decoded'))
    with pytest.raises(InputError, match=value):
        app.run(path, photo.parent, 'own', ['seg'])


def test_limits_hold_where_a_header_says_less(app, photo, write_video, monkeypatch):
    clip = str(write_video(photo.with_name('clip.mp4'), frames=4))
    monkeypatch.setattr('sapiens_mm.apis.app.pixels_of', lambda source: (1, 1, 1))
    for limit, value in (('max_pixels', 64 * 48 - 1), ('max_frames', 3), ('max_video_pixels', 4 * 64 * 48 - 1)):
        with monkeypatch.context() as patch:
            patch.setattr(app, limit, value)
            with pytest.raises(InputError, match='clip.mp4'):
                app.run(clip, photo.parent, 'own', ['seg'])
    assert app.run(clip, photo.parent, 'own', ['seg']).summary.startswith('4 frames')


@pytest.mark.parametrize(('change', 'value'), [
    (dict(tasks=[]), 'tasks'),
    (dict(kinds=['gif']), 'gif'),
])
def test_choices_that_cannot_be(app, photo, change, value):
    with pytest.raises(ValueError, match=value):
        app.run(str(photo), photo.parent, **{**dict(size='own', tasks=['seg']), **change})


@pytest.mark.parametrize(('args', 'value'), [
    (['--checkpoint', 'nowhere.pth'], 'nowhere.pth'),
    (['--config', 'a.py'], '--config'),
    (['--save', 'gif'], 'gif'),
    (['--examples', 'nowhere'], 'nowhere'),
])
def test_wrong_arguments_print_one_line(capsys, args, value):
    pytest.importorskip('gradio')
    assert main(['app', *args]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith('sapiens-mm: ')
    assert value in err


def test_signals_exit(monkeypatch):
    handlers = {}
    monkeypatch.setattr(signal, 'getsignal', lambda number: signal.SIG_DFL)
    monkeypatch.setattr(signal, 'signal', handlers.__setitem__)
    _exit_on_signals()
    for number in (signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(SystemExit, match=str(128 + number)):
            handlers[number](number, None)


def test_an_image(app, photo):
    outcome = app.run(str(photo), photo.parent, 'own', app.tasks('own'), keypoint_threshold=0.,
                    kinds=['png', 'overlay', 'video'])
    assert list(outcome.images) == ['overlay', 'pose', 'parts', 'depth', 'normal', 'sheet']
    image = cv2.imread(str(photo))[..., ::-1]
    assert all((drawing != image).any() for name, drawing in outcome.images.items() if name != 'sheet')
    assert outcome.summary.startswith('1 person, 180 x 240 pixels')
    assert outcome.video is None
    assert outcome.legend
    assert outcome.json['image']['file'] == 'photo.png'
    with zipfile.ZipFile(outcome.archive) as archive:
        assert sorted(archive.namelist()) == ['meta.json', *(f'photo.png.{ending}' for ending in (
            'depth.png', 'json', 'normal.png', 'overlay.jpg', 'parts.png'))]
        assert json.loads(archive.read('photo.png.json'))['instances'] == outcome.json['instances']


def test_some_tasks_with_the_same_models(app, photo):
    first = app.run(str(photo), photo.parent, 'own', ['pose-17', 'depth'])
    assert list(first.images) == ['overlay', 'pose', 'depth', 'sheet']
    everything = app.run(str(photo), photo.parent, 'own', app.tasks('own'))
    again = app.run(str(photo), photo.parent, 'own', ['depth', 'pose-17'])
    assert again.json == first.json == everything.json
    np.testing.assert_array_equal(again.images['depth'], first.images['depth'])


def test_a_video(app, tmp_path, write_video):
    done = []
    outcome = app.run(str(write_video(tmp_path / 'clip.mp4', frames=4)), tmp_path, 'own', ['pose-17', 'seg'],
                    kinds=['video'], progress=done.append)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert outcome.json['image'] == dict(file='clip.mp4', width=64, height=48, frame=2, time=.2)
    assert outcome.summary.startswith('4 frames; images and JSON show frame 2: 1 person')
    assert os.path.getsize(outcome.video)
    with zipfile.ZipFile(outcome.archive) as archive:
        assert 'clip.mp4.overlay.mp4' in archive.namelist()
        assert json.loads(archive.read('clip.mp4.json'))['video']['frames'] == 4


def test_models_are_loaded_when_they_are_asked_for_and_kept(monkeypatch, small_models, photo):
    loads = []

    def load(size, task, **kwargs):
        loads.append(task)
        return load_model(small_models[task][1], small_models[task][0], **kwargs)

    monkeypatch.setattr('sapiens_mm.apis.models.load_released', load)
    app = App(device='cpu', detector=None)
    assert 'seg' in app.tasks('1b')
    assert 'seg' not in app.tasks('2b')
    for tasks in (['parts'], ['seg'], ['seg', 'depth'], ['depth']):
        app.run(str(photo), photo.parent, '1b', tasks)
    assert loads == ['seg', 'seg', 'depth']
    with pytest.raises(ValueError, match='pose-308'):
        app.run(str(photo), photo.parent, '1b', ['pose-17', 'pose-308'])


def test_people_of_low_scores_are_left_out(small_models, photo):
    app = App([tuple(map(str, small_models['pose-17']))], 'cpu',
              lambda frames: [np.array([[10, 10, 90, 200, .9], [100, 10, 170, 200, .2]], np.float32)] * len(frames))
    assert len(app.run(str(photo), photo.parent, 'own', ['pose-17'], whole=False).json['instances']) == 1
    assert len(app.run(str(photo), photo.parent, 'own', ['pose-17'], False, .1).json['instances']) == 2
    assert len(app.run(str(photo), photo.parent, 'own', ['pose-17'], whole=True).json['instances']) == 1


def test_the_embedded_model(monkeypatch, small_models, tmp_path, photo):
    monkeypatch.setattr('sapiens_mm.apis.model_zoo.EMBEDDED', tmp_path)
    save_model(load_model(small_models['multi'][1], small_models['multi'][0]), tmp_path / 'dense.safetensors')
    app = App(device='cpu', detector=None)
    assert app.sizes()[0] == 'tiny'
    assert sorted(app.tasks('tiny')) == ['depth', 'normal', 'seg']
    assert list(app.run(str(photo), photo.parent, 'tiny', ['normal']).images) == ['overlay', 'normal', 'sheet']


def test_examples_of_a_folder(photo, write_video):
    write_video(photo.with_name('a.mp4'))
    assert find_examples(str(photo.parent)) == [str(photo)]


def test_synthetic_examples_are_drawn_into_the_cache(monkeypatch, tmp_path):
    generate = pytest.importorskip('sapiens_mm.synth.generate')

    def draw(folder, num, settings):
        (folder / 'images').mkdir(parents=True)
        for i in range(num):
            cv2.imwrite(str(folder / f'images/{i}.png'), np.zeros((*settings.size, 3), np.uint8))
            yield i, {}

    monkeypatch.setattr(generate, 'generate', draw)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert find_examples(None, 2) == [str(tmp_path / f'sapiens_mm/examples/images/{i}.png') for i in range(2)]


class Page:
    """A process that serves the page: its address, and the folder of its files."""

    def __init__(self, folder, models, examples='none'):
        self.folder, self.log = folder / 'gradio', folder / 'log.txt'
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        self.address = f'http://127.0.0.1:{port}'
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'sapiens_mm', 'app', *models, '--device', 'cpu', '--detector', 'none', '--port',
                 str(port), '--examples', examples, '--max-frames', '10', '--max-upload', '1'], stdout=log,
                stderr=subprocess.STDOUT, env={**os.environ, 'GRADIO_TEMP_DIR': str(self.folder)})

    def wait(self):
        while 'the page is at ' not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(.1)
        return self

    def end(self, number):
        """Ends the process by a signal, after which none of its files is left, and no traceback in its log."""
        self.process.send_signal(number)
        self.process.wait(60)
        assert 'Traceback' not in self.log.read_text()
        assert not files_below(self.folder)


@pytest.fixture(scope='module')
def page(small_models, tmp_path_factory):
    pytest.importorskip('gradio')
    folder = tmp_path_factory.mktemp('page')
    (folder / 'examples').mkdir()
    write_photo(folder / 'examples/example.png')
    models = [str(value) for name in ('pose-17', 'multi') for value in
              ('--config', small_models[name][0], '--checkpoint', small_models[name][1])]
    page = Page(folder, models, str(folder / 'examples'))
    try:
        yield page.wait()
        page.end(signal.SIGINT)
    finally:
        page.process.kill()


class Client:
    """A client of the page by plain HTTP."""

    def __init__(self, address):
        self.host, self.session, self.cookie = address.removeprefix('http://'), secrets.token_hex(6), None

    def ask(self, method, path, body=None, kind='application/json'):
        """Returns status and content of an answer."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        headers = {'Content-Type': kind, **({'Cookie': self.cookie} if self.cookie else {})}
        connection.request(method, path, body if isinstance(body, (bytes, type(None))) else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.getheader('Set-Cookie'):
            self.cookie = answer.getheader('Set-Cookie').partition(';')[0]
        return answer.status, content

    def upload(self, path):
        body = (f'--x\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'.encode()
                + path.read_bytes() + b'\r\n--x--\r\n')
        status, content = self.ask('POST', '/gradio_api/upload', body, 'multipart/form-data; boundary=x')
        return json.loads(content)[0] if status == 200 else (status, content)

    def join(self, image, video=None, **changes):
        function, = (function['id'] for function in json.loads(self.ask('GET', '/config')[1])['dependencies']
                     if function['api_name'] == 'run')
        data = [image, video, None, 'own', ['pose-17', 'seg'], True, .3, .3, ['overlay']]
        return self.ask('POST', '/gradio_api/queue/join', {
            **dict(data=data, fn_index=function, trigger_id=None, session_hash=self.session), **changes})

    def events(self):
        content = self.ask('GET', f'/gradio_api/queue/data?session_hash={self.session}')[1]
        return [json.loads(line[6:]) for line in content.decode().splitlines() if line.startswith('data: ')]

    def run(self, image, video=None, **changes):
        """Returns success and output (or error) of a run, or status and content of a refusal."""
        status, content = self.join(image, video, **changes)
        if status != 200:
            return status, content
        event, = (event for event in self.events() if event['msg'] == 'process_completed')
        return event['success'], event['output']


def as_file(path, meta=True, **more):
    return dict(path=path, **more, **(dict(meta={'_type': 'gradio.FileData'}) if meta else {}))


def files_below(folder):
    return sorted(str(path) for path in folder.rglob('*') if path.is_file())


REFUSAL = 403, (b'{"detail":"this file was not received from this page, or is no longer kept; upload it again"}')


def test_a_request_may_name_only_its_own_uploads(page, photo, tmp_path):
    client, other = Client(page.address), Client(page.address)
    secret = tmp_path / 'secret.png'
    cv2.imwrite(str(secret), np.zeros((9, 8, 3), np.uint8))
    link = page.folder / 'link.png'
    link.symlink_to(secret)
    other_upload = other.upload(photo)
    path = client.upload(photo.with_name('photo.png'))
    assert isinstance(path, str)
    os.rename(photo, photo.with_name('other.png'))
    upload = client.upload(photo.with_name('other.png'))
    folder = os.path.dirname(upload)
    hostile = [
        str(secret), str(tmp_path / 'missing.png'), 'secret.png', 'missing.png', os.path.relpath(secret),
        '/etc/passwd', f'{folder}/../../../secret.png', f'{folder}/../{os.path.basename(folder)}/other.png', str(link),
        folder, str(tmp_path), '/', '.', '', f'{folder}/*', f'{tmp_path}/*.png', f'{folder}/[o]ther.png', '~', '0', '1',
        0, True, None, [upload], f'{upload}/', f'/{upload}', f'{upload}\x00.png', 'http://127.0.0.1:1/a.png',
        'file:///etc/passwd', f'file={upload}', 'concat:/etc/passwd', '/dev/zero', '/proc/self/environ', 'x' * 5000]
    for entry in hostile:
        for meta in (True, False):
            assert client.run(as_file(entry, meta)) == REFUSAL, entry
            assert client.run(None, as_file(entry, meta)) == REFUSAL, entry
        assert client.run(as_file(entry, url=upload, orig_name='a.png')) == REFUSAL, entry
    stranger = Client(page.address)
    for meta in (True, False):
        assert stranger.run(as_file(upload, meta)) == REFUSAL
        assert stranger.run(as_file(other_upload, meta)) == REFUSAL
    for entry in (str(secret), upload, [upload], {'url': upload}, 0, [as_file(upload)], {'video': as_file(upload)}):
        assert client.run(entry) == REFUSAL
    for changes in (dict(fn_index='1'), dict(fn_index=None), dict(data=None), dict(session_hash=None), dict(data={})):
        assert client.run(as_file(upload), **changes) == REFUSAL
    for body in (b'', b'[' * 100_000, b'null', b'{"data": [', b'\xff', b' ' * (2**20 + 1)):
        assert client.ask('POST', '/gradio_api/queue/join', body) == REFUSAL
    # Other routes of Gradio.
    for way in ('run/predict', 'run/run', 'api/run', 'call/run', 'call/v2/run', 'component_server', 'stream/x'):
        status, _ = client.ask('POST', f'/gradio_api/{way}', dict(
            data=[as_file(str(secret)), None], fn_index=0, session_hash=client.session))
        assert status == 403, way
    for target in (str(secret), str(tmp_path / 'missing.png'), '/etc/passwd', folder, str(link), f'{folder}/../../x',
                   str(page.folder), other_upload.replace('photo', 'missing')):
        for prefix in ('/gradio_api/file=', '/file=', '/gradio_api/file/', '/gradio_api/proxy='):
            assert client.ask('GET', f'{prefix}{target}') == REFUSAL
    assert stranger.ask('GET', f'/gradio_api/file={upload}') == REFUSAL
    assert client.ask('GET', f'/gradio_api/file={upload}') == (200, (photo.parent / 'other.png').read_bytes())
    for meta in (True, False):
        success, output = client.run(as_file(client.upload(photo.with_name('other.png')), meta))
        assert success is True, output
    link.unlink()


def test_results_are_those_of_the_client_and_go_with_it(page, photo, tmp_path, write_video):
    client, stranger = Client(page.address), Client(page.address)
    stranger.ask('GET', '/config')
    before = files_below(page.folder)
    upload = client.upload(photo)
    success, output = client.run(as_file(upload))
    assert success is True, output
    results = [path for path in files_below(page.folder) if path not in before]
    assert {os.path.basename(path) for path in results} == {
        'overlay.jpeg', 'pose.jpeg', 'parts.jpeg', 'sheet.jpeg', 'photo.png.sapiens.zip'}  # the upload is gone
    named = [path for path in results if json.dumps(path)[1:-1] in json.dumps(output)]
    assert named == results
    for path in results:
        assert stranger.ask('GET', f'/gradio_api/file={path}') == REFUSAL
        status, content = client.ask('GET', f'/gradio_api/file={path}')
        assert (status, content) == (200, Path(path).read_bytes())
    session = client.session
    stranger.session = session
    for way in (f'queue/data?session_hash={session}', f'heartbeat/{session}'):
        assert stranger.ask('GET', f'/gradio_api/{way}') == REFUSAL
    for way in ('cancel', 'reset', 'queue/join'):
        assert stranger.ask('POST', f'/gradio_api/{way}', dict(
            session_hash=session, event_id='', fn_index=0, data=[])) == REFUSAL
    assert client.run(as_file(upload)) == REFUSAL

    # A failed run leaves no files, neither its own nor those of the run before.
    broken = broken_files(tmp_path, write_video)
    for name, value in broken.items():
        kind = 'video' if name.endswith('.mp4') else 'image'
        client.ask('POST', '/gradio_api/queue/join', choose_tab(client, kind))
        client.events()
        file = as_file(client.upload(tmp_path / name))
        success, output = client.run(*((None, file) if kind == 'video' else (file, None)))
        assert success is False, (name, output)
        assert output['error'].startswith(f'{name}: ')
        assert value in output['error']
        assert files_below(page.folder) == before


def choose_tab(client, kind):
    """Returns the request that chooses the input of a run."""
    functions = json.loads(client.ask('GET', '/config')[1])['dependencies']
    first = next(function['id'] for function in functions if function['targets'][0][1] == 'select')
    return dict(data=[], fn_index=first + (kind == 'video'), session_hash=client.session)


def test_choices_that_the_page_does_not_offer(page, photo):
    client = Client(page.address)
    data = ['own', ['seg'], True, .3, .3, []]
    for place, value in ((0, '1b'), (0, 5), (1, ['hair']), (1, 'seg'), (1, [['seg']]), (2, 'yes'), (3, '1'),
                         (3, 1e400), (4, None), (5, ['gif']), (5, '..')):
        changed = [*data[:place], value, *data[place + 1:]]
        success, output = client.run(None, data=[as_file(client.upload(photo)), None, None, *changed])
        assert success is False, output
        assert 'values' in output['error']


def test_uploads_that_are_too_large(page, photo, tmp_path):
    client = Client(page.address)
    (tmp_path / 'huge.png').write_bytes(bytes(2**20 + 2**19))
    status, content = client.upload(tmp_path / 'huge.png')
    assert status == 413
    assert b'size' in content


def test_runs_that_wait_are_bounded_and_can_be_canceled(page, photo, tmp_path):
    client, other, third = Client(page.address), Client(page.address), Client(page.address)
    example = example_of(client)
    path = other.upload(photo)
    third.ask('GET', '/config')
    with ThreadPoolExecutor(24) as pool:  # faster than any run
        status = list(pool.map(lambda _: client.join(as_file(example))[0], range(24)))
        assert set(status) == {200, 429}  # half of the places
        asked = [client, other, third] * 8
        status += pool.map(lambda one: one.join(as_file(example))[0], asked)
    assert set(status) == {200, 429, 503}
    for one in {client, *(one for one, answer in zip(asked, status[24:], strict=True) if answer == 200)}:
        one.events()  # until all are done
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: client.join(as_file(example)), range(6)))
    status, content = other.join(as_file(path))
    assert status == 200
    assert other.ask('POST', '/gradio_api/cancel', dict(
        session_hash=other.session, fn_index=0, event_id=json.loads(content)['event_id']))[0] == 200
    deadline = time.monotonic() + 60
    while os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(.1)
    assert not os.path.exists(path)
    assert os.path.exists(example)
    client.events()


def test_a_signal_ends_the_page_and_removes_its_files(small_models, photo, tmp_path):
    pytest.importorskip('gradio')
    page = Page(tmp_path, ['--config', str(small_models['depth'][0]), '--checkpoint', str(small_models['depth'][1])])
    try:
        Client(page.wait().address).upload(photo)
        assert files_below(page.folder)
        page.end(signal.SIGTERM)
    finally:
        page.process.kill()


def example_of(client):
    """Returns the path of the page's example, as a click on it does."""
    config = json.loads(client.ask('GET', '/config')[1])
    click = next(function for function in config['dependencies'] if function['api_name'] == 'load_example')
    status, content = client.ask('POST', '/gradio_api/run/load_example', dict(
        data=[0], fn_index=click['id'], session_hash=client.session))
    assert status == 200
    return json.loads(content)['data'][0]['value']['path']


def test_examples_of_the_page_can_be_run(page, photo):
    client = Client(page.address)
    example = example_of(client)
    assert client.ask('GET', f'/gradio_api/file={example}')[0] == 200
    for _ in range(2):
        success, output = client.run(as_file(example))
        assert success is True, output

    # An upload with the example's name and content is another file.
    path = client.upload(photo.rename(photo.with_name('example.png')))
    assert path != example
    assert client.run(as_file(path), None, data=[
        as_file(path), None, None, 'own', ['hair'], True, .3, .3, []])[0] is False
    assert not os.path.exists(path)
    assert os.path.exists(example)
    assert Client(page.address).run(as_file(example))[0] is True


@pytest.fixture
def browser(tmp_path):
    webdriver = pytest.importorskip('selenium.webdriver')
    if None in CHROMIUM.values():
        pytest.skip('needs chromium and chromedriver')
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM['chromium']
    for flag in ('headless', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-sync',
                 'disable-background-networking', 'disable-component-update', 'window-size=1400,1300',
                 'use-fake-device-for-media-stream', 'use-fake-ui-for-media-stream',  # a webcam
                 f'user-data-dir={tmp_path / "profile"}'):
        options.add_argument(f'--{flag}')
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    driver = webdriver.Chrome(options, webdriver.ChromeService(CHROMIUM['chromedriver']))
    yield driver
    driver.quit()


@pytest.mark.slow
def test_in_a_browser(page, browser, app, photo, tmp_path, write_video):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def find(selector):
        return WebDriverWait(browser, 60).until(lambda _: [
            element for element in browser.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()])[0]

    def upload(kind, path):
        WebDriverWait(browser, 60).until(
            lambda _: browser.find_elements(By.CSS_SELECTOR, f'#{kind} input[type=file]'))[0].send_keys(str(path))
        WebDriverWait(browser, 60).until(lambda _: browser.find_elements(
            By.CSS_SELECTOR, f'#{kind} [src*="{path.name}"]'))
        find('#run').click()

    def choose(tab):
        next(button for button in browser.find_elements(By.CSS_SELECTOR, 'button[role=tab]')
             if button.text == tab).click()

    browser.get(page.address)
    assert find('.gallery img')  # an example

    # The keypoints are drawn on the screen.
    upload('image', photo)
    assert find('#summary p').text.startswith('1 person, 180 x 240 pixels')
    choose('Pose')
    find('#pose img')
    time.sleep(1)
    image = cv2.imread(str(photo))
    expected = app.run(str(photo), photo.parent, 'own', app.tasks('own')).images['pose'][..., ::-1]
    drawn = np.abs(expected.astype(int) - image).max(axis=-1) > 30
    assert .01 < drawn.mean() < .9
    seen = cv2.imdecode(np.frombuffer(find('#pose img').screenshot_as_png, np.uint8), cv2.IMREAD_COLOR)
    # Small images are centered at their own size.
    top, left = (np.array(seen.shape[:2]) - image.shape[:2]) // 2
    seen = seen[top:top + len(image), left:left + image.shape[1]].astype(int)
    assert np.abs(seen - expected)[drawn].mean() < 25 < 50 < np.abs(seen - image)[drawn].mean()
    assert find('#zip').is_enabled()

    # A broken file gives a message.
    for name, value in broken_files(tmp_path, write_video).items():
        browser.get(page.address)
        kind = 'video' if name.endswith('.mp4') else 'image'
        if kind == 'video':
            find('#image')
            choose('Video')
        upload(kind, tmp_path / name)
        message = find('.toast-body').text
        assert f'{name}: ' in message
        assert value in message
        assert 'Traceback' not in browser.page_source

    browser.get(page.address)
    find('#image [aria-label="Capture from camera"]').click()
    find('#image [title="grant webcam access"] button').click()
    find('#image [aria-label="capture photo"]').click()
    WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, '#image img[src*="/file="]'))
    find('#run').click()
    assert find('#summary p').text.startswith('1 person, ')

    browser.get(page.address)
    find('#image')
    choose('Video')
    upload('video', write_video(tmp_path / 'clip.mp4', frames=4))
    assert find('#summary p').text.startswith('4 frames')
    assert find('#clip video')

    asked = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    asked = {entry['params']['request']['url'] for entry in asked if entry['method'] == 'Network.requestWillBeSent'}
    assert page.address + '/' in asked
    assert not [url for url in asked if not url.startswith((page.address, 'data:', 'blob:', 'chrome:'))]
