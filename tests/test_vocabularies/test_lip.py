"""Tests of LIP and CIHP classes."""
import json

import pytest

from sapiens_mm.vocabularies import lip
from sapiens_mm.vocabularies.body_parts import FLIPPED_PARTS, PART_IDS, PART_NAMES


def test_flip_exchanges_left_and_right():
    assert [lip.FLIPPED_LIP[index] for index in lip.FLIPPED_LIP] == list(range(20))
    moved = [index for index in range(20) if lip.FLIPPED_LIP[index] != index]
    assert moved == [14, 15, 16, 17, 18, 19]
    assert lip.FLIPPED_LIP[14:] == (15, 14, 17, 16, 19, 18)


def test_colors_differ():
    assert len(set(lip.LIP_COLORS)) == 20


def test_against_the_facts(root):
    path = root.parent / 'shared/facts/body_parts.json'
    if not path.exists():
        pytest.skip(f'{path} is not here')
    facts = json.loads(path.read_text())['lip_cihp_20']
    assert tuple(entry['name'] for entry in facts['classes']) == lip.LIP_NAMES
    assert [[a, b] for a, b in enumerate(lip.FLIPPED_LIP) if a < b] == facts['flip_pairs']
    # A counterpart among the 28 maps back to the class, or to the one it is merged with.
    for index, part in enumerate(facts['mapping_20_to_goliath28']):
        if part != 255 and lip.LIP_NAMES[index] != 'Skirt':  # upper clothing in the facts
            assert lip.PARTS_28_TO_20[part] == lip.LIP_COMPARABLE[index]


def test_28_in_20():
    names = {name: lip.LIP_NAMES[to] for name, to in zip(PART_NAMES, lip.PARTS_28_TO_20) if to != 255}
    assert set(PART_NAMES) - set(names) == {'Apparel', 'Torso'}
    assert {names[name] for name in ('Left_Hand', 'Left_Lower_Arm', 'Left_Upper_Arm')} == {'Left-arm'}
    assert {names[name] for name in ('Right_Foot', 'Right_Lower_Leg', 'Right_Upper_Leg')} == {'Right-leg'}
    assert {name for name, to in names.items() if to == 'Face'} == {
        'Face_Neck', 'Lower_Lip', 'Upper_Lip', 'Lower_Teeth', 'Upper_Teeth', 'Tongue'}
    assert names['Left_Sock'] == names['Right_Sock'] == 'Socks'
    assert lip.CIHP_NAMES[lip.PARTS_28_TO_CIHP[PART_IDS['Torso']]] == 'Torso-skin'


def test_mapping_and_flip_commute():
    for mapping in (lip.PARTS_28_TO_20, lip.PARTS_28_TO_CIHP):
        for part, flipped in enumerate(FLIPPED_PARTS):
            to = mapping[part]
            assert mapping[flipped] == (255 if to == 255 else lip.FLIPPED_LIP[to])


@pytest.mark.parametrize(('mapping', 'comparable'), [(lip.PARTS_28_TO_20, lip.LIP_COMPARABLE),
                                                     (lip.PARTS_28_TO_CIHP, lip.CIHP_COMPARABLE)])
def test_comparable_classes_are_those_of_the_28(mapping, comparable):
    assert set(comparable) == set(mapping)
    assert all(to in (255, comparable[to]) for to in comparable if to != 255)
