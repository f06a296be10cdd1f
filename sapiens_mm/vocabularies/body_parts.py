"""Body parts of the public Sapiens segmentation checkpoints: 28 classes, 255: ignored; Left is the person's left."""
from collections.abc import Sequence


def mirrored(names: Sequence[str]) -> tuple[int, ...]:
    """Returns the class id of each class in a mirrored image, by the ``Left`` or ``Right`` that names begin with."""
    other = {'Left': 'Right', 'Right': 'Left'}
    return tuple(
        names.index(next((other[side] + name.removeprefix(side) for side in other if name.startswith(side)), name))
        for name in names)


#: ``(name, color)`` by class id; colors are RGB.
BODY_PARTS_28 = (
    ('Background', (50, 50, 50)),
    ('Apparel', (255, 218, 0)),
    ('Face_Neck', (128, 200, 255)),
    ('Hair', (255, 0, 109)),
    ('Left_Foot', (189, 0, 204)),
    ('Left_Hand', (255, 0, 218)),
    ('Left_Lower_Arm', (0, 160, 204)),
    ('Left_Lower_Leg', (0, 255, 145)),
    ('Left_Shoe', (204, 0, 131)),
    ('Left_Sock', (182, 0, 255)),
    ('Left_Upper_Arm', (255, 109, 0)),
    ('Left_Upper_Leg', (0, 255, 255)),
    ('Lower_Clothing', (72, 0, 255)),
    ('Right_Foot', (204, 131, 0)),
    ('Right_Hand', (255, 0, 0)),
    ('Right_Lower_Arm', (72, 255, 0)),
    ('Right_Lower_Leg', (189, 204, 0)),
    ('Right_Shoe', (182, 255, 0)),
    ('Right_Sock', (102, 0, 204)),
    ('Right_Upper_Arm', (32, 72, 204)),
    ('Right_Upper_Leg', (0, 145, 255)),
    ('Torso', (14, 204, 0)),
    ('Upper_Clothing', (0, 128, 72)),
    ('Lower_Lip', (235, 205, 119)),
    ('Upper_Lip', (115, 227, 112)),
    ('Lower_Teeth', (157, 113, 143)),
    ('Upper_Teeth', (132, 93, 50)),
    ('Tongue', (82, 21, 114)),
)
PART_NAMES = tuple(name for name, _ in BODY_PARTS_28)
PART_COLORS = tuple(color for _, color in BODY_PARTS_28)
#: Class id by name.
PART_IDS = {name: index for index, name in enumerate(PART_NAMES)}
#: Class id of each class in a mirrored image.
FLIPPED_PARTS = mirrored(PART_NAMES)
#: Label of pixels that belong to no class.
IGNORED_PART = 255
