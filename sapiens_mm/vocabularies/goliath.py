"""Keypoint set "goliath" of the public Sapiens pose checkpoints: 308 keypoints, in mmpose's METAINFO format.

In the channel order of the pose head: 15 body keypoints, 6 on the feet, each hand from its fingertips to its wrist
(right hand first), 7 more on arms and neck, 238 on the face. Names determine mirror pairs.
"""
import itertools
import re

__all__ = ['GOLIATH_PARTS', 'METAINFO_308', 'mirror_name']

_BLUE, _GREEN, _ORANGE = [51, 153, 255], [0, 255, 0], [255, 128, 0]

_FACE_SIGMA = 0.01
_OTHER_SIDE = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l'}
# Points along a line across the face are numbered from the viewer's left, which a flip reverses: a line is 3 1 4 center
# 5 2 6, an eyebrow 2 1 3. Iris and pupil borders are numbered like a clock face, midpoint 1 after 12 o'clock. Points of
# the ear keep their number, except two of the inner helix.
_MIRRORED_NUMBERS = (
    (r'midpoint_(\d)_of_(?:upper|lower)_\w+_(?:line|lip)$', str.maketrans('123456', '216543')),
    (r'midpoint_(\d)_of_[lr]_eyebrow$', str.maketrans('23', '32')),
    (r'border_of_(?:iris|pupil)_midpoint_(\d)$', str.maketrans('1234', '4321')),
    (r'border_of_(?:iris|pupil)_([39])$', str.maketrans('39', '93')),
    (r'point_([28])_of_inner_helix$', str.maketrans('28', '82')),
)


def mirror_name(name: str) -> str:
    """Returns the name of a keypoint's mirror image; a keypoint on the midline keeps its name."""
    for pattern, renumber in _MIRRORED_NUMBERS:
        if match := re.search(pattern, name):
            start, end = match.span(1)
            name = name[:start] + match[1].translate(renumber) + name[end:]
    return re.sub(r'(?:^|(?<=_of_))(?:left|right|l|r)(?=_)', lambda side: _OTHER_SIDE[side[0]], name)


_FINGER_JOINTS = ('4', '3', '2', '_third_joint')
# COCO-WholeBody's sigmas of each finger's keypoints from the tip to the knuckle, and the color of its links.
_FINGERS = {
    'thumb': ((0.047, 0.037, 0.035, 0.022), _ORANGE),
    'forefinger': ((0.035, 0.024, 0.025, 0.026), [255, 153, 255]),
    'middle_finger': ((0.026, 0.022, 0.024, 0.018), [102, 178, 255]),
    'ring_finger': ((0.032, 0.021, 0.021, 0.017), [255, 51, 51]),
    'pinky_finger': ((0.031, 0.022, 0.019, 0.020), _GREEN),
}


def _body() -> list:
    """``(name, part, sigma, type)`` of the keypoints below the face."""

    def pairs(part, kind, sigmas):
        return [(f'{side}_{name}', part, sigma, kind) for name, sigma in sigmas.items() for side in ('left', 'right')]

    def foot(side, sigmas):
        return [(f'{side}_{name}', 'foot', sigma, 'lower') for name, sigma in sigmas.items()]

    def hand(side):
        fingers = [(f'{side}_{finger}{joint}', f'{side}_hand', sigma, 'upper')
                   for finger, (sigmas, _) in _FINGERS.items()
                   for joint, sigma in zip(_FINGER_JOINTS, sigmas, strict=True)]
        return [*fingers, (f'{side}_wrist', 'body', 0.062, 'upper')]

    return [
        ('nose', 'body', 0.026, 'upper'),
        *pairs('body', 'upper', {'eye': 0.025, 'ear': 0.035, 'shoulder': 0.079, 'elbow': 0.072}),
        *pairs('body', 'lower', {'hip': 0.107, 'knee': 0.087, 'ankle': 0.089}),
        # COCO-WholeBody's sigmas differ between the feet.
        *foot('left', {'big_toe': 0.068, 'small_toe': 0.066, 'heel': 0.066}),
        *foot('right', {'big_toe': 0.092, 'small_toe': 0.094, 'heel': 0.094}),
        *hand('right'),
        *hand('left'),
        *pairs('extra', '', {'olecranon': 0.072, 'cubital_fossa': 0.072, 'acromion': 0.079}),
        ('neck', 'extra', 0.079, ''),
    ]


def _mirrored(names: list[str]) -> list[str]:
    return [mirror_name(name) for name in names]


def _numbered(template: str, numbers) -> list[str]:
    return [template.format(number) for number in numbers]


def _eyebrow(side: str) -> list[str]:
    names = 'upper_startpoint lower_startpoint end upper_midpoint_1 lower_midpoint_1 ' \
            'upper_midpoint_2 upper_midpoint_3 lower_midpoint_2 lower_midpoint_3'
    return [f'{name}_of_{side}_eyebrow' for name in names.split()]


def _right_lid(lid: str, *lines: str) -> list[str]:
    """Both ends, the center and the midpoints of the lash line, then the other lines from the outer corner on."""
    lash = ['inner_end', 'outer_end', 'centerpoint', *_numbered('midpoint_{}', range(1, 7))]
    names = [f'r_{point}_of_{lid}_lash_line' for point in lash] + [f'r_outer_end_of_{lid}_eyelid_line']
    points = [*_numbered('midpoint_{}', (3, 1, 4)), 'centerpoint', *_numbered('midpoint_{}', (5, 2, 6))]
    return names + [f'r_{point}_of_{lid}_{line}_line' for line in lines for point in points]


