# Augmentations of the release, listed in the READMEs of the tasks. Resize, crop, rotation, flip and padding are one
# warp. Labels are memory-mapped, so only the crop is read, unless the background is replaced.
load_labels = [dict(type='SapiensSeedSample'), dict(type='SapiensLoadLabels', mmap=True)]
warp = dict(
    type='SapiensRandomWarp', size=(1024, 768), scale_range=(0.2, 2.), cat_max_ratio=1., rotate_prob=0., flip_prob=0.5,
    stock_padding=True)
# A rotation leaves black corners.
rotation = dict(rotate_prob=0.5, pad_val=(0, 0, 0))
# Photos without people: set the environment variable, or change this line.
backgrounds = '{{$BACKGROUND_ROOT:data/backgrounds}}'
seg_pipeline = [
    *load_labels,
    dict(type='SapiensRandomBackground', folder=backgrounds, prob=0.8),
    dict(warp, **rotation, rotate_range=45., cat_max_ratio=0.75, corner_label=0),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensPackDense'),
]
seg_20_pipeline = [
    *load_labels,
    dict(warp, **rotation, rotate_range=45., scale_range=(0.75, 1.25), cat_max_ratio=0.75, corner_label=255),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensPackDense'),
]
# Photos of people and their masks, with the backgrounds that the model has to tell from people.
foreground_pipeline = [
    *load_labels,
    dict(warp, **rotation, rotate_range=45.),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensPackDense'),
]
# The plain pipelines keep the background, for SynthHuman's rendered ones.
background = dict(type='SapiensRandomBackground', folder=backgrounds, prob=0.5)
depth_steps = [
    dict(warp, **rotation, rotate_range=60.),
    dict(type='SapiensNormalizeDepth'),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensPackDense'),
]
depth_pipeline = [*load_labels, background, *depth_steps]
plain_depth_pipeline = [*load_labels, *depth_steps]
normal_steps = [
    dict(warp, normal_interpolation='nearest'),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensPackDense'),
]
normal_pipeline = [*load_labels, background, *normal_steps]
plain_normal_pipeline = [*load_labels, *normal_steps]
# Labels keep the size of the image; predictions are resized to it.
test_pipeline = [
    dict(type='SapiensLoadImage'),
    dict(type='SapiensResize', size=(1024, 768)),
    dict(type='SapiensLoadLabels'),
    dict(type='SapiensPackDense'),
]
