"""Tests of inference as a stage of Ray Data."""
import io

import numpy as np
import pytest
from PIL import Image

from sapiens_mm.apis.frames import InputError
from sapiens_mm.apis.ray import SapiensBatch
from sapiens_mm.apis.run import RunOptions, run

parquet = pytest.importorskip('pyarrow.parquet')
MODEL = dict(tasks=['pose-17'], size='tiny', device='cpu', detector='none', batch_size=1)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (6 + number, 5, 3), np.uint8)
        Image.fromarray(pixels).resize((90, 120 + number)).save(folder / f'{number}.png')
    return folder


@pytest.fixture(scope='module')
def expected(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp('out')
    assert run(RunOptions([str(photos)], str(out), save=['parquet'], **MODEL)) == 0
    return parquet.read_table(out / 'people.parquet')


def check(table, expected):
    rows = sorted(table.to_pylist(), key=lambda row: row['image'])
    assert len(rows) == len(expected) == 4
    for row, other in zip(rows, expected.to_pylist()):
        assert row['image'].rpartition('/')[2] == other['image']
        assert row.keys() == other.keys()
        for name in row.keys() - {'image'}:
            if row[name] is not None or other[name] is not None:
                np.testing.assert_allclose(row[name], other[name], atol=.01)
    assert table.schema.field('keypoints').type.list_size == 34


def test_batches_give_the_table_of_a_run(photos, expected):
    paths = sorted(photos.iterdir())
    batch = SapiensBatch(**MODEL)
    encoded = dict(path=np.array(list(map(str, paths)), object), bytes=[path.read_bytes() for path in paths])
    check(batch(encoded), expected)
    arrays = np.empty(4, object)
    arrays[:] = [np.array(Image.open(io.BytesIO(data))) for data in encoded['bytes']]
    check(batch(dict(path=encoded['path'], image=arrays)), expected)
    assert batch(dict(path=['gray.png'], image=[arrays[0][..., 0]])).num_rows == 1
    with pytest.raises(ValueError, match='openpose'):
        SapiensBatch(**MODEL, keypoint_format='openpose')
    with pytest.raises(ValueError, match='include_paths'):
        batch(dict(image=arrays))
    for broken in (dict(path=['no.png'], bytes=[b'no']), dict(path=['no.png'], image=[np.zeros((3, 4, 5, 6))])):
        with pytest.raises(InputError, match=r'no\.png'):
            batch(broken)
        batch.skip_broken = True
        nobody = batch(broken)
        assert nobody.num_rows == 0
        assert nobody.schema == batch(encoded).schema
        batch.skip_broken = False


@pytest.mark.slow
def test_two_actors_give_the_table_of_a_run(photos, expected, tmp_path):
    pytest.importorskip('ray.data', reason='Ray is not installed: pip install -r requirements/ray.txt (490 MB)',
                        exc_type=ImportError)
    import ray
    ray.init('local', include_dashboard=False, num_cpus=3, log_to_driver=False)
    try:
        ray.data.read_binary_files(str(photos), include_paths=True, override_num_blocks=4).map_batches(
            SapiensBatch, fn_constructor_kwargs=MODEL, num_gpus=0, concurrency=2, batch_size=2,
        ).write_parquet(str(tmp_path))
    finally:
        ray.shutdown()
    check(parquet.read_table(tmp_path), expected)
