"""Tests of keypoint metrics."""
import copy
import json
import multiprocessing

import numpy as np
import pytest
import torch.distributed as dist
from mmengine.evaluator import Evaluator
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.evaluation.metrics import CocoMetric, CocoWholeBodyMetric, PCKAccuracy

from sapiens_mm.pose.metainfo import get_metainfo
from sapiens_mm.pose.metrics import SapiensCommon114Metric, SapiensKeypointMetric, SapiensTorsoPCK
from sapiens_mm.vocabularies.coco import COMMON_114_IN_133, COMMON_114_IN_308
from sapiens_mm.vocabularies.keypoints import get_parts

from .conftest import METAINFO

FIELDS = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')
STATS = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)')


def flat(annotation):
    fields = FIELDS if 'foot_kpts' in annotation else FIELDS[:1]
    return np.reshape([number for field in fields for number in annotation[field]], (-1, 3)).astype(np.float64)


def predictions(path, noise=0.):
    """The annotations of a file as a model's output, displaced by ``noise`` times the size of the person."""
    random = np.random.default_rng(0)
    samples = []
    for annotation in json.loads(path.read_text())['annotations']:
        keypoints = flat(annotation)
        visible = keypoints[:, 2] > 0
        if annotation['iscrowd'] or not visible.any():
            continue
        x, y, w, h = annotation['bbox']
        # Predictions of keypoints that are not labeled do not count inside of the box.
        keypoints[~visible, :2] = x + w / 2, y + h / 2
        moved = keypoints[:, :2] + random.normal(size=(len(keypoints), 2)) * noise * np.sqrt(annotation['area'])
        samples.append(dict(
            id=annotation['id'], img_id=annotation['image_id'], category_id=1,
            pred_instances=dict(keypoints=moved[None], keypoint_scores=random.uniform(0.3, 1, (1, len(keypoints))),
                                bboxes=np.array([[x, y, x + w, y + h]]), bbox_scores=random.uniform(0.5, 1, 1)),
            gt_instances=dict(bbox_scales=np.array([[w, h]]) * 1.25, bbox_scores=np.ones(1))))
    return samples


def evaluate(metric, samples, metainfo):
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = metainfo
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(len(samples))


@pytest.fixture
def file_17(coco_real):
    return coco_real / 'person_keypoints.json'


@pytest.fixture
def file_133(coco_real):
    return coco_real / 'coco_wholebody.json'


@pytest.fixture
def file_308(file_133, tmp_path):
    """The real whole-body annotations as 308 keypoints in one list, of which the common 114 are labeled."""
    data = json.loads(file_133.read_text())
    for annotation in data['annotations']:
        keypoints = np.zeros((308, 3))
        keypoints[COMMON_114_IN_308] = flat(annotation)[COMMON_114_IN_133]
        annotation['keypoints'] = keypoints.ravel().tolist()
        for field in FIELDS[1:]:
            del annotation[field]
    path = tmp_path / 'goliath.json'
    path.write_text(json.dumps(data))
    return path


def test_no_predictions(file_17):
    with pytest.raises(ValueError, match='no predictions'):
        evaluate(SapiensKeypointMetric(ann_file=str(file_17)), [], get_metainfo(17))


def test_bad_options():
    with pytest.raises(ValueError, match='keypoints_crowd'):
        SapiensKeypointMetric(iou_type='keypoints_crowd')
    with pytest.raises(ValueError, match="'arm'.*left_claw"):
        SapiensKeypointMetric(parts={'arm': ['left_wrist', 'left_claw']}).dataset_meta = get_metainfo(17)


@pytest.mark.parametrize('kind', [SapiensKeypointMetric, SapiensCommon114Metric])
def test_other_numbers_of_keypoints(kind, file_17, file_133, file_308):
    with pytest.raises(ValueError, match='predicts 17 .*308'):
        evaluate(kind(ann_file=str(file_308)), predictions(file_17), get_metainfo(308))
    with pytest.raises(ValueError, match=r'annotation \d+ has 17 .*133'):
        evaluate(kind(ann_file=str(file_17)), predictions(file_133), get_metainfo(133))


