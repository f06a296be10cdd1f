# The public model of LIP's and CIHP's 20 classes.
_base_ = './sapiens_seg.py'

# Class weights of the release.
class_weight = [
    0.1, 1.5, 1.0, 1.5, 1.5, 0.8, 1.2, 1.0, 1.5, 0.8, 1.2, 1.5, 1.5, 0.7, 1.0, 1.0, 1.0, 1.0, 1.5, 1.5
]
model = dict(
    backbone=dict(patch_cfg=dict(padding=2)),
    decode_head=dict(num_classes=20, loss_decode=dict(class_weight=class_weight)))
