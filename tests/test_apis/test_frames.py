"""Tests of image and video reading."""
import contextlib
import http.server
import subprocess
import sys
import threading
import time
import warnings
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from sapiens_mm.apis import frames as module
from sapiens_mm.apis.frames import InputError, Source, has_video, pixels_of, read_frames, read_image
from sapiens_mm.apis.sources import find_sources

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def save(path, image=PIXELS, **kwargs):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **kwargs)
    return path


def read_video(path):
    return list(read_frames(Source(str(path), path.name, 'video')))


@pytest.fixture
def half_video(tmp_path, write_noise):
    """Writes a video of 60 frames and its first half; returns both paths."""
    def write(suffix, **kwargs):
        whole = write_noise(tmp_path / f'whole{suffix}', **kwargs)
        half = tmp_path / f'half{suffix}'
        half.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
        return whole, half

    return write


@pytest.mark.parametrize(('name', 'content', 'reason'), [
    ('gone.jpg', None, 'not exist'), ('text.png', b'This is no image.', 'not an image'), ('empty.jpg', b'', 'empty'),
    ('truncated.jpg', 'jpeg', 'truncated'), ('float.tif', np.zeros((4, 4), np.float32), 'floating-point')])
def test_unreadable_images(tmp_path, name, content, reason):
    path = tmp_path / name
    if isinstance(content, str):
        whole = save(tmp_path / 'whole.jpg', Image.effect_noise((300, 200), 90)).read_bytes()
        path.write_bytes(whole[:len(whole) // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save(path, content)
    with pytest.raises(InputError, match=f'{name}: .*{reason}') as error:
        read_image(str(path))
    assert '\n' not in str(error.value)


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_images_that_are_too_large(tmp_path, monkeypatch):
    assert module.MAX_PIXELS == 178_956_970  # Pillow's own limit
    monkeypatch.setattr(module, 'MAX_PIXELS', 40 * 30 - 1)
    for name, size in (('bomb', (80, 30)), ('large', (40, 30))):
        save(tmp_path / f'{name}.png', Image.new('L', size))
        with pytest.raises(InputError, match=f'{name}.png: .*million pixels'):
            read_image(str(tmp_path / f'{name}.png'))
    monkeypatch.setattr(module, 'MAX_PIXELS', None)
    assert read_image(str(tmp_path / 'bomb.png')).shape == (30, 80, 3)


@pytest.mark.parametrize('url', ['http://127.0.0.1:1/a b.jpg', 'http://127.0.0.1:1/é.jpg', 'HTTP://127.0.0.1:1/a.jpg',
                                 'Https://127.0.0.1:1/a.mp4'])
def test_unreachable_urls(url):
    source, = find_sources([url], allow_urls=True)
    with pytest.raises(InputError, match='[Rr]efused'):
        list(read_frames(source))


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.tif', 'a.webp', 'a.gif', 'a.eps', 'a'])
def test_no_image_starts_another_program(tmp_path, monkeypatch, name):
    for function in ('Popen', 'check_call'):
        monkeypatch.setattr(f'subprocess.{function}', lambda *args, **kwargs: pytest.fail(f'started {args}'))
    (tmp_path / name).write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n{} loop\n')
    with pytest.raises(InputError, match=name):
        read_image(str(tmp_path / name))
    with pytest.raises(InputError, match=name):
        list(read_frames(find_sources([tmp_path / name])[0]))
    assert pixels_of(Source(str(tmp_path / name), name)) == (0, 0, 1)


@pytest.mark.parametrize('content', ['jpeg', b'ffconcat version 1.0\nfile secret.mp4\n', b'#EXTM3U\n', b'text', b''])
def test_mp4_files_that_are_no_videos(tmp_path, content):
    path = tmp_path / 'a.mp4'
    if content == 'jpeg':
        Image.new('RGB', (64, 48)).save(path, 'JPEG')
    else:
        path.write_bytes(content)
    for read in (lambda source: list(read_frames(source)), pixels_of):
        with pytest.raises(InputError, match='a.mp4'):
            read(Source(str(path), 'a.mp4', 'video'))


@pytest.mark.parametrize('name', ['list.mp4', 'list.mkv', 'list.dat', 'list.m3u8'])
@pytest.mark.parametrize('text', [
    '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n',
    "ffconcat version 1.0\nfile '{video}'\n",
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType='
    '"video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{video}</BaseURL></Representation></AdaptationSet>'
    '</Period></MPD>', '[playlist]\nFile1={video}\n', 'v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n'])
def test_a_video_cannot_reach_other_files(tmp_path, write_video, name, text):
    video = write_video(tmp_path / 'secret.mp4')
    (tmp_path / name).write_text(text.format(video=video))
    for read in (lambda source: list(read_frames(source)), pixels_of):
        with pytest.raises(InputError, match=name):
            read(Source(str(tmp_path / name), name, 'video'))
    assert not has_video(str(tmp_path / name))


@pytest.mark.parametrize('name', ['concat:secret.mp4|secret.mp4', 'subfile,,start,0,end,0,,:secret.mp4', 'pipe:0.mp4',
                                  'data:,a.mp4', 'tcp:127.0.0.1:1.mp4', 'a%03d.mp4'])
def test_the_name_of_a_video_is_no_protocol(tmp_path, write_video, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'secret.mp4')
    with pytest.raises(InputError):
        list(read_frames(Source(name, 'a', 'video')))
    (tmp_path / name.replace('/', '')).write_bytes((tmp_path / 'secret.mp4').read_bytes())
    assert len(list(read_frames(find_sources([name])[0]))) == 5


def test_videos_without_pyav(tmp_path, monkeypatch):
    (tmp_path / 'clip.mp4').write_bytes(b'')
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(InputError, match='clip.mp4: .*pip install av'):
        read_video(tmp_path / 'clip.mp4')


def test_frames_larger_than_the_limit(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / 'a.mp4')
    monkeypatch.setattr(module, 'MAX_PIXELS', 64 * 48 - 1)
    with pytest.raises(InputError, match='a.mp4'):
        read_video(path)


@pytest.mark.parametrize('size', [300, 600])
def test_videos_truncated_before_their_first_frame(tmp_path, write_video, size):
    path = tmp_path / 'clip.mp4'
    path.write_bytes(write_video(tmp_path / 'whole.mp4', frames=4).read_bytes()[:size])
    with pytest.raises(InputError, match='clip.mp4'):
        read_video(path)


def test_videos_truncated_in_their_middle(half_video):
    whole, half = half_video('.mp4', options=dict(movflags='faststart'))
    assert len(read_video(whole)) == 60
    frames = []
    with pytest.raises(InputError, match=f'{half}: ') as error:
        frames.extend(read_frames(Source(str(half), 'half.mp4', 'video')))
    assert 10 < len(frames) < 50
    assert f'after {len(frames)} of about 60' in str(error.value)


def test_videos_without_a_duration_may_end_anywhere(half_video):
    assert 10 < len(read_video(half_video('.mkv')[1])) < 50


def test_a_camera_that_does_not_exist():
    with pytest.raises(InputError, match='camera 9999'):
        list(read_frames(Source('9999', 'camera9999', 'camera')))


def test_image_modes(tmp_path):
    gray, first = Image.fromarray(PIXELS[..., 0]), PIXELS[..., [0, 0, 0]]
    assert np.array_equal(read_image(str(save(tmp_path / 'a.png'))), PIXELS)
    assert np.array_equal(read_image(str(save(tmp_path / 'gray.png', gray))), first)
    cmyk = read_image(str(save(tmp_path / 'cmyk.jpg', Image.new('CMYK', (8, 9), (0, 255, 255, 0)), quality=100)))
    assert cmyk.shape == (9, 8, 3)
    assert (cmyk[0, 0] > [200, -1, -1]).all()
    assert (cmyk[0, 0, 1:] < 60).all()
    deep = (PIXELS[..., 0].astype(np.uint16) << 8) + 77
    assert np.array_equal(read_image(str(save(tmp_path / 'deep.png', deep))), first)
    clear = Image.new('RGBA', (8, 9), (255, 0, 0, 0))
    assert (read_image(str(save(tmp_path / 'clear.png', clear))) == 255).all()
    assert (read_image(str(save(tmp_path / 'half.png', Image.new('RGBA', (8, 9), (0, 0, 0, 128))))) == 127).all()
    palette = Image.fromarray(PIXELS).quantize(256)
    assert read_image(str(save(tmp_path / 'palette.gif', palette))).shape == PIXELS.shape


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    assert np.array_equal(read_image(str(save(tmp_path / 'a.png', exif=exif))), np.rot90(PIXELS, -1))


def test_a_large_image_gives_no_warning(tmp_path, recwarn):
    Image.new('L', (12000, 9000), 7).save(tmp_path / 'large.png', compress_level=1)
    image = read_image(str(tmp_path / 'large.png'))
    assert image.shape == (9000, 12000, 3)
    assert image[-1, -1].tolist() == [7, 7, 7]
    assert not recwarn.list


def test_global_state_is_unchanged(tmp_path, monkeypatch):
    """Filters of warnings belong to all threads, and Pillow's limit to the user."""
    path, used = str(save(tmp_path / 'a.png')), []
    with monkeypatch.context() as patch:
        patch.setattr(warnings, 'catch_warnings', lambda **kwargs: used.append(kwargs))
        read_image(path)
    assert not used
    code = ('import PIL.Image; before = PIL.Image.MAX_IMAGE_PIXELS; import sapiens_mm.apis.frames; '
            'import sapiens_mm.apis.app; assert PIL.Image.MAX_IMAGE_PIXELS == before')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_pixels_equal_those_of_mmcv(coco_real):
    import mmcv
    path = str(coco_real / '000000000785.jpg')
    assert np.array_equal(read_image(path), mmcv.imread(path, channel_order='rgb'))


def test_videos(tmp_path, write_video):
    frames = read_video(write_video(tmp_path / 'clip.mp4'))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].rate == 10
    for i, frame in enumerate(frames):
        assert frame.image.shape == (48, 64, 3)
        assert abs(int(frame.image.mean()) - 40 * i) < 4


@pytest.mark.parametrize(('turned', 'white'), [(90, np.s_[:, :24]), (180, np.s_[24:]), (-90, np.s_[:, 24:])])
def test_rotated_videos(tmp_path, write_video, turned, white):
    frame, = read_video(write_video(tmp_path / 'clip.mp4', frames=1, turned=turned))
    assert frame.image.shape == ((48, 64, 3) if turned == 180 else (64, 48, 3))
    assert frame.image[white].mean() > 250
    assert frame.image.mean() < 140


def test_times_of_a_variable_frame_rate(tmp_path):
    av = pytest.importorskip('av')
    with av.open(str(tmp_path / 'clip.mkv'), 'w') as container:
        stream = container.add_stream('libx264', rate=100)
        stream.height, stream.width, stream.pix_fmt, stream.time_base = 48, 64, 'yuv420p', Fraction(1, 1000)
        for milliseconds in (200, 210, 700, 1700):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), milliseconds // 10, np.uint8), format='rgb24')
            frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert [frame.time for frame in read_video(tmp_path / 'clip.mkv')] == pytest.approx([0, .01, .5, 1.5])