def test_annotations_of_another_split(file_17):
    samples = predictions(file_17)
    samples[3]['img_id'] = 1
    with pytest.raises(ValueError, match='image 1 '):
        evaluate(SapiensKeypointMetric(ann_file=str(file_17)), samples, get_metainfo(17))


def test_annotations_without_area(file_17, tmp_path):
    data = json.loads(file_17.read_text())
    for annotation in data['annotations']:
        del annotation['area']
    path = tmp_path / 'no_area.json'
    path.write_text(json.dumps(data))
    settings, samples = dict(ann_file=str(path)), predictions(file_17)
    with pytest.raises(ValueError, match='12 of 12 persons .* area None'):
        evaluate(SapiensKeypointMetric(**settings), samples, get_metainfo(17))
    metrics = evaluate(SapiensKeypointMetric(**settings, use_area=False), samples, get_metainfo(17))
    assert metrics['coco/AP'] == pytest.approx(1)


@pytest.mark.parametrize('noise', [0., 0.03, 0.08])
def test_17_keypoints_as_mmpose(noise, file_17):
    samples = predictions(file_17, noise)
    theirs = evaluate(CocoMetric(ann_file=str(file_17)), copy.deepcopy(samples), get_metainfo(17))
    ours = evaluate(SapiensKeypointMetric(ann_file=str(file_17)), samples, get_metainfo(17))
    assert ours == pytest.approx(theirs)
    assert list(ours) == [f'coco/{stat}' for stat in STATS]
    if noise == 0:
        assert ours['coco/AP'] == pytest.approx(1)
    else:
        assert 0 < ours['coco/AP'] < 1


@pytest.mark.filterwarnings("ignore:'.*_score' not found")
@pytest.mark.parametrize('noise', [0., 0.01, 0.03])
def test_133_keypoints_as_mmpose(noise, file_133, capsys):
    samples = predictions(file_133, noise)
    theirs = evaluate(CocoWholeBodyMetric(ann_file=str(file_133)), copy.deepcopy(samples), get_metainfo(133))
    # mmpose returns the whole body only; it prints the parts, AP first and AR in the sixth place of ten.
    printed = [float(line.rsplit('=', 1)[1]) for line in capsys.readouterr().out.splitlines() if 'maxDets=' in line]
    parts = dict(zip(('body', 'foot', 'face', 'left_hand', 'right_hand'), np.reshape(printed, (-1, 10))[:, [0, 5]],
                     strict=False))
    ours = evaluate(SapiensKeypointMetric(ann_file=str(file_133)), samples, get_metainfo(133))
    for stat in ('AP', 'AP .5', 'AP .75', 'AR', 'AR .5', 'AR .75'):
        assert ours[f'coco_wholebody/{stat}'] == pytest.approx(theirs[f'coco-wholebody/{stat}'])
    for part, (precision, recall) in parts.items():
        assert ours[f'coco_wholebody/{part}/AP'] == pytest.approx(precision, abs=6e-4)
        assert ours[f'coco_wholebody/{part}/AR'] == pytest.approx(recall, abs=6e-4)
    hands = [ours[f'coco_wholebody/{side}_hand/AP'] for side in ('left', 'right')]
    assert ours['coco_wholebody/hand/AP'] == pytest.approx(np.mean(hands))
    if noise == 0:
        # Except the face: where people overlap, one without a labeled face may match another.
        assert [ours[f'coco_wholebody/{part}AP'] for part in ('', 'body/', 'foot/', 'hand/')] == pytest.approx([1] * 4)
    else:
        assert ours['coco_wholebody/face/AP'] < ours['coco_wholebody/body/AP']


