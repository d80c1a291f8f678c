"""The general-training track: optimizers of network weights, meta-trained and hand-designed, on training problems."""
