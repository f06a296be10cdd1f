"""Labels of fresh renders: geometry, masks, keypoints and the COCO files."""
import json
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
from xtcocotools import mask as mask_tools

pytest.importorskip('anny')
pytest.importorskip('mitsuba')

from sapiens_mm.synth.camera import frame_box  # noqa: E402
from sapiens_mm.synth.labels import (  # noqa: E402
    ABSENT,
    COCO_PARTS,
    OCCLUDED,
    SMALLEST_PERSON,
    VISIBLE,
    annotate,
    coco_annotation,
)
from sapiens_mm.synth.landmarks import LANDMARK_NAMES, to_coco17, to_wholebody133  # noqa: E402
from sapiens_mm.synth.people import build_person, sample_person  # noqa: E402
from sapiens_mm.synth.render import label_buffers  # noqa: E402
from sapiens_mm.vocabularies.body_parts import FLIPPED_PARTS, PART_IDS, PART_NAMES  # noqa: E402
from sapiens_mm.vocabularies.goliath import mirror_name  # noqa: E402

from .conftest import degrees, pixel_rays  # noqa: E402

# Parts that visible keypoints may lie on, by words in their names, and the least share that does. SIDE is the
# keypoint's side; clothes and adjacent parts are allowed, the other side is not.
GROUPS = {
    'fingers': (('thumb', 'finger'), {'SIDE_Hand'}, 0.97),
    'wrist': (('wrist', 'hand_root'), {'SIDE_Hand', 'SIDE_Lower_Arm', 'Upper_Clothing'}, 0.97),
    'elbow': (('elbow', 'olecranon', 'cubital_fossa'), {'SIDE_Lower_Arm', 'SIDE_Upper_Arm', 'Upper_Clothing'}, 0.97),
    'shoulder': (('shoulder', 'acromion'), {'SIDE_Upper_Arm', 'Torso', 'Upper_Clothing', 'Apparel', 'Hair'}, 0.97),
    'hip': (('hip', ), {'SIDE_Upper_Leg', 'Torso', 'Upper_Clothing', 'Lower_Clothing'}, 0.97),
    'knee': (('knee', ), {'SIDE_Upper_Leg', 'SIDE_Lower_Leg', 'SIDE_Sock', 'Lower_Clothing'}, 0.97),
    'ankle': (('ankle', ), {'SIDE_Lower_Leg', 'SIDE_Foot', 'SIDE_Sock', 'SIDE_Shoe', 'Lower_Clothing'}, 0.97),
    'foot': (('toe', 'heel'), {'SIDE_Foot', 'SIDE_Sock', 'SIDE_Shoe', 'Lower_Clothing'}, 0.97),
    'neck': (('neck', ), {'Face_Neck', 'Torso', 'Upper_Clothing', 'Hair', 'Apparel'}, 0.97),
    'face': (('', ), {'Face_Neck', 'Upper_Lip', 'Lower_Lip', 'Upper_Teeth', 'Lower_Teeth', 'Tongue', 'Hair', 'Apparel'},
             0.98),
}


def group_of(name: str) -> str:
    """The first group with a word of the name; names of the body's keypoints begin with the side."""
    if name.startswith(('left_', 'right_')):
        return next(group for group, (words, _, _) in GROUPS.items() if any(word in name for word in words))
    return 'neck' if name == 'neck' else 'face'


def allowed_at(name: str) -> set:
    side = 'Left' if name.startswith('left_') else 'Right'
    return {PART_IDS[part.replace('SIDE', side)] for part in GROUPS[group_of(name)][1]}


def visible(sample):
    """``(annotation, name, row, column)`` of each visible keypoint."""
    for annotation in sample.annotations:
        for name, (x, y, v) in zip(LANDMARK_NAMES, annotation['landmarks']):
            if v == VISIBLE:
                yield annotation, name, round(y), round(x)


def points_of(sample) -> np.ndarray:
    """(H, W, 3) float64 points of the camera's frame (y down) at the depth of each pixel."""
    return pixel_rays(sample.camera) * sample.depth[..., None].astype(np.float64)


def test_normals_are_unit_and_face_the_camera(samples):
    facing = []
    for sample in samples:
        person = sample.masks > 0
        normals = sample.normal.astype(np.float64)
        np.testing.assert_allclose(np.linalg.norm(normals[person], axis=1), 1, atol=1e-5)
        assert not normals[~person].any()
        rays = points_of(sample)[person] * [1, -1, -1]  # x right, y up, z to the viewer
        facing.append((normals[person] * rays).sum(axis=1) < 0)
    assert np.concatenate(facing).mean() > 0.995


