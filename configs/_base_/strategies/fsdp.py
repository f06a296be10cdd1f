"""Shards weights, gradients and the optimizer's state over all processes (docs/scaling.md).

Add it to a config's list: _base_ = [..., '../../_base_/strategies/fsdp.py']. On several nodes of 8 GPUs,
strategy = dict(shard_size=8) keeps a whole copy of the model on each node, so weights are not sent between nodes.
"""
runner_type = 'FlexibleRunner'
strategy = dict(type='SapiensFSDPStrategy')
