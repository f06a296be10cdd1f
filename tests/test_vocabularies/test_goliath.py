"""Tests of the 308-keypoint set."""
import json

import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from sapiens_mm.vocabularies.goliath import METAINFO_308, mirror_name
from sapiens_mm.vocabularies.keypoints import get_parts


@pytest.fixture(scope='module')
def facts(root):
    """The keypoint set of the public checkpoints."""
    path = root.parent / 'shared' / 'facts' / 'keypoints_308.json'
    if not path.exists():
        pytest.skip(f'{path} is not here')
    return json.loads(path.read_text())


@pytest.mark.parametrize(('name', 'mirrored'), [
    ('nose', 'nose'),
    ('left_hip', 'right_hip'),
    ('upper_midpoint_1_of_r_eyebrow', 'upper_midpoint_1_of_l_eyebrow'),
    ('upper_midpoint_2_of_r_eyebrow', 'upper_midpoint_3_of_l_eyebrow'),
    ('midpoint_2_of_nose_bridge', 'midpoint_2_of_nose_bridge'),
    ('l_midpoint_1_of_antihelix', 'r_midpoint_1_of_antihelix'),
    ('midpoint_4_of_lower_inner_lip', 'midpoint_5_of_lower_inner_lip'),
    ('r_border_of_pupil_12', 'l_border_of_pupil_12'),
])
def test_mirror_name(name, mirrored):
    assert mirror_name(name) == mirrored
    assert mirror_name(mirrored) == name


def test_metainfo_is_the_public_vocabulary(facts):
    parts = {name: part for part, names in get_parts('goliath').items() for name in names}
    keypoints = [{**info, 'sigma': METAINFO_308['sigmas'][index], 'group': parts[info['name']]}
                 for index, info in METAINFO_308['keypoint_info'].items()]
    assert keypoints == facts['keypoints']
    skeleton = [{'link': list(link['link']), 'color': link['color']} for link in METAINFO_308['skeleton_info'].values()]
    assert skeleton == facts['skeleton']


def test_metainfo_parses():
    metainfo = parse_pose_metainfo(METAINFO_308)
    flip = metainfo['flip_indices']
    assert metainfo['num_keypoints'] == len(flip) == len(set(flip)) == 308
    assert [flip[index] for index in flip] == list(range(308))
    # Half-body augmentation chooses among body, feet and hands only.
    assert len(metainfo['upper_body_ids']) + len(metainfo['lower_body_ids']) == 17 + 6 + 40
    assert len(metainfo['skeleton_links']) == 65


def test_lines_are_listed_in_spatial_order():
    """The eyelid lines are listed from the outer corner on, which gives the order of the midpoints."""
    names = [info['name'] for info in METAINFO_308['keypoint_info'].values()]
    start = names.index('r_outer_end_of_upper_eyelid_line') + 1
    order = [name.split('_of_')[0] for name in names[start:start + 7]]
    assert order == ['r_midpoint_3', 'r_midpoint_1', 'r_midpoint_4', 'r_centerpoint', 'r_midpoint_5', 'r_midpoint_2',
                     'r_midpoint_6']
