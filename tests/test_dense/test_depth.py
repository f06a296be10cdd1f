import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from sapiens_mm.dense.depth import SapiensDepthEstimator


def test_depth_is_neither_scaled_nor_cut():
    depth = torch.tensor([[[-0.5, 0.25], [3., 7.]]])
    found = SapiensDepthEstimator.restore(depth, dict(size=(2, 2)))
    assert torch.equal(found, depth)
    assert SapiensDepthEstimator.restore(depth, dict(size=(4, 4)))[0, 0].tolist() == [-0.5, -0.3125, 0.0625, 0.25]


def test_mirror_image_is_mirrored_back():
    depth = torch.rand(2, 1, 4, 5)
    assert torch.equal(SapiensDepthEstimator.unmirror(depth, {}, {}), depth.flip(-1))


def test_learns_a_depth_ramp():
    """Far becomes large. The output starts positive by its bias."""
    torch.manual_seed(0)
    head = dict(
        type='SapiensDenseHead', in_channels=16, deconv_out_channels=(8, 8), deconv_kernel_sizes=(4, 4),
        conv_out_channels=(8, ), conv_kernel_sizes=(1, ),
        init_cfg=dict(type='Normal', std=0.01, override=dict(name='conv_seg', type='Normal', std=0.01, bias=0.5)))
    model = MODELS.build(dict(
        type='SapiensDepthEstimator', decode_head=head, backbone=dict(
            type='SapiensViT', arch=dict(embed_dims=16, num_layers=1, num_heads=1, feedforward_channels=32),
            img_size=32)))
    model.init_weights()
    assert (model.decode_head.conv_seg.bias == 0.5).all()
    x = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    sample = SegDataSample(metainfo=dict(ori_shape=(32, 32)))
    sample.set_data(dict(gt_depth_map=PixelData(data=torch.linspace(0.1, 1, 32).expand(1, 32, 32))))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    values = []
    for _ in range(40):
        value = model(x, [sample], mode='loss')['decode.loss_silog']
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] / 3
    with torch.no_grad():
        depth = model.eval().predict(x)[0].pred_depth_map.data
    assert depth[..., -8:].mean() > 2 * depth[..., :8].mean()  # far is large
