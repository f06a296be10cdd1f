# Pipelines of the tiny models, for images of a few hundred pixels.
load_and_warp = [
    dict(type='SapiensSeedSample'),
    dict(type='SapiensLoadLabels'),
    dict(type='SapiensRandomWarp', size=(256, 192), scale_range=(0.5, 2.), rotate_range=30.),
    dict(type='SapiensPhotometricDistortion'),
]
depth_pipeline = [*load_and_warp, dict(type='SapiensNormalizeDepth'), dict(type='SapiensPackDense')]
train_pipeline = [*load_and_warp, dict(type='SapiensPackDense')]
test_pipeline = [
    dict(type='SapiensLoadImage'),
    dict(type='SapiensResize', size=(256, 192)),
    dict(type='SapiensLoadLabels'),
    dict(type='SapiensPackDense'),
]