def test_trimmed_videos_are_complete(tmp_path, write_noise):
    """An edit list drops the first half of the frames in the file."""
    import av
    whole = write_noise(tmp_path / 'whole.mp4', options=dict(movflags='faststart'))
    with av.open(str(whole)) as source, av.open(str(tmp_path / 'clip.mp4'), 'w') as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                packet.pts -= int(1 / packet.time_base)
                packet.dts -= int(1 / packet.time_base)
                target.mux(packet)
    with av.open(str(tmp_path / 'clip.mp4')) as container:
        assert container.streams.video[0].frames == 60
    assert len(read_video(tmp_path / 'clip.mp4')) < 40


def test_cameras(monkeypatch):
    import cv2
    released = []

    class Camera:
        def __init__(self, number):
            self.left = [(True, PIXELS[..., ::-1])] * 3 + [(False, None)]
            assert number == 2

        def isOpened(self):
            return True

        def get(self, what):
            return 0.  # an unknown rate

        def read(self):
            return self.left.pop(0)

        def release(self):
            released.append(True)

    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    source, = find_sources(['2'])
    frames = list(read_frames(source))
    assert [(frame.index, frame.rate) for frame in frames] == [(0, 25), (1, 25), (2, 25)]
    assert np.array_equal(frames[0].image, PIXELS)  # OpenCV gives BGR
    stream = read_frames(source)
    next(stream)
    stream.close()
    assert len(released) == 2