def test_308_keypoints(file_308):
    perfect = evaluate(SapiensKeypointMetric(ann_file=str(file_308)), predictions(file_308), get_metainfo(308))
    extra = [name for name in perfect if '/extra/' in name]
    assert len(extra) == 2
    for name, value in perfect.items():  # nobody has one of the 7 extra keypoints
        assert value == pytest.approx(-1 if name in extra else 1)
    # Only the displaced part loses.
    samples = predictions(file_308)
    names = get_metainfo(308)['keypoint_name2id']
    hand = [names[name] for name in get_parts(308)['left_hand']]
    for sample in samples:
        sample['pred_instances']['keypoints'][:, hand] += 200
    metrics = evaluate(SapiensKeypointMetric(ann_file=str(file_308)), samples, get_metainfo(308))
    assert metrics['goliath/left_hand/AP'] == 0
    assert metrics['goliath/hand/AP'] == pytest.approx(0.5)
    assert metrics['goliath/AP'] < 1
    for part in ('body', 'foot', 'face', 'right_hand'):
        assert metrics[f'goliath/{part}/AP'] == pytest.approx(1)


@pytest.mark.parametrize('noise', [0., 0.02])
def test_common_114_from_either_vocabulary(noise, file_133, file_308):
    """Predictions and annotations may each be in 133 or in 308 keypoints: the same people give the same metrics."""
    samples_133 = predictions(file_133, noise)
    samples_308 = copy.deepcopy(samples_133)
    for sample in samples_308:
        for key, shape in (('keypoints', (1, 308, 2)), ('keypoint_scores', (1, 308))):
            common = sample['pred_instances'][key][:, COMMON_114_IN_133]
            sample['pred_instances'][key] = np.full(shape, 1e4)  # must not count
            sample['pred_instances'][key][:, COMMON_114_IN_308] = common
    reference = None
    for samples, size in ((samples_133, 133), (samples_308, 308)):
        for file in (file_133, file_308):
            metrics = evaluate(SapiensCommon114Metric(ann_file=str(file)), samples, get_metainfo(size))
            reference = reference or metrics
            assert metrics == pytest.approx(reference)
    assert len(samples_308[0]['pred_instances']['keypoints'][0]) == 308  # other metrics get the samples, too
    parts = {name.split('/')[1] for name in reference if name.count('/') == 2}
    assert parts == {'body', 'foot', 'face', 'left_hand', 'right_hand', 'hand'}
    assert (reference['common_114/AP'] == pytest.approx(1)) == (noise == 0)


def test_duplicates_are_suppressed(file_17):
    """A second detection of every person, slightly off and scored lower, is removed by the OKS-NMS."""
    samples = predictions(file_17)
    doubles = copy.deepcopy(samples)
    for double in doubles:
        double['id'] += 10**8
        double['pred_instances']['keypoints'] += 0.1
        double['pred_instances']['bbox_scores'] /= 2
    metric = SapiensKeypointMetric(ann_file=str(file_17))
    assert evaluate(metric, samples + doubles, get_metainfo(17))['coco/AP'] == pytest.approx(1)
    assert len(metric._detections) == len(samples)
    metric = SapiensKeypointMetric(ann_file=str(file_17), nms_mode='none')
    evaluate(metric, samples + doubles, get_metainfo(17))
    assert len(metric._detections) == 2 * len(samples)


def test_annotations_that_come_with_the_samples(file_133):
    """Without an annotation file the annotations are taken from the samples."""
    annotations = {annotation['id']: annotation for annotation in json.loads(file_133.read_text())['annotations']}
    samples = predictions(file_133)
    for sample in samples:
        sample['raw_ann_info'] = annotations[sample['id']]
        sample['ori_shape'] = (480, 640)
    metainfo = {**get_metainfo(133), 'dataset_name': 'mine', 'CLASSES': [{'id': 1, 'name': 'person'}]}
    assert evaluate(SapiensKeypointMetric(), copy.deepcopy(samples), metainfo)['mine/AP'] == pytest.approx(1)
    metrics = evaluate(SapiensCommon114Metric(), samples, metainfo)
    assert metrics['common_114/AP'] == metrics['common_114/hand/AP'] == pytest.approx(1)


