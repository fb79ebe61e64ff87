"""Few-shot named entity recognition on Few-NERD, for any encoder: CONTaiNER (Das et al., ACL 2022) and others."""
