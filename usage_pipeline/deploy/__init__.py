"""Files that start the product elsewhere: systemd units, a compose file, a Helm chart."""
