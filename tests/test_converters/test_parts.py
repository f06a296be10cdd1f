"""CCP and CelebAMask as the 28 body parts."""
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from sapiens_mm.converters import convert_ccp, convert_celebamask, convert_human_segmentation
from sapiens_mm.converters.parts import CELEBAMASK_CLASSES, read_table, split_face
from sapiens_mm.dense.datasets import SapiensDenseDataset
from sapiens_mm.vocabularies.body_parts import PART_IDS

from .conftest import files_of, stop_after, write_photo


@pytest.mark.parametrize(('old', 'new', 'named'), [
    ('class,part', 'name,part', 'name'), ('hair,Hair\n', '', 'hair'), ('hair,Hair', 'hair,Hairs', 'Hairs'),
    ('hair,Hair', 'hair,', 'part'), ('hair,Hair', 'hair', 'part'), ('hair,Hair', 'hat,Apparel', 'hat'),
    ('hair,Hair', 'skin,Hair', 'skin'), ('null,Background', 'null,Hair', 'null'), ('class,part', '', 'column')])
def test_other_tables(ccp, table, tmp_path, old, new, named):
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(ValueError, match=f'mine.csv.*{named}'):
        convert_ccp(ccp, tmp_path / 'out', table)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('content', ['class,part\nnull,Grün\n'.encode('latin-1'), b'class,part\n"' + b'x' * 200_000])
def test_files_that_are_no_table(ccp, tmp_path, content):
    path = tmp_path / 'mine.csv'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'mine\.csv'):
        convert_ccp(ccp, tmp_path / 'out', path)


def test_labels_without_people(persons, tmp_path):
    for path in (persons / 'Ground_Truth').iterdir():
        Image.fromarray(np.ones((30, 20), np.uint8)).save(path)
    with pytest.raises(ValueError, match='Ground_Truth'):
        convert_human_segmentation(persons, tmp_path / 'out')
    assert not (tmp_path / 'out/train.txt').exists()


def test_missing_files(ccp, table, tmp_path):
    (ccp / 'photos/0003.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='0003'):
        convert_ccp(ccp, tmp_path / 'out', table)
    for path in (ccp / 'annotations/pixel-level').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match='pixel-level'):
        convert_ccp(ccp, tmp_path / 'out', table)
    (ccp / 'annotations/pixel-level').rmdir()
    with pytest.raises(FileNotFoundError, match='pixel-level'):
        convert_ccp(ccp, tmp_path / 'out', table)
    (ccp / 'label_list.mat').unlink()
    with pytest.raises(FileNotFoundError, match='label_list'):
        convert_ccp(ccp, tmp_path / 'out', table)


@pytest.mark.parametrize('labels', [
    np.full((60, 40), 4, np.uint8), np.full((60, 40), -1, np.int16), np.ones((60, 40, 3), np.uint8),
    np.ones((60, 40)), np.ones((40, 60), np.uint8), np.zeros((0, 0), np.uint8)])
def test_other_labels(ccp, table, tmp_path, labels):
    savemat(ccp / 'annotations/pixel-level/0003.mat', dict(groundtruth=labels))
    with pytest.raises(ValueError, match=r'0003\.mat'):
        convert_ccp(ccp, tmp_path / 'out', table)
    names = {name for name in files_of(tmp_path / 'out') if not name.startswith('images/')}
    assert names == {'settings.json', *(f'{kind}/000{i}.png' for kind in ('masks', 'parts') for i in (1, 2))}


def test_truncated_files(ccp, table, tmp_path):
    path = ccp / 'photos/0002.jpg'
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r'0002\.jpg'):
        convert_ccp(ccp, tmp_path / 'out', table)
    write_photo(path)
    path = ccp / 'annotations/pixel-level/0003.mat'
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r'0003\.mat'):
        convert_ccp(ccp, tmp_path / 'out', table)


