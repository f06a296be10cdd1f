"""Keypoint vocabularies: COCO's 17, COCO-WholeBody's 133, the 308 of the Sapiens release, and how they correspond."""
from sapiens_mm.vocabularies.goliath import METAINFO_308, mirror_name

from .common import COMMON_114, COMMON_114_IN_133, COMMON_114_IN_308
from .conversions import OPENPOSE_18, OPENPOSE_25, convert_keypoints
from .metainfo import METAINFO_17, METAINFO_133, get_metainfo, get_parts, get_vocabulary

__all__ = [
    'COMMON_114', 'COMMON_114_IN_133', 'COMMON_114_IN_308', 'METAINFO_17', 'METAINFO_133', 'METAINFO_308',
    'OPENPOSE_18', 'OPENPOSE_25', 'convert_keypoints', 'get_metainfo', 'get_parts', 'get_vocabulary', 'mirror_name'
]
