"""What the pre-trained encoders are measured on."""
