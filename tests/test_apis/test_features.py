"""Tests of features of the backbone, with the embedded model."""
import cv2
import numpy as np
import pytest
import torch

from sapiens_mm.apis import SapiensInferencer
from sapiens_mm.apis.crops import crop_for_dense, crop_for_pose, resize_frame
from sapiens_mm.apis.features import FeatureOptions
from sapiens_mm.apis.frames import InputError
from sapiens_mm.apis.run import RunOptions, run
from sapiens_mm.backbones import SapiensViT

BOXES = np.array([[200, 50, 420, 400, .9], [10, 10, 300, 300, .5]], np.float32)


@pytest.fixture(scope='module')
def inferencer():
    return SapiensInferencer(['pose-17', 'seg'], size='tiny', device='cpu', dtype='fp32')


@pytest.fixture(scope='module')
def image(coco_real):
    return cv2.imread(str(coco_real / '000000000785.jpg'))[..., ::-1]


def backbone_output(inferencer, crop):
    network = inferencer.models[0].network
    inputs = torch.from_numpy(crop.image.copy()).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        return network.model.backbone(network._normalize(inputs).contiguous())[-1][0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(('options', 'message'), [
    (dict(of='people'), 'features_of.*people'), (dict(pool='max'), 'max'), (dict(layers=6), '6'),
    (dict(layers=[0, -7]), '-7'), (dict(layers=[]), 'layers')])
def test_invalid_options(inferencer, image, options, message):
    with pytest.raises(ValueError, match=message):
        inferencer.features(image, **options)


def test_invalid_inputs_and_missing_tasks(inferencer, image):
    for inputs in ('nowhere.jpg', np.zeros((8, 8), np.uint8)):
        with pytest.raises((InputError, ValueError)):
            list(inferencer.features(inputs))
    with pytest.raises(ValueError, match='seg'):
        inferencer.only(['pose-17']).features(image, pool='mask')
    assert list(inferencer.features([])) == []


def test_frames(inferencer, image):
    results = list(inferencer.features([image, image[:200]], layers=[-1, 3]))
    assert [result.name for result, _ in results] == ['000000', '000001']
    for result, maps in results:
        assert (len(result.boxes), list(maps), maps[-1].dtype) == (0, [-1, 3], np.float32)
        expected = backbone_output(inferencer, resize_frame(result.image, inferencer.models[0].input_size))
        assert np.array_equal(maps[-1], expected)
        model = inferencer.models[0]
        assert maps[3].shape == (*(side // 16 for side in model.input_size), model.network.model.backbone.embed_dims)
    (_, pooled), = inferencer.features(image, pool='mean')
    np.testing.assert_allclose(pooled[-1], results[0][1][-1].mean((0, 1)), rtol=1e-5)


def test_people_do_not_depend_on_the_batch(inferencer, image):
    before = inferencer.batch_size
    try:
        outputs = []
        for inferencer.batch_size in (1, 3):
            (result, maps), = inferencer.features(image, of='person', boxes=[BOXES])
            outputs.append(maps[-1])
    finally:
        inferencer.batch_size = before
    assert np.array_equal(*outputs)
    assert result.keypoints.shape == (2, 17, 2)
    for box, features in zip(BOXES, outputs[0], strict=True):
        crop = crop_for_pose(image, box[:4], inferencer.models[0].input_size)
        assert np.array_equal(features, backbone_output(inferencer, crop))


def test_nobody_and_boxes_without_area(inferencer, image):
    (_, nobody), = inferencer.features(image, of='person', boxes=[np.zeros((0, 5))])
    (_, somebody), = inferencer.features(image, of='person', boxes=[np.array([[5, 5, 5, 9, .5], BOXES[0]])])
    assert nobody[-1].shape == (0, *somebody[-1].shape[1:])
    assert np.isnan(somebody[-1][0]).all()
    assert np.isfinite(somebody[-1][1]).all()
    for pool in ('mean', 'mask'):
        (_, vectors), = inferencer.features(image, of='person', pool=pool, boxes=[np.zeros((0, 5))])
        assert vectors[-1].shape == (0, somebody[-1].shape[-1])
    (_, vectors), = inferencer.features(np.zeros_like(image), pool='mask')
    assert vectors[-1].shape == somebody[-1].shape[-1:]


def test_vectors_of_masked_people(inferencer, image):
    (result, vectors), = inferencer.features(image, of='person', pool='mask', boxes=[BOXES[:1]])
    (_, maps), = inferencer.features(image, of='person', boxes=[BOXES[:1]])
    mask = crop_for_pose(result.person_masks[0].astype(np.uint8), BOXES[0, :4], inferencer.models[0].input_size).image
    inside = cv2.resize(mask.astype(np.float32), maps[-1].shape[2:0:-1], interpolation=cv2.INTER_AREA) == 1
    assert inside.any()
    assert vectors[-1].shape == (1, maps[-1].shape[-1])
    # Nearer to the mean inside than to the mean of all.
    means = [maps[-1][0][inside].mean(0), maps[-1][0].mean((0, 1))]
    distances = [np.linalg.norm(vectors[-1][0] - mean) for mean in means]
    assert distances[0] < distances[1]


def test_masks_are_cropped_as_the_person(inferencer, image):
    seg, image = inferencer.only(['seg']), image[:, 300:]
    box = np.float32([[-130, 20, 130, 420, .9]])  # half of its crop is outside the image
    (result, vectors), = seg.features(image, of='person', pool='mask', boxes=[box])
    (_, maps), = seg.features(image, of='person', boxes=[box])
    crop = crop_for_dense(result.person_masks[0].astype(np.uint8) * 255, box[0, :4], seg.models[0].input_size,
                          (0, 0, 0)).image
    assert 0 < crop.mean() < 255
    assert not crop[:, :crop.shape[1] * 2 // 5].any()
    weights = cv2.resize(crop.astype(np.float32), maps[-1].shape[2:0:-1], interpolation=cv2.INTER_AREA)
    expected = (maps[-1][0] * weights[..., None]).sum((0, 1)) / weights.sum()
    np.testing.assert_allclose(vectors[-1][0], expected, rtol=1e-4, atol=1e-6)


def test_saved_features(inferencer, image, tmp_path):
    photo, out = tmp_path / 'schöne Grüße.png', tmp_path / 'out'
    cv2.imwrite(str(photo), image[..., ::-1])
    assert run(RunOptions([str(photo)], str(out), ['pose-17', 'depth'], 'tiny', device='cpu', dtype='fp32',
                          save=['features'], features_pool='mean', features_layers=[2, -1])) == 0
    with np.load(out / f'{photo.name}.features.npz') as arrays:
        assert list(arrays) == ['layer_2', 'layer_5']
        (_, expected), = inferencer.features(image, layers=[2, 5], pool='mean')
        for layer in (2, 5):
            assert arrays[f'layer_{layer}'].dtype == np.float16
            assert np.array_equal(arrays[f'layer_{layer}'], expected[layer].astype(np.float16))
    assert '"features"' in (out / 'meta.json').read_text()


def test_layers_of_a_plain_backbone():
    torch.manual_seed(0)
    backbone = SapiensViT(dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64), (64, 48),
                          out_indices=(0, 2)).eval()
    images = torch.randn(1, 3, 64, 48)
    with torch.inference_mode():
        for output, other in zip(backbone(images), backbone.forward_blocks(images, [0, 2]), strict=True):
            assert torch.equal(output, other)
        assert len(backbone.forward_blocks(images, [1])) == 1


def test_options_are_kept_by_a_part_of_the_tasks(inferencer, image):
    chosen = inferencer.only(['pose-17'])
    chosen.add_features(FeatureOptions(of='person'))
    assert chosen(image)[0].features[5].ndim == 4
    assert inferencer(image)[0].features is None
