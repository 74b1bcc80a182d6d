"""What an experiment is: the YAML files that users write."""
