"""The page: what runs behind it, and the page itself in a headless browser."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile

import cv2
import numpy as np
import pytest

from sapiens_mm.apis.app import App, find_examples
from sapiens_mm.apis.models import load_model, save_model
from sapiens_mm.apis.reading import InputError
from sapiens_mm_cli import main

CHROMIUM = {name: shutil.which(name) for name in ('chromium', 'chromedriver')}


@pytest.fixture
def app(small_models):
    return App([tuple(map(str, small_models[name])) for name in ('pose-17', 'multi')], 'cpu', None, max_frames=10)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.png'
    noise = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (180, 240), interpolation=cv2.INTER_LINEAR))
    return path


def broken_files(folder, write_video):
    """File -> what is said about it."""
    (folder / 'text.png').write_text('no image')
    (folder / 'nothing.jpg').touch()
    cv2.imwrite(str(folder / 'large.png'), np.zeros((8000, 6000), np.uint8))
    cv2.imwrite(str(folder / 'whole.jpg'), np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8))
    (folder / 'cut.jpg').write_bytes((folder / 'whole.jpg').read_bytes()[:2000])
    (folder / 'text.mp4').write_text('no video')
    write_video(folder / 'long.mp4', frames=11)
    return {'text.png': 'this is no image', 'nothing.jpg': 'the file is empty', 'cut.jpg': 'truncated',
            'large.png': '6000 x 8000 pixels, more than 40 million', 'text.mp4': 'this is no video, or it is cut off',
            'long.mp4': 'more than 10 frames'}


def test_files_that_cannot_be_used_are_named_without_their_folder(app, tmp_path, write_video):
    for name, says in broken_files(tmp_path, write_video).items():
        with pytest.raises(InputError, match=says) as error:
            app.run(str(tmp_path / name), 'own', ['parts'])
        assert str(error.value).startswith(f'{name}: ')
        assert '\n' not in str(error.value)


@pytest.mark.parametrize(('change', 'says'), [
    (dict(tasks=[]), 'choose a task'),
    (dict(kinds=['gif']), "'gif' cannot be saved"),
])
def test_choices_that_cannot_be(app, photo, change, says):
    with pytest.raises(ValueError, match=says):
        app.run(str(photo), **{**dict(size='own', tasks=['parts']), **change})


@pytest.mark.parametrize(('args', 'says'), [
    (['--checkpoint', 'nowhere.pth'], 'nowhere.pth'),
    (['--config', 'a.py'], 'there are 1 --config and 0 --checkpoint'),
    (['--save', 'gif'], "'gif' cannot be saved"),
    (['--examples', 'nowhere'], "there is no 'nowhere'"),
])
def test_wrong_arguments_are_said_in_a_line(capsys, args, says):
    pytest.importorskip('gradio')
    assert main(['app', *args]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith('sapiens-mm: ')
    assert says in err


def test_an_image(app, photo):
    found = app.run(str(photo), 'own', app.tasks('own'), keypoint_threshold=0., kinds=['png', 'overlay', 'video'])
    assert list(found.pictures) == ['overlay', 'pose', 'parts', 'depth', 'normals', 'sheet']
    image = cv2.imread(str(photo))[..., ::-1]
    assert all((picture != image).any() for name, picture in found.pictures.items() if name != 'sheet')
    assert found.summary.startswith('1 person, 180 x 240 pixels')
    assert found.video is None
    assert found.legend
    assert found.json['image']['file'] == 'photo.png'
    with zipfile.ZipFile(found.archive) as archive:
        assert sorted(archive.namelist()) == ['meta.json', *(f'photo.png.{ending}' for ending in (
            'depth.png', 'json', 'normal.png', 'overlay.jpg', 'parts.png'))]
        assert json.loads(archive.read('photo.png.json'))['instances'] == found.json['instances']


def test_some_tasks_with_the_same_models(app, photo):
    first = app.run(str(photo), 'own', ['pose-17', 'depth'])
    assert list(first.pictures) == ['overlay', 'pose', 'depth', 'sheet']
    everything = app.run(str(photo), 'own', app.tasks('own'))
    again = app.run(str(photo), 'own', ['depth', 'pose-17'])
    assert again.json == first.json == everything.json
    np.testing.assert_array_equal(again.pictures['depth'], first.pictures['depth'])


def test_a_video(app, tmp_path, write_video):
    done = []
    found = app.run(str(write_video(tmp_path / 'clip.mp4', frames=4)), 'own', ['pose-17', 'parts'], kinds=['video'],
                    progress=done.append)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.json['image'] == dict(file='clip.mp4', width=64, height=48, frame=2, time=.2)
    assert found.summary.startswith('4 frames; pictures and JSON are of frame 2: 1 person')
    assert os.path.getsize(found.video)
    with zipfile.ZipFile(found.archive) as archive:
        assert 'clip.mp4.overlay.mp4' in archive.namelist()
        assert json.loads(archive.read('clip.mp4.json'))['video']['frames'] == 4


def test_models_are_loaded_when_they_are_asked_for_and_kept(monkeypatch, small_models, photo):
    loads = []

    def load(size, task, **kwargs):
        loads.append(task)
        return load_model(small_models[task][1], small_models[task][0], **kwargs)

    monkeypatch.setattr('sapiens_mm.apis.inferencer.load_released', load)
    app = App(device='cpu', detector=None)
    assert 'parts' in app.tasks('1b')
    assert 'parts' not in app.tasks('2b')
    for tasks in (['parts'], ['parts'], ['parts', 'depth'], ['depth']):
        app.run(str(photo), '1b', tasks)
    assert loads == ['parts', 'parts', 'depth']
    with pytest.raises(ValueError, match='one kind of keypoints'):
        app.run(str(photo), '1b', ['pose-17', 'pose-308'])


def test_people_of_low_scores_are_left_out(small_models, photo):
    app = App([tuple(map(str, small_models['pose-17']))], 'cpu',
              lambda frames: [np.array([[10, 10, 90, 200, .9], [100, 10, 170, 200, .2]], np.float32)] * len(frames))
    assert len(app.run(str(photo), 'own', ['pose-17'], whole=False).json['instances']) == 1
    assert len(app.run(str(photo), 'own', ['pose-17'], False, .1).json['instances']) == 2
    assert len(app.run(str(photo), 'own', ['pose-17'], whole=True).json['instances']) == 1


def test_the_embedded_model(monkeypatch, small_models, tmp_path, photo):
    monkeypatch.setattr('sapiens_mm.apis.models.EMBEDDED', tmp_path)
    save_model(load_model(small_models['multi'][1], small_models['multi'][0]), tmp_path / 'dense.safetensors')
    app = App(device='cpu', detector=None)
    assert app.sizes()[0] == 'tiny'
    assert sorted(app.tasks('tiny')) == ['depth', 'normal', 'parts']
    assert list(app.run(str(photo), 'tiny', ['normal']).pictures) == ['overlay', 'normals', 'sheet']


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


@pytest.fixture
def page(small_models, photo, tmp_path):
    """The address of the page, and a function that ends it and gives what it printed."""
    pytest.importorskip('gradio')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    models = [str(value) for name in ('pose-17', 'multi') for value in
              ('--config', small_models[name][0], '--checkpoint', small_models[name][1])]
    process = subprocess.Popen(
        [sys.executable, '-m', 'sapiens_mm', 'app', *models, '--device', 'cpu', '--detector', 'none', '--port',
         str(port), '--examples', str(photo.parent), '--max-frames', '10'], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, 'GRADIO_TEMP_DIR': str(tmp_path / 'gradio')})
    printed = []

    def end():
        process.send_signal(signal.SIGINT)
        printed.extend(process.communicate(timeout=60)[0].splitlines())
        return '\n'.join(printed)

    try:
        for line in process.stdout:
            printed.append(line.rstrip())
            if line.startswith('the page is at '):
                break
        else:
            pytest.fail('\n'.join(printed))
        yield f'http://127.0.0.1:{port}', end
    finally:
        process.kill()


@pytest.fixture
def browser(tmp_path):
    webdriver = pytest.importorskip('selenium.webdriver')
    if None in CHROMIUM.values():
        pytest.skip('there is no chromium with chromedriver')
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
    address, end = page

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

    browser.get(address)
    assert find('.gallery img')  # an example

    # The keypoints are there, on the screen.
    upload('image', photo)
    assert find('#summary p').text.startswith('1 person, 180 x 240 pixels')
    choose('Pose')
    find('#pose img')
    time.sleep(1)
    image = cv2.imread(str(photo))
    expected = app.run(str(photo), 'own', app.tasks('own')).pictures['pose'][..., ::-1]
    drawn = np.abs(expected.astype(int) - image).max(axis=-1) > 30
    assert .01 < drawn.mean() < .9
    seen = cv2.imdecode(np.frombuffer(find('#pose img').screenshot_as_png, np.uint8), cv2.IMREAD_COLOR)
    # Small pictures are shown as they are, in the middle.
    top, left = (np.array(seen.shape[:2]) - image.shape[:2]) // 2
    seen = seen[top:top + len(image), left:left + image.shape[1]].astype(int)
    assert np.abs(seen - expected)[drawn].mean() < 25 < 50 < np.abs(seen - image)[drawn].mean()
    assert find('#zip').is_enabled()

    # A file that is broken gets a message.
    for name, says in broken_files(tmp_path, write_video).items():
        browser.get(address)
        kind = 'video' if name.endswith('.mp4') else 'image'
        if kind == 'video':
            find('#image')
            choose('Video')
        upload(kind, tmp_path / name)
        message = find('.toast-body').text
        assert f'{name}: ' in message
        assert says in message
        assert 'Traceback' not in browser.page_source

    browser.get(address)
    find('#image [aria-label="Capture from camera"]').click()
    find('#image [title="grant webcam access"] button').click()
    find('#image [aria-label="capture photo"]').click()
    WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, '#image img[src*="/file="]'))
    find('#run').click()
    assert find('#summary p').text.startswith('1 person, ')

    browser.get(address)
    find('#image')
    choose('Video')
    upload('video', write_video(tmp_path / 'clip.mp4', frames=4))
    assert find('#summary p').text.startswith('4 frames')
    assert find('#clip video')

    asked = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    asked = {entry['params']['request']['url'] for entry in asked if entry['method'] == 'Network.requestWillBeSent'}
    assert address + '/' in asked
    assert not [url for url in asked if not url.startswith((address, 'data:', 'blob:', 'chrome:'))]
    printed = end()
    assert 'Traceback' not in printed