def test_normals_agree_with_the_gradient_of_depth(samples):
    """The gradient spans about 2 cm, and so a facet of the mesh: the normals are those of the smooth surface.

    Smooth: no part ends, and the normal turns by less than 15 degrees, in that window.
    """
    differences = []
    for sample in samples:
        points, normal = points_of(sample), sample.normal.astype(np.float64)
        pixel = np.median(sample.depth[sample.masks > 0]) / sample.camera.intrinsics[0, 0]
        r = int(np.clip(round(0.01 / pixel), 1, 12))
        height, width = sample.depth.shape
        middle = slice(r, height - r), slice(r, width - r)
        across = points[r:-r, 2 * r:] - points[r:-r, :-2 * r]
        along = points[2 * r:, r:-r] - points[:-2 * r, r:-r]
        gradient = np.cross(along, across) * [1, -1, -1]
        gradient /= np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-12)
        smooth = sample.masks[middle] > 0
        for down in range(0, 2 * r + 1, max(1, r // 2)):
            for right in range(0, 2 * r + 1, max(1, r // 2)):
                window = slice(down, down + height - 2 * r), slice(right, right + width - 2 * r)
                smooth &= sample.parts[window] == sample.parts[middle]
                smooth &= np.abs(sample.depth[window] - sample.depth[middle]) < 5 * r * pixel
                smooth &= degrees(normal[window], normal[middle]) < 15
        differences.append(degrees(gradient, normal[middle])[smooth])
    differences = np.concatenate(differences)
    assert len(differences) > 0.15 * sum((sample.masks > 0).sum() for sample in samples)
    assert np.median(differences) < 3


def test_parts_masks_instances_and_depth_cover_the_same_pixels(samples):
    for sample in samples:
        person = sample.masks == 255
        assert person.any()
        assert (person | (sample.masks == 0)).all()
        for labels in (sample.parts, sample.instances, sample.depth):
            np.testing.assert_array_equal(labels > 0, person)
        assert sample.parts.max() < len(PART_NAMES)
        people = len(sample.content['parameters']['people'])
        assert sample.instances.max() <= people
        # Persons without an annotation are hardly visible.
        rest = person & ~np.isin(sample.instances, [annotation['instance'] for annotation in sample.annotations])
        assert rest.sum() < people * max(20, SMALLEST_PERSON * person.size)


def test_boxes_and_areas_are_those_of_the_instance_masks(samples):
    for sample in samples:
        for annotation in sample.annotations:
            mask = sample.instances == annotation['instance']
            np.testing.assert_array_equal(mask_tools.decode(annotation['segmentation']), mask)
            rows, columns = np.nonzero(mask)
            x, y, w, h = annotation['bbox']
            assert (x, y, x + w - 1, y + h - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
            assert annotation['area'] == mask.sum()


def test_visible_keypoints_lie_on_their_person(samples):
    hits = [sample.instances[row, column] == annotation['instance']
            for sample in samples for annotation, _, row, column in visible(sample)]
    assert len(hits) > 1000
    assert np.mean(hits) >= 0.99


def test_visible_keypoints_lie_on_their_body_part(samples):
    hits = {group: [] for group in GROUPS}
    for sample in samples:
        for _, name, row, column in visible(sample):
            hits[group_of(name)].append(sample.parts[row, column] in allowed_at(name))
    rates = {group: np.mean(values) for group, values in hits.items() if values}
    assert set(rates) == set(GROUPS)
    # One keypoint of a group may miss: a small set has only a few of them.
    low = {group: f'{rate:.3f} of {len(hits[group])}' for group, rate in rates.items()
           if len(hits[group]) * (1 - rate) > 1 + len(hits[group]) * (1 - GROUPS[group][2])}
    assert not low


def test_no_visible_keypoint_of_a_limb_lies_on_the_other_side(samples):
    wrong = []
    for sample in samples:
        for _, name, row, column in visible(sample):
            if name.startswith(('left_', 'right_')) and group_of(name) != 'face':
                part = PART_NAMES[sample.parts[row, column]]
                wrong.append(part.startswith('Right_' if name.startswith('left_') else 'Left_'))
    assert len(wrong) > 100
    assert np.mean(wrong) < 0.01


def test_visibility_is_one_of_three_and_absent_points_have_no_coordinates(samples):
    for sample in samples:
        height, width = sample.depth.shape
        for annotation in sample.annotations:
            points = np.array(annotation['landmarks'])
            assert set(points[:, 2]) <= {ABSENT, OCCLUDED, VISIBLE}
            assert not points[points[:, 2] == ABSENT].any()
            labeled = points[points[:, 2] > 0, :2]
            assert ((labeled >= -0.5) & (labeled <= [width - 0.5, height - 0.5])).all()


@pytest.fixture(scope='module')
def build(body, wardrobe):
    """Builds a bare person who stands at a place."""

    def build(seed: int, instance: int, place=(0, 0, 0), arms: float = 0.):
        drawn = sample_person(body, wardrobe, np.random.default_rng(seed))
        pose = {f'upperarm01.{side}': [0, sign * arms, 0] for side, sign in (('L', 1), ('R', -1))}
        drawn.update(outfit={}, face={}, pose=dict(kind='standing', rotations=pose))
        return build_person(body, wardrobe, drawn, np.eye(3), np.array(place, float), instance)

    return build


@pytest.fixture(scope='module')
def facing(build):
    """A person with arms off the body who looks at the camera."""
    return build(3, 1, arms=0.5)


def label(people: list, **view):
    meshes = [mesh for person in people for mesh in person.meshes]
    camera = frame_box(people[0].body.vertices[:13380], (192, 144), 1.5, margin=0.05, **view)
    buffers = label_buffers(meshes, camera)
    return camera, buffers, [annotate(person, i, camera, buffers, meshes) for i, person in enumerate(people, 1)]


def test_left_is_on_the_right_of_an_image_of_a_person_who_faces_the_camera(facing):
    _, buffers, (common, ) = label([facing])
    points = dict(zip(LANDMARK_NAMES, np.array(common['landmarks'])))
    pairs = [(points[name], points[mirror_name(name)]) for name in LANDMARK_NAMES[:308]
             if name.startswith(('left_', 'l_'))]
    both = [(left[0], right[0]) for left, right in pairs if left[2] and right[2]]
    assert len(both) > 100
    assert all(left > right for left, right in both)
    for part in ('Hand', 'Foot', 'Upper_Arm', 'Lower_Arm', 'Upper_Leg', 'Lower_Leg'):
        left, right = (np.nonzero(buffers.part == PART_IDS[f'{side}_{part}'])[1].mean() for side in ('Left', 'Right'))
        assert left > right + 3


def test_from_behind_the_same_person_has_left_on_the_left(facing):
    _, _, (common, ) = label([facing], azimuth=180)
    points = dict(zip(LANDMARK_NAMES, np.array(common['landmarks'])))
    for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle'):
        assert points[f'left_{joint}'][0] < points[f'right_{joint}'][0]
    # The back of the head hides the face.
    assert all(points[name][2] == OCCLUDED for name in ('nose', 'l_center_of_pupil', 'center_of_lower_outer_lip'))


def test_a_mirrored_view_swaps_sides_of_parts_and_keypoints(facing):
    """The standing body is symmetric, so its image flips into itself with the sides exchanged."""
    _, buffers, (common, ) = label([facing])
    flipped = np.array(FLIPPED_PARTS)[buffers.part[:, ::-1]]
    person = (buffers.part > 0) & (flipped > 0)
    assert person.sum() > 0.97 * (buffers.part > 0).sum()
    assert (buffers.part == flipped)[person].mean() > 0.97
    # Without the exchange it would not.
    assert (buffers.part == buffers.part[:, ::-1])[person].mean() < 0.8
    points = dict(zip(LANDMARK_NAMES, np.array(common['landmarks'])))
    width = buffers.part.shape[1]
    for name in LANDMARK_NAMES[:308]:
        if points[name][2] and points[mirror_name(name)][2]:
            assert abs(width - 1 - points[name][0] - points[mirror_name(name)][0]) < 1
            assert abs(points[name][1] - points[mirror_name(name)][1]) < 1


def test_somebody_in_front_occludes(build, facing):
    _, _, (alone, ) = label([facing])
    _, buffers, (behind, other) = label([facing, build(4, 2, (0, -0.6, 0))])
    assert behind['area'] < 0.7 * alone['area']
    assert behind['area'] + other['area'] == buffers.person.sum()
    before, after = (np.array(entry['landmarks']) for entry in (alone, behind))
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    torso = [LANDMARK_NAMES.index(name) for name in ('neck', 'left_hip', 'right_hip')]
    assert (before[torso, 2] == VISIBLE).all()
    assert (after[torso, 2] == OCCLUDED).all()


def test_a_person_out_of_view_is_not_annotated(build, facing):
    _, _, (visible, away) = label([facing, build(5, 2, (30, 0, 0))])
    assert visible is not None
    assert away is None


def test_annotations_hold_the_points_of_their_vocabulary(samples):
    common = samples[0].annotations[0]
    points = np.array(common['landmarks'])
    flat = {name: np.reshape(coco_annotation(common, name)['keypoints'], (-1, 3))
            for name in ('coco', 'coco_wholebody', 'goliath')}
    np.testing.assert_array_equal(flat['goliath'], points[:308])
    np.testing.assert_array_equal(flat['coco'], to_coco17(points))
    np.testing.assert_array_equal(flat['coco_wholebody'], to_coco17(points))
    whole = coco_annotation(common, 'coco_wholebody')
    rest = np.concatenate([np.reshape(whole[f'{part}_kpts'], (-1, 3)) for part in COCO_PARTS])
    np.testing.assert_array_equal(rest, to_wholebody133(points)[17:])


def load_coco(path):
    from xtcocotools.coco import COCO
    with redirect_stdout(StringIO()):
        return COCO(str(path))


LENGTHS = {
    'person_keypoints.json': dict(keypoints=17 * 3),
    'goliath.json': dict(keypoints=308 * 3),
    'coco_wholebody.json': dict(keypoints=17 * 3, foot_kpts=6 * 3, face_kpts=68 * 3, lefthand_kpts=21 * 3,
                                righthand_kpts=21 * 3),
}


@pytest.mark.parametrize('name', LENGTHS)
def test_coco_files_load_and_are_complete(fresh_set, name):
    coco = load_coco(fresh_set / 'annotations' / name)
    assert len(coco.getImgIds()) == 8
    persons = sum(len(json.loads(path.read_text())['annotations']) for path in (fresh_set / 'samples').iterdir())
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == persons > 8
    (category, ) = coco.loadCats(coco.getCatIds())
    assert category['name'] == 'person'
    assert 3 * len(category['keypoints']) == LENGTHS[name]['keypoints']
    for annotation in annotations:
        image = coco.loadImgs(annotation['image_id'])[0]
        assert (fresh_set / 'images' / image['file_name']).exists()
        assert (image['height'], image['width']) == (256, 192)
        assert annotation['category_id'] == category['id']
        assert annotation['iscrowd'] == 0
        for field, length in LENGTHS[name].items():
            assert len(annotation[field]) == length
            assert set(annotation[field][2::3]) <= {0, 1, 2}
        assert annotation['num_keypoints'] == sum(v > 0 for v in annotation['keypoints'][2::3])
        x, y, w, h = annotation['bbox']
        assert 0 <= x < x + w <= image['width']
        assert 0 <= y < y + h <= image['height']


def test_wholebody_boxes_lie_in_the_image_around_their_points(fresh_set):
    coco = load_coco(fresh_set / 'annotations/coco_wholebody.json')
    compared = 0
    for annotation in coco.loadAnns(coco.getAnnIds()):
        for part in COCO_PARTS:
            points = np.reshape(annotation[f'{part}_kpts'], (-1, 3))
            assert annotation[f'{part}_valid'] is bool((points[:, 2] == VISIBLE).any())
            if part == 'foot':
                continue
            x, y, w, h = annotation[f'{part}_box']
            assert 0 <= x <= x + w <= 192
            assert 0 <= y <= y + h <= 256
            labeled = points[points[:, 2] > 0, :2]
            if len(labeled) > 1:
                compared += 1
                assert min(w, h) > 0
                # Half a pixel at the image's border.
                assert ((labeled >= [x - 0.51, y - 0.51]) & (labeled <= [x + w + 0.51, y + h + 0.51])).all()
    assert compared > 10


@pytest.mark.parametrize(('kind', 'name', 'count'), [
    ('CocoDataset', 'person_keypoints.json', 17),
    ('CocoWholeBodyDataset', 'coco_wholebody.json', 133),
    ('SapiensCocoStyleDataset', 'goliath.json', 308),
])
@pytest.mark.filterwarnings('ignore:The metainfo config file')
def test_the_data_sets_of_mmpose_read_the_set(fresh_set, kind, name, count):
    from mmengine.registry import DefaultScope
    from mmpose.registry import DATASETS

    import sapiens_mm.pose  # noqa: F401
    with DefaultScope.overwrite_default_scope('mmpose'), redirect_stdout(StringIO()):
        dataset = DATASETS.build(dict(
            type=kind, data_root=str(fresh_set), data_mode='topdown', ann_file=f'annotations/{name}',
            data_prefix=dict(img='images/'), pipeline=[]))
    expected = {}
    select = dict(CocoDataset=to_coco17, CocoWholeBodyDataset=to_wholebody133).get(kind, lambda points: points[:count])
    for path in (fresh_set / 'samples').iterdir():
        for common in json.loads(path.read_text())['annotations']:
            points = select(np.array(common['landmarks']))
            body = points[:17] if count == 133 else points
            if body[:, 2].any():  # mmpose drops persons without keypoints
                expected[int(path.stem), tuple(common['bbox'][:2])] = points
    assert len(dataset) == len(expected) > 8
    for info in map(dataset.get_data_info, range(len(dataset))):
        points = expected[info['img_id'], tuple(info['bbox'][0, :2].astype(int))]
        assert info['keypoints'].shape == (1, count, 2)
        np.testing.assert_allclose(info['keypoints'][0], points[:, :2], atol=1e-3)
        np.testing.assert_array_equal(np.reshape(info['keypoints_visible'], (count, -1))[:, 0] > 0, points[:, 2] > 0)