def test_ccp(ccp, table, tmp_path):
    out = tmp_path / 'out'
    counts, empty = convert_ccp(ccp, out, table)
    assert (counts, empty) == (dict(train=4, test=1), ['0004'])
    assert (out / 'test.txt').read_text().split() == ['0005']
    with Image.open(out / 'parts/0001.png') as image:
        assert image.mode == 'P'
        parts = np.asarray(image)
    assert set(parts[:10].flat) == {PART_IDS['Background']}
    assert set(parts[10:20].flat) == {PART_IDS['Hair']}
    assert set(parts[20:30].flat) == {PART_IDS['Face_Neck']}
    assert set(parts[30:40].flat) == {PART_IDS['Upper_Clothing']}
    assert set(parts[40:50].flat) == {255}
    with Image.open(out / 'masks/0001.png') as image:
        mask = np.asarray(image)
    assert set(mask[10:50].flat) == {255}
    assert mask.sum() == 255 * 40 * 40
    for split, count in counts.items():
        dataset = SapiensDenseDataset(str(out), tasks=('seg', ), ann_file=f'{split}.txt', check_sizes='all')
        assert len(dataset) == count


def test_face_is_the_skin_at_the_hair():
    classes = 'null', 'hair', 'skin', 't-shirt'
    labels = np.zeros((60, 40), np.uint8)
    labels[5:10, 10:20] = labels[10:20, 8:10] = 1
    labels[10:20, 10:20] = 2  # face
    labels[8:12, 30:34] = 2  # a raised hand
    labels[20:40, 5:25] = 3
    labels[30:50, 26:30] = 2  # an arm
    face = split_face(labels, classes) == len(classes)
    assert face[10:20, 10:20].all()
    assert face.sum() == 100
    assert (split_face(labels, classes)[~face] == labels[~face]).all()
    assert (split_face(np.where(labels == 1, 0, labels), classes) < 4).all()
    assert split_face(np.zeros((4, 4), np.uint8), classes).max() == 0


