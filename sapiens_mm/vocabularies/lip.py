"""Classes of LIP and CIHP: 20, their counterparts among the 28 body parts, 255: ignored; Left is the person's left.

This table has the pairs of the release's table, and joins the finer classes of the 28: hands and arms, feet and legs,
mouth and face. The release counts skirts as Upper_Clothing; here they are one class with trousers. What the 28-class
labels call a skirt is not published; if Upper_Clothing, ``Pants`` and ``UpperClothes`` are too low by the skirts.
"""
from .body_parts import IGNORED_PART, PART_IDS, PART_NAMES, mirrored

#: ``(name, color)`` by class id; colors are RGB, related parts in related hues.
LIP_20 = (
    ('Background', (40, 40, 40)),
    ('Hat', (240, 110, 170)),
    ('Hair', (250, 40, 90)),
    ('Glove', (150, 90, 220)),
    ('Sunglasses', (110, 60, 160)),
    ('UpperClothes', (40, 150, 90)),
    ('Dress', (170, 210, 60)),
    ('Coat', (20, 100, 60)),
    ('Socks', (200, 160, 230)),
    ('Pants', (60, 90, 230)),
    ('Jumpsuits', (90, 200, 200)),
    ('Scarf', (250, 200, 80)),
    ('Skirt', (110, 140, 250)),
    ('Face', (250, 210, 180)),
    ('Left-arm', (250, 140, 30)),
    ('Right-arm', (30, 190, 250)),
    ('Left-leg', (210, 100, 20)),
    ('Right-leg', (20, 140, 200)),
    ('Left-shoe', (150, 60, 10)),
    ('Right-shoe', (10, 80, 140)),
)
LIP_NAMES = tuple(name for name, _ in LIP_20)
LIP_COLORS = tuple(color for _, color in LIP_20)
#: Class id by name.
LIP_IDS = {name: index for index, name in enumerate(LIP_NAMES)}
#: CIHP differs from LIP in class 10.
CIHP_NAMES = tuple('Torso-skin' if name == 'Jumpsuits' else name for name in LIP_NAMES)
#: Class id of each class in a mirrored image.
FLIPPED_LIP = mirrored(LIP_NAMES)

_IN_20 = {
    'Background': 'Background', 'Face_Neck': 'Face', 'Hair': 'Hair', 'Lower_Clothing': 'Pants',
    'Upper_Clothing': 'UpperClothes', 'Lower_Lip': 'Face', 'Upper_Lip': 'Face', 'Lower_Teeth': 'Face',
    'Upper_Teeth': 'Face', 'Tongue': 'Face', 'Left_Sock': 'Socks', 'Right_Sock': 'Socks',
    **{f'{side}_{part}': f'{side}-{limb}' for side in ('Left', 'Right') for part, limb in
       (('Hand', 'arm'), ('Lower_Arm', 'arm'), ('Upper_Arm', 'arm'), ('Foot', 'leg'), ('Lower_Leg', 'leg'),
        ('Upper_Leg', 'leg'), ('Shoe', 'shoe'))},
}
#: Class id of the 20 by class id of the 28; 255 without a counterpart: Apparel is hats, glasses and scarves, and LIP
#: has no bare torso.
PARTS_28_TO_20 = tuple(LIP_IDS[_IN_20[name]] if name in _IN_20 else IGNORED_PART for name in PART_NAMES)
#: The same for CIHP, which has the bare torso.
PARTS_28_TO_CIHP = tuple(
    LIP_IDS['Jumpsuits'] if index == PART_IDS['Torso'] else target for index, target in enumerate(PARTS_28_TO_20))

_MERGED = {'Coat': 'UpperClothes', 'Skirt': 'Pants'}
_NOT_IN_28 = ('Hat', 'Glove', 'Sunglasses', 'Scarf', 'Dress', 'Jumpsuits')
#: Comparable class id by class id of LIP: classes that the 28 parts do not distinguish are merged (coats and upper
#: clothes, skirts and trousers), and classes without a counterpart are ignored (255). Apply it to labels and
#: predictions of the 20 classes, and `PARTS_28_TO_20` to predictions of the 28.
LIP_COMPARABLE = tuple(
    IGNORED_PART if name in _NOT_IN_28 else LIP_IDS[_MERGED.get(name, name)] for name in LIP_NAMES)
#: The same for CIHP, with `PARTS_28_TO_CIHP`.
CIHP_COMPARABLE = tuple(
    index if name == 'Torso-skin' else LIP_COMPARABLE[index] for index, name in enumerate(CIHP_NAMES))
