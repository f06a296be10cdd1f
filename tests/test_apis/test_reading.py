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

from sapiens_mm.apis import reading
from sapiens_mm.apis.reading import (
    ROOM,
    InputError,
    Source,
    file_source,
    find_sources,
    frames_of,
    pixels_of,
    prefetch,
    read_frames,
    read_image,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def save(path, picture=PICTURE, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **kwargs)
    return path


def test_inputs_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no 'nowhere.jpg'; an input is an image"):
        find_sources(['nowhere.jpg'])
    with pytest.raises(InputError, match='has no image'):
        find_sources([tmp_path])
    with pytest.raises(InputError, match='has no image'):
        find_sources([str(tmp_path / '*.jpg')])
    with pytest.raises(InputError, match='is an address; to fetch it, add --allow-urls'):
        find_sources(['https://example.org/a.jpg'])


def test_files_that_are_no_images(tmp_path):
    whole = save(tmp_path / 'whole.jpg', Image.effect_noise((300, 200), 90)).read_bytes()
    contents = {
        'truncated.jpg': (whole[:len(whole) // 2], 'truncated'),
        'text.png': (b'This is no picture.', 'this is no image'),
        'empty.jpg': (b'', 'the file is empty'),
        'float.tif': (None, 'floating-point'),
    }
    for name, (content, says) in contents.items():
        if content is None:
            save(tmp_path / name, np.zeros((4, 4), np.float32))
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f'{name}: .*{says}') as error:
            read_image(str(tmp_path / name))
        assert '\n' not in str(error.value)
    with pytest.raises(InputError, match='gone.jpg: there is no such file'):
        read_image(str(tmp_path / 'gone.jpg'))


def test_a_bad_file_does_not_stop_the_others(tmp_path):
    for name in ('a.png', 'c.png'):
        save(tmp_path / name)
    (tmp_path / 'b.png').write_text('no')
    told = []
    frames = list(frames_of(find_sources([tmp_path]), lambda source, error: told.append((source.name, str(error)))))
    assert [frame.source.name for frame in frames] == ['a.png', 'c.png']
    assert [name for name, _ in told] == ['b.png']
    with pytest.raises(InputError):
        list(frames_of(find_sources([tmp_path])))


def test_images_of_every_kind(tmp_path):
    grey = Image.fromarray(PICTURE[..., 0])
    assert np.array_equal(read_image(str(save(tmp_path / 'a.png'))), PICTURE)
    assert np.array_equal(read_image(str(save(tmp_path / 'grey.png', grey))), PICTURE[..., [0, 0, 0]])
    cmyk = read_image(str(save(tmp_path / 'cmyk.jpg', Image.new('CMYK', (8, 9), (0, 255, 255, 0)), quality=100)))
    assert cmyk.shape == (9, 8, 3)
    assert (cmyk[0, 0] > [200, -1, -1]).all()
    assert (cmyk[0, 0, 1:] < 60).all()
    deep = (PICTURE[..., 0].astype(np.uint16) << 8) + 77
    assert np.array_equal(read_image(str(save(tmp_path / 'deep.png', deep))), PICTURE[..., [0, 0, 0]])
    clear = Image.new('RGBA', (8, 9), (255, 0, 0, 0))
    assert (read_image(str(save(tmp_path / 'clear.png', clear))) == 255).all()
    assert (read_image(str(save(tmp_path / 'half.png', Image.new('RGBA', (8, 9), (0, 0, 0, 128))))) == 127).all()
    palette = Image.fromarray(PICTURE).quantize(256)
    assert read_image(str(save(tmp_path / 'palette.gif', palette))).shape == PICTURE.shape


def test_exif_turns_an_image(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    turned = read_image(str(save(tmp_path / 'turned.png', exif=exif)))
    assert np.array_equal(turned, np.rot90(PICTURE, -1))


def test_a_very_large_image(tmp_path, recwarn):
    large = Image.new('L', (12000, 9000), 7)
    large.save(tmp_path / 'large.png', compress_level=1)
    image = read_image(str(tmp_path / 'large.png'))
    assert image.shape == (9000, 12000, 3)
    assert image[-1, -1].tolist() == [7, 7, 7]
    assert not recwarn.list


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_images_that_are_too_large(tmp_path, monkeypatch):
    assert reading.MAX_PIXELS == 178_956_970  # which Pillow refuses when it is left alone
    monkeypatch.setattr(reading, 'MAX_PIXELS', 40 * 30 - 1)
    for name, size in (('bomb', (80, 30)), ('large', (40, 30))):
        save(tmp_path / f'{name}.png', Image.new('L', size))
        with pytest.raises(InputError, match=f'{name}.png: it has more than 0 million pixels, the most that are read'):
            read_image(str(tmp_path / f'{name}.png'))
    monkeypatch.setattr(reading, 'MAX_PIXELS', None)
    assert read_image(str(tmp_path / 'bomb.png')).shape == (30, 80, 3)


def test_filters_of_warnings_are_left_alone(tmp_path, monkeypatch):
    path, used = str(save(tmp_path / 'a.png')), []

    class Seen(warnings.catch_warnings):

        def __init__(self, **kwargs):
            used.append(kwargs)
            super().__init__(**kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(warnings, 'catch_warnings', Seen)
        read_image(path)
    assert not used  # they are those of all threads


def test_pixels_are_those_of_mmcv(coco_real):
    import mmcv
    path = str(coco_real / '000000000785.jpg')
    assert np.array_equal(read_image(path), mmcv.imread(path, channel_order='rgb'))


def test_names_mirror_the_folders(tmp_path):
    for name in ('x/a.png', 'x/sub/a.png', 'y/a.png', 'y/notes.txt', 'y/a.jpg'):
        if name.endswith('txt'):
            (tmp_path / name).write_text('')
        else:
            save(tmp_path / name)
    names = [source.name for source in find_sources([tmp_path / 'x'])]
    assert names == ['a.png', 'sub/a.png']
    names = [source.name for source in find_sources([tmp_path / 'x', tmp_path / 'y'])]
    assert names == ['x/a.png', 'x/sub/a.png', 'y/a.jpg', 'y/a.png']
    names = [source.name for source in find_sources([tmp_path / 'y/a.png', str(tmp_path / '*/a.png')])]
    assert sorted(names) == ['x/a.png', 'y/a.png']
    assert [(s.kind, s.name) for s in find_sources(['0', 'https://a.org/b/../c.mp4?d=1'], allow_urls=True)] == [
        ('camera', 'camera0'), ('video', 'a.org/b/35520a95_c.mp4')]


def test_without_pyav(tmp_path, monkeypatch):
    (tmp_path / 'clip.mp4').write_bytes(b'')
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(InputError, match='clip.mp4: videos are read by PyAV .*: pip install av'):
        list(frames_of(find_sources([tmp_path])))


def test_videos(tmp_path, write_video):
    path = write_video(tmp_path / 'clip.mp4')
    frames = list(frames_of(find_sources([path])))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].rate == 10
    for i, frame in enumerate(frames):
        assert frame.image.shape == (48, 64, 3)
        assert abs(int(frame.image.mean()) - 40 * i) < 4
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match='clip.mp4: '):
        list(frames_of(find_sources([path])))


@pytest.mark.parametrize(('turned', 'white'), [(90, np.s_[:, :24]), (180, np.s_[24:]), (-90, np.s_[:, 24:])])
def test_a_video_of_a_phone_is_turned(tmp_path, write_video, turned, white):
    frame, = frames_of(find_sources([write_video(tmp_path / 'clip.mp4', frames=1, turned=turned)]))
    assert frame.image.shape == ((48, 64, 3) if turned == 180 else (64, 48, 3))
    assert frame.image[white].mean() > 250
    assert frame.image.mean() < 140


def test_a_camera_that_is_not_there():
    with pytest.raises(InputError, match='camera 9999 cannot be opened'):
        list(frames_of([Source('9999', 'camera9999', 'camera')]))


def test_times_of_a_variable_frame_rate(tmp_path):
    av = pytest.importorskip('av')
    with av.open(str(tmp_path / 'clip.mkv'), 'w') as container:
        stream = container.add_stream('libx264', rate=100)
        stream.height, stream.width, stream.pix_fmt, stream.time_base = 48, 64, 'yuv420p', Fraction(1, 1000)
        for time in (200, 210, 700, 1700):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), time // 10, np.uint8), format='rgb24')
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = list(read_frames(find_sources([tmp_path / 'clip.mkv'])[0]))
    assert [frame.time for frame in frames] == pytest.approx([0, .01, .5, 1.5])


def test_frames_of_a_camera(monkeypatch):
    import cv2
    released = []

    class Camera:
        def __init__(self, number):
            self.left = [(True, PICTURE[..., ::-1])] * 3 + [(False, None)]
            assert number == 2

        def isOpened(self):
            return True

        def get(self, what):
            return 0.  # what cameras say that do not know their rate

        def read(self):
            return self.left.pop(0)

        def release(self):
            released.append(True)

    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    source, = find_sources(['2'])
    frames = list(read_frames(source))
    assert [(frame.index, frame.rate) for frame in frames] == [(0, 25), (1, 25), (2, 25)]
    assert np.array_equal(frames[0].image, PICTURE)  # OpenCV's are BGR
    stream = read_frames(source)
    next(stream)
    stream.close()
    assert len(released) == 2


def test_prefetch_runs_ahead_but_not_far():
    made = []

    def make():
        for i in range(20):
            made.append(i)
            yield i

    items = prefetch(make(), 3)
    assert next(items) == 0
    time.sleep(.3)
    assert len(made) <= 5
    assert list(items) == list(range(1, 20))


def test_prefetch_keeps_few_bytes():
    made = []

    def make():
        for i in range(6):
            made.append(i)
            yield i

    # Beside the one that was taken.
    for size, most in ((ROOM // 2, 4), (2 * ROOM, 2)):
        made.clear()
        items = prefetch(make(), 5, lambda item, size=size: size)
        assert next(items) == 0
        time.sleep(.3)
        assert len(made) == most
        assert list(items) == list(range(1, 6))


def test_prefetch_hands_errors_on():
    def make():
        yield 1
        raise KeyError('gone')

    items = prefetch(make(), 2)
    assert next(items) == 1
    with pytest.raises(KeyError, match='gone'):
        next(items)


def test_prefetch_ends_with_who_takes():
    closed = threading.Event()

    def make():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    items = prefetch(prefetch(make(), 1), 1)
    next(items)
    items.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_prefetch_that_is_interrupted_as_it_starts(monkeypatch):
    def start(self):
        run(self)
        raise KeyboardInterrupt

    def make():
        while True:
            yield 0

    run, before = threading.Thread.start, threading.active_count()
    monkeypatch.setattr(threading.Thread, 'start', start)
    with pytest.raises(KeyboardInterrupt):
        next(prefetch(make(), 1))
    assert threading.active_count() == before


def test_a_video_that_is_cut_off_before_its_first_frame(tmp_path, write_video):
    path = tmp_path / 'clip.mp4'
    path.write_bytes(write_video(tmp_path / 'whole.mp4', frames=4).read_bytes()[:600])
    with pytest.raises(InputError, match='clip.mp4: (this is no video|no frame of it can be decoded)'):
        list(read_frames(Source(str(path), 'clip.mp4', 'video')))


def test_a_video_that_is_cut_off_in_its_middle(tmp_path, write_noise):
    whole = write_noise(tmp_path / 'whole.mp4', options=dict(movflags='faststart'))
    assert len(list(read_frames(Source(str(whole), 'whole.mp4', 'video')))) == 60
    path = tmp_path / 'clip.mp4'
    path.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    frames, told = [], []
    frames += frames_of(find_sources([path]), lambda source, error: told.append(str(error)))
    assert 10 < len(frames) < 50
    assert told == [f'{path}: it broke off after {len(frames)} of about 60 frames; it is cut off or damaged']


def test_a_video_that_was_trimmed_is_whole(tmp_path, write_noise):
    """A list of edits leaves out the first half of the frames that are in the file."""
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
    assert len(list(read_frames(Source(str(tmp_path / 'clip.mp4'), 'clip.mp4', 'video')))) < 40


def test_a_video_that_does_not_say_how_long_it_is(tmp_path, write_noise):
    whole = write_noise(tmp_path / 'whole.mkv')
    path = tmp_path / 'clip.mkv'
    path.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    assert 10 < len(list(read_frames(Source(str(path), 'clip.mkv', 'video')))) < 50


@pytest.mark.parametrize('address', ['http://127.0.0.1:1/a b.jpg', 'http://127.0.0.1:1/é.jpg'])
def test_addresses_with_any_letters(address):
    with pytest.raises(InputError, match='refused'):
        read_image(address)


POSTSCRIPT = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n{} loop\n'


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.tif', 'a.webp', 'a.gif', 'a.eps', 'a'])
def test_no_image_is_handed_to_another_program(tmp_path, monkeypatch, name):
    monkeypatch.setattr('subprocess.Popen', lambda *args, **kwargs: pytest.fail(f'a program is run: {args}'))
    monkeypatch.setattr('subprocess.check_call', lambda *args, **kwargs: pytest.fail(f'a program is run: {args}'))
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match=f'{name}: this is no image'):
        read_image(str(tmp_path / name))
    with pytest.raises(InputError, match='this is no image'):
        list(frames_of(find_sources([tmp_path / name])))
    assert pixels_of(Source(str(tmp_path / name), name)) == (0, 0, 1)


def test_the_limit_of_pillow_is_left_alone(tmp_path):
    code = ('import PIL.Image; before = PIL.Image.MAX_IMAGE_PIXELS; '
            'import sapiens_mm.apis.reading, sapiens_mm.apis.app; '
            'assert PIL.Image.MAX_IMAGE_PIXELS == before')
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('name', ['list.mp4', 'list.mkv', 'list.dat', 'list.m3u8'])
@pytest.mark.parametrize('text', [
    '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n',
    "ffconcat version 1.0\nfile '{video}'\n",
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType='
    '"video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{video}</BaseURL></Representation></AdaptationSet>'
    '</Period></MPD>', '[playlist]\nFile1={video}\n', 'v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n'])
def test_a_video_does_not_reach_other_files(tmp_path, write_video, monkeypatch, name, text):
    video = write_video(tmp_path / 'secret.mp4')
    (tmp_path / name).write_text(text.format(video=video))
    with pytest.raises(InputError, match=name):
        list(read_frames(Source(str(tmp_path / name), name, 'video')))
    with pytest.raises(InputError, match=name):
        pixels_of(Source(str(tmp_path / name), name, 'video'))
    assert not reading._has_video(str(tmp_path / name))


@pytest.mark.parametrize('name', ['concat:secret.mp4|secret.mp4', 'subfile,,start,0,end,0,,:secret.mp4', 'pipe:0.mp4',
                                  'data:,a.mp4', 'tcp:127.0.0.1:1.mp4', 'a%03d.mp4'])
def test_the_name_of_a_video_is_no_protocol(tmp_path, write_video, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'secret.mp4')
    with pytest.raises(InputError):
        list(read_frames(Source(name, 'a', 'video')))
    (tmp_path / name.replace('/', '')).write_bytes((tmp_path / 'secret.mp4').read_bytes())
    assert len(list(frames_of(find_sources([name])))) == 5


def test_frames_that_are_larger_than_an_image_may_be(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / 'a.mp4')
    monkeypatch.setattr(reading, 'MAX_PIXELS', 64 * 48 - 1)
    with pytest.raises(InputError, match='a.mp4'):
        list(read_frames(Source(str(path), 'a.mp4', 'video')))


@pytest.mark.parametrize('path', ['missing.png', '0', '*.png', '.', 'link.png', ''])
def test_a_source_of_a_file_is_no_other_input(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'a.png')
    (tmp_path / 'link.png').symlink_to(tmp_path / 'a.png')
    with pytest.raises(InputError, match='there is no such file'):
        file_source(path)
    assert file_source('a.png') == Source(str(tmp_path / 'a.png'), 'a.png')


class Server(http.server.BaseHTTPRequestHandler):
    """Serves an image whole, without an end, with a head without an end, or broken off."""
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
            if 'broken' in self.path:
                self.wfile.write(self.content[:-9])
                return
            self.wfile.write(self.content)
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
def test_fetching_an_address_has_an_end(serve, tmp_path, name):
    source, = find_sources([f'{serve(save(tmp_path / "a.png").read_bytes())}/{name}'], allow_urls=True, url_timeout=.3)
    with pytest.raises(InputError, match=f'{name}: fetching took more than 0.3 s'):
        list(read_frames(source))


def test_what_is_fetched_is_whole(serve, tmp_path, write_video):
    for path, number in ((save(tmp_path / 'a.png'), 1), (write_video(tmp_path / 'a.mp4'), 5)):
        address = serve(path.read_bytes())
        for name in ('whole', 'open'):
            source, = find_sources([f'{address}/{name}{path.suffix}'], allow_urls=True)
            assert len(list(read_frames(source))) == number
        source, = find_sources([f'{address}/broken{path.suffix}'], allow_urls=True)
        with pytest.raises(InputError, match='it broke off after .* bytes, 9 are missing'):
            list(read_frames(source))


def test_a_read_that_blocks_ends_with_a_stop():
    stop, blocked = threading.Event(), threading.Event()

    def make():
        yield 1
        blocked.wait()

    items = prefetch(make(), 1, stop=stop)
    assert next(items) == 1
    stop.set()
    assert list(items) == []
    blocked.set()


def test_two_addresses_that_differ_in_their_query():
    first, second = find_sources(['http://h/p?id=1', 'http://h/p?id=2', 'http://h/p?id=1'], allow_urls=True)
    assert (first.path, second.path) == ('http://h/p?id=1', 'http://h/p?id=2')
    assert first.name != second.name


@pytest.mark.parametrize(('inputs', 'out'), [('photos', 'photos'), ('photos', '.'), ('.', 'out'), ('**/*.png', 'out')])
def test_results_are_left_out_and_photos_are_not(tmp_path, monkeypatch, inputs, out):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'photos/a.png')
    for ending in ('overlay.jpg', 'parts.png', 'depth.png', 'normal.png', 'sheet.jpg'):
        save(tmp_path / out / f'a.png.{ending}')
    assert [source.path.rpartition('/')[2] for source in find_sources([inputs], without=out)] == ['a.png']


def test_results_of_any_run_are_left_out(tmp_path):
    for name in ('photos/a.png', 'photos/b.sheet.jpg', 'photos/o1/a.png.overlay.jpg', 'photos/o1/sub/a.png.sheet.jpg',
                 'photos/o1/mine.png'):
        save(tmp_path / name)
    (tmp_path / 'photos/o1/meta.json').write_text('{"sapiens_mm": "0.1.0"}')
    (tmp_path / 'photos/meta.json').write_text('["sapiens_mm"]')
    for inputs in (tmp_path / 'photos', tmp_path / 'photos/**/*.*g'):
        names = [source.path.rpartition('/')[2] for source in find_sources([inputs], without=tmp_path / 'o2')]
        assert names == ['a.png', 'b.sheet.jpg', 'mine.png']


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / 'photos/z/a.png')
    save(tmp_path / 'elsewhere/b.png')
    (tmp_path / 'photos/a').symlink_to(tmp_path / 'photos/z')
    (tmp_path / 'photos/link').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere/back').symlink_to(tmp_path / 'photos')
    assert [source.name for source in find_sources([tmp_path / 'photos'])] == ['link/b.png', 'z/a.png']
    assert [source.name for source in find_sources([tmp_path / 'photos/a'])] == ['a.png']


