"""What the latent types mean: tables, measures with controls, and a page to look at."""
