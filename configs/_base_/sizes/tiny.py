# Backbone and head of the tiny model (5 M parameters), from scratch.
size = dict(backbone=dict(arch='sapiens_tiny', with_cp=False), head=dict(in_channels=192))
