"""Names that commands take. It imports nothing, since the command line reads it before torch is loaded."""

#: Sizes of the models; the first is the embedded one's.
SIZES = ('tiny', '0.3b', '0.6b', '1b', '2b')
#: Kinds of files by which results are saved.
KINDS = ('json', 'coco', 'parquet', 'npz', 'png', 'normal16', 'matte', 'overlay', 'sheet', 'controlnet', 'masks',
         'features', 'ply', 'glb', 'video', 'tar')
#: Those of a whole run.
COLLECTED_KINDS = ('coco', 'parquet', 'tar')
#: Those of single images and videos.
FILE_KINDS = tuple(kind for kind in KINDS if kind not in COLLECTED_KINDS)
#: Those of points in space.
SPACE_KINDS = ('ply', 'glb')
_MASKS = ('foreground', 'seg')
#: Kind -> dense tasks that it needs, one of each tuple.
NEEDED_TASKS = dict(masks=[('seg', )], matte=[_MASKS], normal16=[('normal', )], ply=[_MASKS, ('depth', )],
                    glb=[_MASKS, ('depth', )])
#: How depth without scale is fitted to depth in meters; see :func:`sapiens_mm.utils.alignment.fit_depth`.
DEPTH_ALIGNMENTS = ('scale-shift', 'scale-shift-inverse')
#: Direction of the green channel of normals in images: up (OpenGL, Blender), down (DirectX, Unreal).
NORMAL_CONVENTIONS = ('opengl', 'directx')
#: Formats of labeling tools, which are written and read.
LABEL_FORMATS = ('coco', 'label-studio', 'cvat', 'yolo')
#: Those that say where the images are.
WITH_IMAGE_ROOT = ('label-studio', 'yolo')
#: Keypoint format -> keypoint set of :mod:`sapiens_mm.vocabularies.keypoints`; None keeps that of the labels.
KEYPOINT_FORMATS = {'model': None, 'coco-17': 'coco', 'wholebody-133': 'coco_wholebody', 'halpe26': 'halpe26',
                    'openpose18': 'openpose18', 'openpose25': 'openpose25'}
#: File in OpenPose's layout, for a program -> keypoint set of its bodies.
OPENPOSE_FILES = {'openpose': 'openpose25', 'controlnet': 'openpose18', 'pose2sim': 'halpe26'}
