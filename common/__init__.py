"""What the training scripts and the evaluations share and would otherwise each write again."""
