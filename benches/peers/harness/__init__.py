"""What the scripts of this folder share: building, running a server under load, and tables."""