class Server(http.server.BaseHTTPRequestHandler):
    """Serves a file complete, endlessly, with an endless header, or truncated."""
    content = b''

    def do_GET(self):
        with contextlib.suppress(OSError):
            if 'head' in self.path:
                self.wfile.write(b'HTTP/1.0 200 OK\r\n')
                while True:
                    self.wfile.write(b'A: b\r\n' if 'lines' in self.path else b'A')
                    time.sleep(.05)
            self.send_response(200)
            if 'whole' in self.path or 'broken' in self.path:
                self.send_header('Content-Length', str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content[:-9] if 'broken' in self.path else self.content)
            while 'slow' in self.path:
                self.wfile.write(b'x')
                time.sleep(.05)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(content):
        Server.content = content
        return f'http://127.0.0.1:{server.server_port}'

    yield serve
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize('name', ['slow.png', 'slow.mp4', 'head.png', 'head-lines.mp4'])
def test_downloads_time_out(serve, tmp_path, name):
    source, = find_sources([f'{serve(save(tmp_path / "a.png").read_bytes())}/{name}'], allow_urls=True, url_timeout=.3)
    with pytest.raises(InputError, match=f'{name}: .*0.3 s'):
        list(read_frames(source))


def test_downloads_are_complete(serve, tmp_path, write_video):
    for path, number in ((save(tmp_path / 'a.png'), 1), (write_video(tmp_path / 'a.mp4'), 5)):
        url = serve(path.read_bytes())
        for name in ('whole', 'open'):
            source, = find_sources([f'{url}/{name}{path.suffix}'], allow_urls=True)
            assert len(list(read_frames(source))) == number
        source, = find_sources([f'{url}/broken{path.suffix}'], allow_urls=True)
        with pytest.raises(InputError, match=r'ended after \d+ of \d+ bytes'):
            list(read_frames(source))
