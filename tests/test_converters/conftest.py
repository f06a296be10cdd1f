"""Tiny files in the layouts of public datasets."""
import cv2
import numpy as np
import pytest
from scipy.io import savemat


def write_photo(path, size=(60, 40), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def stop_after(number):
    """A progress that is interrupted after some samples."""

    def progress(items, name):
        for done, item in enumerate(items):
            if done == number:
                raise KeyboardInterrupt
            yield item

    return progress


def files_of(folder):
    """Path -> content and time of change of all files in a folder."""
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture
def lspet(tmp_path):
    """LSPET of 12 photos of 60 x 40; the second has five labeled joints, the third lacks the left ankle."""
    folder = tmp_path / 'lspet'
    rng = np.random.default_rng(1)
    joints = np.concatenate([rng.uniform(5, 35, (14, 1, 12)), rng.uniform(5, 55, (14, 1, 12)), np.ones((14, 1, 12))], 1)
    joints[5:, 2, 1] = 0
    joints[5, :, 2] = -26, 900, 0
    for number in range(1, 13):
        write_photo(folder / f'images/im{number:05d}.jpg', seed=number)
    savemat(folder / 'joints.mat', dict(joints=joints))
    return folder


@pytest.fixture
def lsp(tmp_path):
    """LSP of five photos; in the first, the right ankle is hidden."""
    folder = tmp_path / 'lsp'
    joints = np.random.default_rng(2).uniform(5, 35, (3, 14, 5))
    joints[2] = 0
    joints[:, 0, 0] = 11, 51, 1
    for number in range(1, 6):
        write_photo(folder / f'images/im{number:04d}.jpg', seed=number)
    savemat(folder / 'joints.mat', dict(joints=joints))
    return folder


@pytest.fixture
def parse(tmp_path):
    folder = tmp_path / 'parse'
    for number in range(1, 4):
        write_photo(folder / f'im{number:04d}.jpg', seed=number)
    savemat(folder / 'labels.mat', dict(ptsAll=np.random.default_rng(3).uniform(5, 35, (14, 2, 3))))
    return folder


@pytest.fixture
def ccp(tmp_path):
    """CCP of four classes and six photos, of which the fourth has no person and a seventh no mask."""
    folder = tmp_path / 'ccp'
    (folder / 'annotations/pixel-level').mkdir(parents=True)
    for number in range(1, 8):
        write_photo(folder / f'photos/{number:04d}.jpg', seed=number)
    for number in range(1, 7):
        labels = np.zeros((60, 40), np.uint8)
        if number != 4:
            labels[10:20], labels[20:30], labels[30:40], labels[40:50] = 1, 2, 3, 2
        savemat(folder / f'annotations/pixel-level/{number:04d}.mat', dict(groundtruth=labels))
    savemat(folder / 'label_list.mat', dict(label_list=np.array([['null', 'hair', 'skin', 't-shirt']], object)))
    return folder


@pytest.fixture
def table(tmp_path):
    path = tmp_path / 'mine.csv'
    path.write_text('class,part\nnull,Background\nskin,ignored\nskin of the head,Face_Neck\nhair,Hair\n'
                    't-shirt,Upper_Clothing\n')
    return path
