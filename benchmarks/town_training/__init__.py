"""Training of Town's three networks: autoencoder, denoiser with its text encoders, attribute readers."""
