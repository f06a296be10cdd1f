"""Tests of the hook that compiles transformer blocks."""
import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS, MODELS
from mmengine.utils import digit_version

import sapiens_mm  # noqa: F401
from sapiens_mm.backbones.sapiens_vit import Block, run_block

LIMIT = 'recompile_limit' if hasattr(torch._dynamo.config, 'recompile_limit') else 'cache_size_limit'
#: Of a model of three blocks; before torch 2.5 they do not share their code.
NUM_GRAPHS = 1 if getattr(torch._dynamo.config, 'inline_inbuilt_nn_modules', False) else 3
FAIL = dict(fail_on_recompile_limit_hit=True) if LIMIT == 'recompile_limit' else {}  # older ones have no such switch
ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)


def vit(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='SapiensViT', arch=ARCH, img_size=(64, 48), **kwargs)).train()


def compile_blocks(model, **kwargs):
    hook = HOOKS.build(dict(type='SapiensCompileBlocksHook', **kwargs))
    hook.before_train(SimpleNamespace(model=model, logger=MMLogger.get_instance('compile')))
    return model


class Counter:
    """A compiler that counts the graphs it is given and runs them as they are."""

    def __init__(self):
        torch._dynamo.reset()
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph


def train(model, images):
    torch.manual_seed(1)
    model.zero_grad()
    loss = model(images)[0].square().mean()
    loss.backward()
    return loss.detach(), {name: param.grad for name, param in model.named_parameters()}


def test_refuses_a_model_without_such_blocks():
    with pytest.raises(ValueError, match='Layer or Stage'):
        compile_blocks(vit(), block_names=('Layer', 'Stage'))


def test_torch_that_is_too_old_for_checkpointing(monkeypatch):
    model = vit(with_cp=True)
    monkeypatch.setattr(torch, '__version__', '2.1.2')
    with pytest.raises(ImportError, match=r'with_cp\): got torch 2.1.2'):
        compile_blocks(model)


@pytest.mark.parametrize('with_cp', [False, pytest.param(True, marks=pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.2'), reason='torch 2.1 cannot'))])
def test_same_loss_gradients_and_keys(with_cp):
    images = torch.randn(2, 3, 64, 48)
    plain = vit(with_cp=with_cp)
    counter = Counter()
    compiled = compile_blocks(copy.deepcopy(plain), backend=counter)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(train(compiled, images), train(plain, images))
    assert counter.graphs == NUM_GRAPHS

    # A copy, as for moving averages, does not run the original's blocks.
    twin = copy.deepcopy(compiled)
    for param in compiled.parameters():
        param.data.zero_()
    torch.testing.assert_close(train(twin, images), train(plain, images))


def test_wrapped_model(tmp_path):
    plain = vit()
    counter = Counter()
    torch.distributed.init_process_group('gloo', store=torch.distributed.FileStore(str(tmp_path / 'store'), 1), rank=0,
                                         world_size=1)
    try:
        wrapped = compile_blocks(torch.nn.parallel.DistributedDataParallel(copy.deepcopy(plain)), backend=counter)
        images = torch.randn(2, 3, 64, 48)
        torch.testing.assert_close(train(wrapped, images)[0], train(plain, images)[0])
    finally:
        torch.distributed.destroy_process_group()
    assert counter.graphs == NUM_GRAPHS


def test_no_block_falls_back_to_plain_running():
    """Drop path rates, evaluation and image sizes make versions of the code, more than torch allows by itself."""
    counter = Counter()
    blocks = torch.nn.ModuleList(Block(8, 2, 16, drop_path_rate=i / 20) for i in range(12))
    with torch._dynamo.config.patch({LIMIT: 8, **FAIL}):
        compile_blocks(blocks, backend=counter)
        for training, num_tokens in ((True, 4), (False, 4), (False, 6), (True, 6)):
            blocks.train(training)
            with torch.set_grad_enabled(training):
                x = torch.randn(2, num_tokens, 8)
                for block in blocks:
                    x = run_block(block, x)
    assert counter.graphs > 8


@pytest.mark.slow  # the default compiler builds code for this machine
def test_code_for_the_processor():
    torch._dynamo.reset()
    torch.manual_seed(0)
    block, x = Block(8, 2, 16), torch.randn(2, 4, 8)
    with torch.no_grad():
        torch.testing.assert_close(compile_blocks(copy.deepcopy(block))(x), block(x))
    torch._dynamo.reset()


def test_torch_compile_is_set_while_training_only():
    runner = SimpleNamespace(model=torch.nn.Sequential(Block(8, 2, 16)), logger=MMLogger.get_instance('compile'))
    hook = HOOKS.build(dict(type='SapiensCompileBlocksHook', backend='eager'))
    with torch._dynamo.config.patch({LIMIT: 8}):
        hook.before_train(runner)
        assert getattr(torch._dynamo.config, LIMIT) == 64  # times the number of blocks, 1, where they share nothing
        hook.after_train(runner)
        assert getattr(torch._dynamo.config, LIMIT) == 8
