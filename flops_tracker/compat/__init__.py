"""Other packages' words for what is counted here: change one import, keep the script."""
