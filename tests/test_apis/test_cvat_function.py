"""Tests of the function for CVAT, with a stand-in for cvat-sdk unless that is installed."""
import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sapiens_mm.apis import Result
from sapiens_mm.apis.cvat_function import KeypointFunction, create
from sapiens_mm.apis.frames import Source
from sapiens_mm.vocabularies.keypoints import KEYPOINT_NAMES

CONTEXT = SimpleNamespace(frame_name='a.jpg', conf_threshold=None, conv_mask_to_poly=False)


@pytest.fixture
def _sdk(monkeypatch):
    if importlib.util.find_spec('cvat_sdk'):
        return
    sdk = ModuleType('cvat_sdk.auto_annotation')
    sdk.DetectionFunctionSpec = lambda labels: SimpleNamespace(labels=labels)
    sdk.skeleton_label_spec = lambda name, id, sublabels: SimpleNamespace(name=name, id=id, sublabels=sublabels)
    sdk.keypoint_spec = lambda name, id: SimpleNamespace(name=name, id=id)
    sdk.skeleton = lambda label_id, elements: SimpleNamespace(label_id=label_id, elements=elements)
    sdk.keypoint = lambda label_id, points, outside: SimpleNamespace(label_id=label_id, points=points, outside=outside)
    package = ModuleType('cvat_sdk')
    package.auto_annotation = sdk
    monkeypatch.setitem(sys.modules, 'cvat_sdk', package)
    monkeypatch.setitem(sys.modules, 'cvat_sdk.auto_annotation', sdk)


class Inferencer:
    """Finds two people in each image, the second with a score of 0.4."""

    def __init__(self, keypoint_set):
        self.names = KEYPOINT_NAMES[keypoint_set]
        self.metainfo = dict(pose=dict(keypoint_id2name=dict(enumerate(self.names))))

    def __call__(self, images):
        number = len(self.names)
        boxes = np.array([[0, 0, 10, 20, .9], [5, 5, 15, 20, .4]], np.float32)
        points = np.arange(4 * number, dtype=np.float32).reshape(2, number, 2)
        return [Result(Source('0', '0'), np.asarray(image), boxes=boxes, keypoints=points, metainfo=self.metainfo,
                       keypoint_scores=np.linspace(0, 1, 2 * number, dtype=np.float32).reshape(2, number))
                for image in images]


def test_without_cvat_sdk(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cvat_sdk', None)
    with pytest.raises(ImportError, match='pip install'):
        KeypointFunction(Inferencer('coco'))


@pytest.mark.usefixtures('_sdk')
def test_invalid_parameters():
    with pytest.raises(ValueError, match='3b'):
        create('3b')
    with pytest.raises(ValueError, match='17 keypoints'):
        KeypointFunction(Inferencer('coco'), 'wholebody-133')


@pytest.mark.usefixtures('_sdk')
@pytest.mark.parametrize(('source', 'names'), [('coco', 'coco'), ('goliath', 'coco_wholebody')])
def test_skeletons(source, names):
    inferencer = Inferencer(source)
    function = KeypointFunction(inferencer, keypoint_threshold=.5)
    label, = function.spec.labels
    assert label.name == 'person'
    assert tuple(point.name for point in label.sublabels) == KEYPOINT_NAMES[names]
    image = Image.new('RGB', (20, 20))
    first, second = function.detect(CONTEXT, image)
    result, = inferencer([image])
    nose = inferencer.names.index('nose')
    for skeleton, points, scores in zip((first, second), result.keypoints, result.keypoint_scores):
        assert [element.label_id for element in skeleton.elements] == [point.id for point in label.sublabels]
        assert list(skeleton.elements[0].points) == (points[nose] + .5).tolist()
        assert skeleton.elements[0].outside == (scores[nose] < .5)
    assert len(function.detect(SimpleNamespace(conf_threshold=.5), image)) == 1


@pytest.mark.slow
@pytest.mark.usefixtures('_sdk')
def test_the_embedded_model():
    function = create('tiny', device='cpu')
    assert len(function.spec.labels[0].sublabels) == 17
    assert isinstance(function.detect(CONTEXT, Image.new('RGB', (64, 64))), list)
