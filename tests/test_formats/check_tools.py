"""Checks of converted labels by the labeling tools' own code, in the environment that test_tools.py makes.

argv: a folder with photos/, coco.json, coco_parts.json, tasks.json, tasks.xml, cvat.zip and yolo/ of the same labels.
"""
import json
import sys
import zipfile
from pathlib import Path

import numpy as np

root = Path(sys.argv[1])
content = json.loads((root / 'coco.json').read_text('utf-8'))
file_names = {image['id']: image['file_name'] for image in content['images']}
people = {name: [entry for entry in content['annotations'] if file_names[entry['image_id']] == name]
          for name in file_names.values()}


def check_label_studio():
    from label_studio_sdk.converter import Converter, brush
    from label_studio_sdk.label_interface import LabelInterface
    config = (root / 'tasks.xml').read_text('utf-8')
    interface, tasks = LabelInterface(config), json.loads((root / 'tasks.json').read_text('utf-8'))
    interface.validate()
    parts, masks, exported = json.loads((root / 'coco_parts.json').read_text()), 0, []
    names = {entry['name']: entry['id'] for entry in parts['categories']}
    for number, task in enumerate(tasks):
        prediction, = task.pop('predictions')
        assert interface.validate_prediction(prediction, return_errors=True) == []
        for region in prediction['result']:
            if region['type'] == 'brushlabels':
                values = brush.decode_rle(region['value']['rle'])
                part = names[region['value']['brushlabels'][0]]
                area = sum(entry['area'] for entry in parts['annotations'] if entry['category_id'] == part)
                assert (values > 0).sum() == 4 * area
                again = brush.mask2rle(values.reshape(region['original_height'], region['original_width'], 4)[..., 3])
                assert np.array_equal(brush.decode_rle(again), values)
                masks += 1
        shapes = [region for region in prediction['result'] if region['type'] != 'brushlabels']
        exported.append(dict(task, id=number, annotations=[dict(id=number, completed_by=1, result=shapes)]))
    assert masks == len({entry['category_id'] for entry in parts['annotations']})
    (root / 'export.json').write_text(json.dumps(exported))
    Converter(config, str(root / 'photos'), download_resources=False).convert_to_yolo(
        str(root / 'export.json'), str(root / 'exported'), is_dir=False)
    lines = [line for path in (root / 'exported/labels').iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == len(content['annotations'])


def check_pycocotools():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    coco = COCO(str(root / 'coco.json'))
    results = [dict(image_id=entry['image_id'], category_id=1, keypoints=entry['keypoints'], score=1.)
               for entry in content['annotations']]
    evaluation = COCOeval(coco, coco.loadRes(results), 'keypoints')
    evaluation.params.kpt_oks_sigmas = np.full(len(content['categories'][0]['keypoints']), .05)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1


def check_datumaro():
    from datumaro import AnnotationType, Dataset
    with zipfile.ZipFile(root / 'cvat.zip') as archive:
        archive.extractall(root / 'cvat')
    (root / 'cvat/images').mkdir()
    (root / 'cvat/images/default').symlink_to(root.absolute() / 'photos')
    for item in Dataset.import_from(str(root / 'cvat'), 'coco_person_keypoints'):
        entries = next(entries for name, entries in people.items() if Path(name).stem == item.id)
        read = [annotation for annotation in item.annotations if annotation.type == AnnotationType.points]
        for annotation, entry in zip(sorted(read, key=lambda annotation: annotation.id), entries, strict=True):
            points = np.reshape(entry['keypoints'], (-1, 3))
            shown = points[:, 2] > 0
            assert [visibility.value for visibility in annotation.visibility] == points[:, 2].tolist()
            # CVAT counts from the corner of the image.
            found = np.reshape(annotation.points, (-1, 2))[shown]
            np.testing.assert_allclose(found, points[shown, :2] + .5, atol=.01)


def check_supervision():
    import supervision
    photos = str(root / 'photos')
    datasets = (supervision.DetectionDataset.from_coco(photos, str(root / 'coco.json')),
                supervision.DetectionDataset.from_yolo(photos, str(root / 'yolo/labels/train'),
                                                       str(root / 'yolo/data.yaml')))
    for dataset in datasets:
        found = {Path(path).name: detections.xyxy for path, _, detections in dataset}
        for name, entries in people.items():
            boxes = np.reshape([entry['bbox'] for entry in entries], (-1, 4))
            boxes[:, 2:] += boxes[:, :2]
            np.testing.assert_allclose(found[name], boxes, atol=.01)


def check_ultralytics():
    import yaml
    from ultralytics.data.utils import verify_image_label
    shape = yaml.safe_load((root / 'yolo/data.yaml').read_text('utf-8'))['kpt_shape']
    images = [str(root / 'yolo' / line) for line in (root / 'yolo/train.txt').read_text('utf-8').splitlines()]
    assert len(images) == len(people)
    for image in images:
        label = str(Path(image).with_suffix('.txt')).replace('/images/', '/labels/')
        *values, corrupt, message = verify_image_label((image, label, '', True, 1, *shape, False))
        assert (corrupt, message) == (0, '')
        assert len(values[1]) == len(people[Path(image).name])


def check_half_pixel_of_ultralytics():
    """Scales a dot of one pixel and its keypoint as in training; both stay together with half a pixel added."""
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.instance import Instances
    image = np.zeros((10, 10, 3), np.uint8)
    image[7, 2] = 255
    instances = Instances(np.array([[.5, .5, 1, 1]], np.float32), np.zeros((0, 1000, 2), np.float32),
                          np.array([[[2.5, 7.5, 2]]], np.float32) / [10, 10, 1], 'xywh', True)
    scaled = LetterBox((100, 100))(labels=dict(img=image, instances=instances, cls=np.zeros(1)))
    places = np.argwhere(scaled['img'][..., 0])
    center = np.average(places + .5, axis=0, weights=scaled['img'][..., 0][tuple(places.T)])[::-1]
    np.testing.assert_allclose(scaled['instances'].keypoints[0, 0, :2], center, atol=.1)


for check in (check_label_studio, check_pycocotools, check_datumaro, check_supervision, check_ultralytics,
              check_half_pixel_of_ultralytics):
    check()
    print('passed:', check.__name__)