def _lips(edge: str, upper_center: str) -> list[str]:
    names = [f'{side}_{edge}_corner_of_mouth' for side in 'rl'] + [upper_center, f'center_of_lower_{edge}_lip']
    return names + [f'midpoint_{number}_of_{lip}_{edge}_lip' for numbers in ((1, 2), (3, 4, 5, 6))
                    for lip in ('upper', 'lower') for number in numbers]


def _ring(side: str, of: str) -> list[str]:
    border = ['3', 'midpoint_1', '12', 'midpoint_4', '9', 'midpoint_3', '6', 'midpoint_2']
    return [f'{side}_center_of_{of}', *_numbered(f'{side}_border_of_{of}_{{}}', border)]


def _face() -> list:
    """``(names, color)`` of each section of the face."""
    midline = [
        'center_of_glabella', 'center_of_nose_root', 'tip_of_nose_bridge',
        *_numbered('midpoint_{}_of_nose_bridge', (1, 2, 3)), 'center_of_labiomental_groove', 'tip_of_chin'
    ]
    upper_lid = _right_lid('upper', 'eyelid', 'crease')
    lower_lid = _right_lid('lower', 'eyelid')
    nostril = [f'{corner}_corner_of_r_nostril' for corner in ('inner', 'outer', 'upper')]
    nose = ['tip_of_nose', 'bottom_center_of_nose', 'r_outer_corner_of_nose', 'l_outer_corner_of_nose']
    ear = [
        'l_top_end_of_inferior_crus', 'l_top_end_of_superior_crus', 'l_start_of_antihelix', 'l_end_of_antihelix',
        'l_midpoint_1_of_antihelix', 'l_midpoint_1_of_inferior_crus', 'l_midpoint_2_of_antihelix',
        'l_midpoint_3_of_antihelix', *_numbered('l_point_{}_of_inner_helix', range(1, 8)),
        'l_highest_point_of_antitragus', 'l_bottom_point_of_tragus', 'l_protruding_point_of_tragus',
        'l_top_point_of_tragus', 'l_start_point_of_crus_of_helix', 'l_deepest_point_of_concha', 'l_tip_of_ear_lobe',
        'l_midpoint_between_22_15', 'l_bottom_connecting_point_of_ear_lobe', 'l_top_connecting_point_of_helix',
        'l_point_8_of_inner_helix'
    ]
    return [
        (midline + _eyebrow('r') + _eyebrow('l'), [255, 255, 255]),
        (_mirrored(upper_lid), [192, 64, 128]),
        (upper_lid, [64, 32, 192]),
        (_mirrored(lower_lid), [64, 192, 128]),
        (lower_lid, [64, 192, 32]),
        (nose + nostril + _mirrored(nostril), [0, 192, 0]),
        (_lips('outer', 'center_of_cupid_bow'), [192, 0, 0]),
        (_lips('inner', 'center_of_upper_inner_lip'), [0, 192, 192]),
        (ear, [200, 200, 0]),
        (_mirrored(ear), [0, 200, 200]),
        (_ring('l', 'iris'), [128, 192, 64]),
        (_ring('r', 'iris'), [192, 32, 64]),
        (_ring('l', 'pupil'), [192, 128, 64]),
        (_ring('r', 'pupil'), [32, 192, 192]),
    ]


def _skeleton() -> list:
    """``(start, end, color)`` of the 65 links."""
    left_right = (('left', _GREEN), ('right', _ORANGE))
    leg = [(f'{s}_{a}', f'{s}_{b}', c) for s, c in left_right for a, b in (('ankle', 'knee'), ('knee', 'hip'))]
    trunk = [('left_hip', 'right_hip', _BLUE), ('left_shoulder', 'left_hip', _BLUE),
             ('right_shoulder', 'right_hip', _BLUE), ('left_shoulder', 'right_shoulder', _BLUE)]
    arm = [(f'{s}_{a}', f'{s}_{b}', c) for a, b in (('shoulder', 'elbow'), ('elbow', 'wrist')) for s, c in left_right]
    head = [('left_eye', 'right_eye', _BLUE), ('nose', 'left_eye', _BLUE), ('nose', 'right_eye', _BLUE),
            ('left_eye', 'left_ear', _BLUE), ('right_eye', 'right_ear', _BLUE),
            ('left_ear', 'left_shoulder', _BLUE), ('right_ear', 'right_shoulder', _BLUE)]
    foot = [(f'{s}_ankle', f'{s}_{tip}', c) for s, c in left_right for tip in ('big_toe', 'small_toe', 'heel')]
    hand = []
    for side in ('left', 'right'):
        for finger, (_, color) in _FINGERS.items():
            chain = [f'{side}_wrist', *(f'{side}_{finger}{joint}' for joint in reversed(_FINGER_JOINTS))]
            hand += [(start, end, color) for start, end in itertools.pairwise(chain)]
    return leg + trunk + arm + head + foot + hand


def _metainfo() -> tuple:
    keypoints = [(*keypoint, _BLUE) for keypoint in _body()]
    keypoints += [(name, 'face', _FACE_SIGMA, '', color) for names, color in _face() for name in names]

    info, parts = {}, {}
    for index, (name, part, _, kind, color) in enumerate(keypoints):
        swap = mirror_name(name)
        swap = '' if swap == name else swap
        info[index] = {'id': index, 'name': name, 'color': color, 'type': kind, 'swap': swap}
        parts.setdefault(part, []).append(name)
    links = enumerate(_skeleton())
    metainfo = {
        'dataset_name': 'goliath',
        'keypoint_info': info,
        'skeleton_info': {index: {'id': index, 'link': (a, b), 'color': color} for index, (a, b, color) in links},
        'joint_weights': [1.0] * len(keypoints),
        'sigmas': [sigma for _, _, sigma, _, _ in keypoints],
    }
    return metainfo, parts


METAINFO_308, GOLIATH_PARTS = _metainfo()
