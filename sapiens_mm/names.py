"""Names that commands take. It imports nothing, since the command line reads it before torch is loaded."""

#: Sizes of the models; the first is the embedded one's.
SIZES = ('tiny', '0.3b', '0.6b', '1b', '2b')
#: Kinds of files by which results are saved.
KINDS = ('json', 'coco', 'parquet', 'npz', 'png', 'overlay', 'sheet', 'controlnet', 'masks', 'features', 'video', 'tar')
#: Those of a whole run.
COLLECTED_KINDS = ('coco', 'parquet', 'tar')
#: Those of single images and videos.
FILE_KINDS = tuple(kind for kind in KINDS if kind not in COLLECTED_KINDS)
#: Formats of labeling tools, which are written and read.
LABEL_FORMATS = ('coco', 'label-studio', 'cvat', 'yolo')
#: Those that say where the images are.
WITH_IMAGE_ROOT = ('label-studio', 'yolo')
#: Keypoint format -> keypoint set of :mod:`sapiens_mm.vocabularies.keypoints`; None keeps that of the labels.
KEYPOINT_FORMATS = {'model': None, 'coco-17': 'coco', 'wholebody-133': 'coco_wholebody', 'halpe26': 'halpe26',
                    'openpose18': 'openpose18', 'openpose25': 'openpose25'}
#: File in OpenPose's layout, for a program -> keypoint set of its bodies.
OPENPOSE_FILES = {'openpose': 'openpose25', 'controlnet': 'openpose18', 'pose2sim': 'halpe26'}