def test_predictions_are_written_where_asked(file_17, tmp_path):
    samples = predictions(file_17)
    metrics = evaluate(
        SapiensKeypointMetric(ann_file=str(file_17), format_only=True, outfile_prefix=str(tmp_path / 'out')), samples,
        get_metainfo(17))
    assert metrics == {}
    written = json.loads((tmp_path / 'out.keypoints.json').read_text())
    assert len(written) == len(samples)
    assert len(written[0]['keypoints']) == 51


def evaluate_share(rank, samples, file, folder):
    """One of two processes with every other sample."""
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    metric = SapiensKeypointMetric(ann_file=str(file))
    metric.dataset_meta = get_metainfo(133)
    metric.process({}, samples[rank::2])
    (folder / f'{rank}.json').write_text(json.dumps(metric.evaluate(len(samples))))
    dist.barrier()  # in torch 2.1 a process hangs that leaves after the other
    dist.destroy_process_group()


def test_two_processes(file_133, tmp_path):
    samples = predictions(file_133, 0.02)
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=evaluate_share, args=(rank, samples, file_133, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    alone = evaluate(SapiensKeypointMetric(ann_file=str(file_133)), samples, get_metainfo(133))
    for rank in range(2):
        assert json.loads((tmp_path / f'{rank}.json').read_text()) == pytest.approx(alone)


def test_own_parts_and_prefix(file_17):
    metric = SapiensKeypointMetric(ann_file=str(file_17), parts={'eyes': ['left_eye', 'right_eye']}, prefix='mine')
    metrics = evaluate(metric, predictions(file_17), get_metainfo(17))
    assert metrics['mine/eyes/AP'] == pytest.approx(1)


def test_custom_keypoints_have_no_parts():
    metric = SapiensKeypointMetric()
    metric.dataset_meta = parse_pose_metainfo(METAINFO)
    assert metric.parts == {}
    assert metric.prefix == 'five'


def person_of_torso(length, error, visible=1., names=('left_shoulder', 'right_hip')):
    """A prediction that misses every keypoint by ``error`` pixels, of a person with a torso of ``length``."""
    points = np.random.default_rng(0).uniform(0, 100, (1, 17, 2))
    shoulder, hip = (get_metainfo(17)['keypoint_name2id'][name] for name in names)
    points[0, hip] = points[0, shoulder] + (0.6 * length, 0.8 * length)
    return dict(pred_instances=dict(keypoints=points + (0, error)),
                gt_instances=dict(keypoints=points, keypoints_visible=np.full((1, 17), visible)))


def test_torso_pck():
    def pck(*samples, **options):
        return evaluate(SapiensTorsoPCK(**options), samples, get_metainfo(17))

    hit, miss = person_of_torso(50, 9.9), person_of_torso(50, 10.1)
    assert pck(hit) == {'pck/tPCK': 1}
    assert pck(hit, miss, miss, miss) == {'pck/tPCK': 0.25}
    assert pck(miss, thr=0.3, prefix='lsp') == {'lsp/tPCK': 1}
    unlabeled = person_of_torso(50, 10.1)
    unlabeled['gt_instances']['keypoints_visible'][0, 5] = 0
    assert pck(hit, unlabeled) == {'pck/tPCK': 1}
    face = person_of_torso(50, 10.1)  # the first five keypoints of one of two persons are unlabeled
    face['gt_instances']['keypoints_visible'][0, :5] = 0
    assert pck(hit, face)['pck/tPCK'] == pytest.approx((5 * 1 + 12 * 0.5) / 17)
    # mmpose's, whose torso is from keypoint 4 to 5, agrees where the torso is there.
    ear = [person_of_torso(50, error, names=('right_ear', 'left_shoulder')) for error in (9.9, 10.1)]
    metric = SapiensTorsoPCK()
    metric.dataset_meta = get_metainfo(17)
    metric.torso = [4, 5]
    for sample in ear:
        metric.process([], [sample])
    assert metric.evaluate(2) == evaluate(PCKAccuracy(0.2, 'torso', prefix='pck'), ear, get_metainfo(17))


def test_torso_pck_of_keypoints_without_a_torso():
    with pytest.raises(ValueError, match='left_shoulder'):
        SapiensTorsoPCK().dataset_meta = parse_pose_metainfo(METAINFO)