def test_files_without_a_telling_suffix_are_what_is_in_them(tmp_path, write_video):
    names = {'clip': 'video', 'clip.dat': 'video', 'photo': 'image', 'notes.txt': 'image', 'clip.jpg': 'image',
             'clip.TS': 'video', 'clip.mxf': 'video'}
    for name in names:
        (tmp_path / name).write_text('This is no picture.')
        if name.startswith('clip'):
            (tmp_path / name).write_bytes(write_video(tmp_path / 'whole.mp4').read_bytes())
    save(tmp_path / 'photo.png').rename(tmp_path / 'photo')
    assert {source.name: source.kind for source in find_sources([tmp_path / name for name in names])} == names
    assert len(list(frames_of(find_sources([tmp_path / 'clip'])))) == 5
    assert [source.name for source in find_sources([tmp_path])] == ['clip.jpg', 'clip.mxf', 'whole.mp4']
    with pytest.raises(InputError, match='clip.jpg: this is no image, but a video: rename it'):
        read_image(str(tmp_path / 'clip.jpg'))


def test_what_is_wrong_with_some_inputs_can_be_told(tmp_path):
    save(tmp_path / 'photos/a.png')
    (tmp_path / 'empty').mkdir()
    told = []
    inputs = ['nowhere.jpg', tmp_path / 'empty', tmp_path / 'photos', tmp_path / '*.gif', 'http://h/a.jpg']
    source, = find_sources(inputs, on_error=lambda error: told.append(str(error)))
    assert source.name == 'a.png'
    assert len(told) == 4


@pytest.mark.parametrize('content', ['jpeg', b'ffconcat version 1.0\nfile secret.mp4\n', b'#EXTM3U\n', b'text', b''])
def test_files_called_mp4_that_are_no_videos(tmp_path, content):
    path = tmp_path / 'a.mp4'
    if content == 'jpeg':
        Image.new('RGB', (64, 48)).save(path, 'JPEG')
    else:
        path.write_bytes(content)
    for read in (lambda source: list(read_frames(source)), pixels_of):
        with pytest.raises(InputError, match='a.mp4: this is no video'):
            read(Source(str(path), 'a.mp4', 'video'))


@pytest.mark.parametrize('address', ['HTTP://127.0.0.1:1/a.jpg', 'Https://127.0.0.1:1/a.mp4'])
def test_addresses_in_capitals(address):
    with pytest.raises(InputError, match='allow-urls'):
        find_sources([address])
    source, = find_sources([address], allow_urls=True)
    with pytest.raises(InputError, match='[Rr]efused'):
        list(read_frames(source))
