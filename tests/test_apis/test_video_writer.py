"""Tests of video writing."""
import numpy as np

from sapiens_mm.apis.frames import read_frames
from sapiens_mm.apis.sources import find_sources
from sapiens_mm.apis.video_writer import VideoWriter


def test_a_video_without_images(tmp_path):
    VideoWriter(str(tmp_path / 'a.mp4'), 25).close()
    assert not list(tmp_path.iterdir())


def test_a_video_of_one_column(tmp_path):
    writer = VideoWriter(str(tmp_path / 'a.mp4'), 25)
    writer.append(np.full((31, 1, 3), 200, np.uint8))
    writer.close()
    frame, = read_frames(find_sources([tmp_path / 'a.mp4'])[0])
    assert frame.image.shape == (30, 2, 3)
    assert abs(int(frame.image.mean()) - 200) < 4
