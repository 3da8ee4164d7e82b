"""Published models: small checkpoints that a clone can play at once, with what they need, their scores and a card.

One folder for each family below ``pretrained/`` (``bundle``). ``metadiffuser publish`` writes it from a preset that has
run; ``metadiffuser.load`` makes an agent of it for gymnasium's environments.
"""
