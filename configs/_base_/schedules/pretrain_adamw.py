# AdamW of the release; each config computes `lr` and the schedule from its batch.
optim_wrapper = dict(
    type='SapiensBF16OptimWrapper',
    optimizer=dict(type='AdamW', betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    constructor='SapiensLayerDecayConstructor',  # no decay on norms, biases, tokens and position embeddings
    clip_grad=dict(max_norm=1.0, norm_type=2))
