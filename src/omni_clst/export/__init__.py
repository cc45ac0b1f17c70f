"""Export a trained model as a folder for others, with a model card written from its runs."""
