# The public pretraining model. Defaults are those of 0.3B.
model = dict(
    type='SapiensMAE',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        type='SapiensViT',
        arch='sapiens_0.3b',
        img_size=1024,
        patch_size=16,
        with_cp=True,
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform')),
    neck=dict(type='SapiensMAEDecoder', embed_dims=512, num_layers=8, num_heads=16, with_cp=True),
    mask_ratio=0.75,
    norm_target=True)
