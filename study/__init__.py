"""The experiment: does sparse latent typing help, all else equal? See `study.design`; its outcome lies in results/."""
