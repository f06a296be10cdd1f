"""DeepSpeed's ZeRO (stage 2), an alternative to fsdp.py that uses MMEngine's strategy; docs/scaling.md lists the tests.

MMEngine 0.10.7 imports a part of DeepSpeed that 0.16.9 has and 0.19.8 lacks. Use DeepSpeed's optimizer wrapper without
clipping, accumulation and --amp, which are set below, and remove SapiensNonFiniteHook:

    _base_ = [..., '../../_base_/strategies/deepspeed.py']
    optim_wrapper = dict(
        _delete_=True, type='DeepSpeedOptimWrapper', constructor='SapiensLayerDecayConstructor',
        optimizer=dict(type='AdamW', lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05))
    custom_hooks = [dict(type='SapiensSeedHook'), dict(type='SapiensStreamHook'), dict(type='SapiensThroughputHook')]
"""
runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    config=dict(zero_allow_untested_optimizer=True),
    bf16=dict(enabled=True),
    inputs_to_half=['inputs'],  # the whole model is bfloat16, without autocast
    gradient_clipping=1.0,
    gradient_accumulation_steps=1,
    zero_optimization=dict(stage=2))
