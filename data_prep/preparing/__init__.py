"""From a recipe to a prepared file: options, plan, job, and the images into their rows."""
