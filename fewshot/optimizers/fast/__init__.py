"""Hand-written derivatives of the equations in `fewshot.optimizers`."""
