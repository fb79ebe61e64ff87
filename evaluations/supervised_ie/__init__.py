"""Supervised information extraction with OneIE's model (Lin et al., ACL 2020) on any plain BERT."""
