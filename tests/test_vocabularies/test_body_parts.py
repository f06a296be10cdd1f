"""Tests of the 28 body parts."""
import json

import pytest

from sapiens_mm.vocabularies.body_parts import BODY_PARTS_28, FLIPPED_PARTS, PART_IDS


def test_flip_exchanges_left_and_right():
    assert [FLIPPED_PARTS[part] for part in FLIPPED_PARTS] == list(range(28))
    assert FLIPPED_PARTS[PART_IDS['Left_Sock']] == PART_IDS['Right_Sock']
    assert FLIPPED_PARTS[PART_IDS['Torso']] == PART_IDS['Torso']


def test_against_the_facts(root):
    path = root.parent / 'shared/facts/body_parts.json'
    if not path.exists():
        pytest.skip(f'{path} is not here')
    facts = json.loads(path.read_text())['body_parts_28']
    assert [(part['name'], tuple(part['color'])) for part in facts] == list(BODY_PARTS_28)
    assert [part['flip_id'] for part in facts] == list(FLIPPED_PARTS)