def test_an_interrupted_run_continues(ccp, table, tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(KeyboardInterrupt):
        convert_ccp(ccp, out, table, stop_after(3))
    before = files_of(out)
    assert len(before) == 1 + 3 * 3
    (out / 'parts/0003.png').unlink()  # as if it was killed there
    (out / 'parts/0003.png.part').write_bytes(b'half')
    convert_ccp(ccp, out, table)
    after = files_of(out)
    before.pop('parts/0003.png')
    before.pop('masks/0003.png')
    assert before.items() <= after.items()
    assert len(after) == 1 + 5 * 3 + 2


def test_names_of_other_case_and_spaces(ccp, table, tmp_path):
    folder = ccp / 'annotations/pixel-level'
    (folder / '0001.mat').rename(folder / '0001.MAT')
    table.write_text(table.read_text().replace('hair,Hair', 'hair , Hair'))
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/settings.json.part').write_bytes(b'half')  # as if it was killed there
    assert convert_ccp(ccp, tmp_path / 'out', table)[0] == dict(train=4, test=1)


def test_changed_sources(ccp, table, tmp_path):
    out = tmp_path / 'out'
    write_photo(ccp / 'photos/0001.jpg', (40, 60))
    with pytest.raises(ValueError, match=r'0001\.mat'):
        convert_ccp(ccp, out, table)
    write_photo(ccp / 'photos/0001.jpg', seed=7)
    assert convert_ccp(ccp, out, table)[0] == dict(train=4, test=1)
    assert (out / 'images/0001.jpg').read_bytes() == (ccp / 'photos/0001.jpg').read_bytes()
    before = (out / 'parts/0002.png').read_bytes()
    savemat(ccp / 'annotations/pixel-level/0001.mat', dict(groundtruth=np.ones((60, 40), np.uint8)))
    convert_ccp(ccp, out, table)
    with Image.open(out / 'masks/0001.png') as image:
        assert np.asarray(image).all()
    assert (out / 'parts/0002.png').read_bytes() == before


def test_another_conversion_in_the_folder(ccp, table, tmp_path):
    out = tmp_path / 'out'
    convert_ccp(ccp, out, table)
    before = files_of(out)
    table.write_text(table.read_text().replace('skin,ignored', 'skin,Torso'))
    with pytest.raises(ValueError, match='skin ignored instead of Torso'):
        convert_ccp(ccp, out, table)
    assert files_of(out) == before
    (out / 'settings.json').write_text('[]')
    with pytest.raises(ValueError, match='out'):
        convert_ccp(ccp, out, table)


def test_celebamask(tmp_path, root):
    for index in range(11):
        write_photo(tmp_path / f'raw/images/{index:x}.jpg', (32, 32), index)
        image = Image.fromarray(np.repeat(np.arange(16, dtype=np.uint8) + (index > 0) * 3, 64).reshape(32, 32))
        image.putpalette(list(range(57)))
        (tmp_path / 'raw/masks').mkdir(exist_ok=True)
        image.save(tmp_path / f'raw/masks/{index:x}.png')
    table = root / 'tools/dataset_converters/celebamask.csv'
    counts, empty = convert_celebamask(tmp_path / 'raw', tmp_path / 'out', table)
    assert (counts, empty) == (dict(train=10, test=1), [])
    with Image.open(tmp_path / 'out/parts/0.png') as image:
        parts = np.asarray(image)[::2, 0]
    expected = ['Face_Neck', 'Upper_Lip', 'Lower_Lip', 'Hair']
    assert [parts[CELEBAMASK_CLASSES.index(name)] for name in ('skin', 'u_lip', 'l_lip', 'hair')] == [
        PART_IDS[name] for name in expected]
    (tmp_path / 'raw/masks/3.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    with pytest.raises(ValueError, match=r'3\.png'):
        convert_celebamask(tmp_path / 'raw', tmp_path / 'other', table)


@pytest.fixture
def persons(tmp_path):
    """Ten photos of 60 x 40 with masks of half the size."""
    folder = tmp_path / 'persons'
    (folder / 'Ground_Truth').mkdir(parents=True)
    for number in range(1, 11):
        write_photo(folder / f'Training_Images/{number}.jpg', seed=number)
        mask = np.zeros((30, 20), np.uint8)
        mask[10:20] = 255
        Image.fromarray(mask).save(folder / f'Ground_Truth/{number}.png')
    return folder


@pytest.mark.parametrize('mask', [np.full((20, 30), 255, np.uint8), np.zeros((30, 20, 3), np.uint8)])
def test_other_masks_of_persons(persons, tmp_path, mask):
    Image.fromarray(mask).save(persons / 'Ground_Truth/3.png')
    with pytest.raises(ValueError, match=r'3\.png'):
        convert_human_segmentation(persons, tmp_path / 'out')


def test_a_damaged_photo_of_persons(persons, tmp_path):
    (persons / 'Training_Images/3.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'3\.jpg'):
        convert_human_segmentation(persons, tmp_path / 'out')


def test_human_segmentation(persons, tmp_path):
    out = tmp_path / 'out'
    counts, empty = convert_human_segmentation(persons, out)
    assert (counts, empty) == (dict(train=9, test=1), [])
    assert not (out / 'parts').exists()
    with Image.open(out / 'masks/1.png') as image:
        mask = np.asarray(image)
    assert mask.shape == (60, 40)
    assert mask[22:38].all()
    assert not mask[:18].any()
    dataset = SapiensDenseDataset(str(out), tasks=(), ann_file='train.txt', check_sizes='all')
    assert len(dataset) == 9


def test_tables_of_the_repository(root):
    folder = root / 'tools/dataset_converters'
    celebamask = read_table(folder / 'celebamask.csv', CELEBAMASK_CLASSES)
    assert celebamask['background'] == 'Background'
    lines = (folder / 'clothing_co_parsing.csv').read_text().splitlines()[1:]
    parts = read_table(folder / 'clothing_co_parsing.csv', [line.partition(',')[0] for line in lines])
    assert len(parts) == 60
    assert next(iter(parts.items())) == ('null', 'Background')
    assert parts['skin of the head'] == 'Face_Neck'
    assert parts['skin'] == parts['shoes'] == parts['dress'] == 'ignored'
    assert not any(part.startswith(('Left', 'Right')) for part in [*parts.values(), *celebamask.values()])
