# One warp of the sizes and angles that the release draws: scale 0.2 to 2, crop 1024x768, rotation up to 45 degrees, flip.
# Labels are opened before it without being read; of the files that allow it, only the crop is.
load_and_warp = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadLabels', mmap=True),
    dict(
        type='SapiensRandomWarp', size=(1024, 768), scale_range=(0.2, 2.), cat_max_ratio=0.75, rotate_prob=0.5,
        rotate_range=45., flip_prob=0.5),
]
# Photos without people, that take the place of the background in 80 % of the training images of parts: set the
# environment variable, or change this line.
backgrounds = '{{$BACKGROUND_ROOT:data/backgrounds}}'
parts_pipeline = [
    *load_and_warp,
    dict(type='SapiensRandomBackground', folder=backgrounds, prob=0.8),
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensPackDense'),
]
depth_pipeline = [
    *load_and_warp,
    dict(type='SapiensPhotometricDistortion'),
    dict(type='SapiensNormalizeDepth'),
    dict(type='SapiensPackDense'),
]
normal_pipeline = [*load_and_warp, dict(type='SapiensPhotometricDistortion'), dict(type='SapiensPackDense')]
# The labels keep the image's size: predictions are brought back to it.
test_pipeline = [
    dict(type='SapiensLoadImage'),
    dict(type='SapiensResize', size=(1024, 768)),
    dict(type='SapiensLoadLabels'),
    dict(type='SapiensPackDense'),
]
